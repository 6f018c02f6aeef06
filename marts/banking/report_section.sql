-- A section of monthly_financial_report: the month, the month before, and the same month of the year before.
SELECT replace(figure, '_', ' ') AS name, label, max(value) FILTER (month = strftime(getvariable('month'), '%Y-%m')) AS own,
    max(value) FILTER (month = strftime(getvariable('month') - INTERVAL 1 MONTH, '%Y-%m')),
    max(value) FILTER (month = strftime(getvariable('month') - INTERVAL 1 YEAR, '%Y-%m')), max(unit)
FROM monthly_financial_report
WHERE section = getvariable('section')
GROUP BY name, label
HAVING count(*) FILTER (month = strftime(getvariable('month'), '%Y-%m')) > 0
ORDER BY name, own DESC NULLS LAST, label;
