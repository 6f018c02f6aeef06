-- Each day from the first of the first transaction's month to the end of as_of's month.
WITH days AS (
    SELECT unnest(generate_series(min(month)::TIMESTAMP, last_day(getvariable('as_of'))::TIMESTAMP, INTERVAL 1 DAY))::DATE AS day
    FROM spending_patterns
)
SELECT strftime(day, '%Y%m%d')::BIGINT AS date_key, day AS full_date, dayofmonth(day)::BIGINT AS day,
    month(days.day)::BIGINT AS month, quarter(days.day)::BIGINT AS quarter, year(days.day)::BIGINT AS year,
    isodow(days.day)::BIGINT AS day_of_week, isodow(days.day) < 6 AS weekday_flag, month_name(days.day) AS month_name,
    days.day = last_day(days.day) AS is_month_end
FROM days;
