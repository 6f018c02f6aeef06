-- A section of monthly_financial_report, with the last names of channels: the month, the month before, and the same month
-- of the year before.
WITH named AS (
    SELECT channel_key::VARCHAR AS key, arg_max(channel_name, covers_from) AS channel FROM dim_channel GROUP BY ALL
)
SELECT replace(figure, '_', ' ') AS name,
    CASE WHEN figure = 'fee_revenue_by_channel' THEN coalesce(named.channel, label) ELSE label END AS label,
    max(value) FILTER (month = strftime(getvariable('month'), '%Y-%m')) AS own,
    max(value) FILTER (month = strftime(getvariable('month') - INTERVAL 1 MONTH, '%Y-%m')),
    max(value) FILTER (month = strftime(getvariable('month') - INTERVAL 1 YEAR, '%Y-%m')), max(unit)
FROM monthly_financial_report LEFT JOIN named ON named.key = label
WHERE section = getvariable('section')
GROUP BY figure, monthly_financial_report.label, named.channel
HAVING count(*) FILTER (month = strftime(getvariable('month'), '%Y-%m')) > 0
ORDER BY name, own DESC NULLS LAST, label;
