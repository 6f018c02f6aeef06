-- Transactions and ledger entries from CSV drops: rows that break a rule are left out, the last delivery of a row counts.
--
-- In:  transactions, ledger_entries   SQL of their rows, drop by drop in order of delivery
-- Out: booked, entries                rows up to as_of · {quarantine}: the others, with the first broken rule

CREATE MACRO div_half_up(a, b) AS
    sign(a::HUGEINT) * ((2 * abs(a::HUGEINT) + b::HUGEINT) // (2 * b::HUGEINT));
CREATE MACRO money(cents) AS (cents::DECIMAL(18,0) * 0.01::DECIMAL(3,2))::DECIMAL(18,2);
CREATE MACRO month_name(day) AS strftime(day, '%Y-%m');
CREATE MACRO key_of(day) AS year(day) * 10000 + month(day) * 100 + dayofmonth(day);
CREATE TYPE kind_of_transaction AS ENUM ('PAYMENT', 'ONLINE_PURCHASE', 'MOBILE_PAYMENT', 'DIRECT_DEBIT', 'CHECK', 'WITHDRAWAL',
    'TRANSFER', 'DEBIT', 'FEE', 'DEPOSIT', 'CREDIT', 'REFUND', 'INTEREST');
CREATE TYPE status_of_transaction AS ENUM ('COMPLETED', 'PENDING', 'FAILED', 'CANCELLED', 'REVERSED');
CREATE MACRO word(text) AS upper(trim(text));
-- An id that is given must be a whole number above 0.
CREATE MACRO wrong_id(text) AS coalesce(TRY_CAST(text AS BIGINT) < 1, text IS NOT NULL);
-- A time with an offset is turned to UTC, the default of business_timezone.
CREATE MACRO moment_of(text) AS CASE
    WHEN length(text) <= 19 THEN coalesce(TRY_CAST(text AS TIMESTAMP), try_strptime(text, '%Y%m%d'))
    WHEN regexp_matches(text, '(Z|[+-][0-9]{2}:?[0-9]{2})$') THEN TRY_CAST(text AS TIMESTAMPTZ) AT TIME ZONE 'UTC'
    ELSE TRY_CAST(text AS TIMESTAMP) END;
CREATE MACRO wrong_money(value) AS
    value IS NULL OR value <= 0 OR value > 1000000000 OR value <> round(value, 2);

-- Lists of values are types: a long IN would be a join, which does not keep the order of the rows.
CREATE TEMP TABLE judged AS
WITH raw AS (
    FROM ({transactions})
    UNION ALL BY NAME
    SELECT NULL::VARCHAR AS account_id, NULL::VARCHAR AS related_account_id, NULL::VARCHAR AS direction,
        NULL::VARCHAR AS currency, NULL::VARCHAR AS merchant_id, NULL::VARCHAR AS category, NULL::VARCHAR AS channel_id,
        NULL::VARCHAR AS city_id, NULL::VARCHAR AS card_type, NULL::VARCHAR AS processing_ms,
        NULL::VARCHAR AS balance_after, NULL::VARCHAR AS is_fraudulent, NULL::VARCHAR AS posted_date
    WHERE false
), typed AS (
    SELECT * EXCLUDE (transaction_type, status, direction, currency, card_type, is_fraudulent),
        TRY_CAST(word(transaction_type) AS kind_of_transaction) AS transaction_type,
        transaction_type                            AS type_text,
        TRY_CAST(CASE word(status) WHEN 'SUCCESS' THEN 'COMPLETED' WHEN 'APPROVED' THEN 'COMPLETED' WHEN 'DECLINED' THEN 'FAILED'
            WHEN 'REJECTED' THEN 'FAILED' WHEN 'CANCELED' THEN 'CANCELLED' ELSE word(status) END
            AS status_of_transaction)               AS status,
        status                                      AS status_text,
        word(direction)                             AS direction,
        word(currency)                              AS currency,
        word(card_type)                             AS card_type,
        moment_of(transaction_time)                 AS moment,
        TRY_CAST(amount AS DECIMAL(18,4))           AS given_amount,
        TRY_CAST(processing_ms AS BIGINT)           AS milliseconds,
        TRY_CAST(balance_after AS DECIMAL(18,4))    AS balance,
        TRY_CAST(is_fraudulent AS BOOLEAN)          AS label,
        is_fraudulent                               AS label_text,
        TRY_CAST(posted_date AS DATE)               AS posted
    FROM raw
), ruled AS (
    SELECT *, CASE
        WHEN transaction_id IS NULL OR trim(transaction_id) = '' OR length(transaction_id) > 64 THEN 'transaction_id'
        WHEN moment IS NULL OR moment < TIMESTAMP '2000-01-01'              THEN 'transaction_time'
        WHEN customer_id IS NULL OR wrong_id(customer_id)                   THEN 'customer_id'
        WHEN transaction_type IS NULL                                       THEN 'transaction_type'
        WHEN wrong_money(given_amount)                                      THEN 'amount'
        WHEN status IS NULL                                                 THEN 'status'
        WHEN wrong_id(account_id)                                           THEN 'account_id'
        WHEN wrong_id(related_account_id)                                   THEN 'related_account_id'
        WHEN direction NOT IN ('DEBIT', 'CREDIT')                           THEN 'direction'
        WHEN length(currency) > 3                                           THEN 'currency'
        WHEN wrong_id(merchant_id)                                          THEN 'merchant_id'
        WHEN wrong_id(channel_id)                                           THEN 'channel_id'
        WHEN wrong_id(city_id)                                              THEN 'city_id'
        WHEN coalesce(milliseconds < 0, processing_ms IS NOT NULL)          THEN 'processing_ms'
        WHEN coalesce(balance <> round(balance, 2), balance_after IS NOT NULL) THEN 'balance_after'
        WHEN label IS NULL AND label_text IS NOT NULL                       THEN 'is_fraudulent'
        WHEN posted IS NULL AND posted_date IS NOT NULL                     THEN 'posted_date'
    END AS broken
    FROM typed
)
SELECT broken,
    CASE WHEN broken IS NOT NULL THEN drop_name END AS drop_name,
    CASE WHEN broken IS NOT NULL THEN concat_ws(',', transaction_id, transaction_time, customer_id, account_id,
        related_account_id, type_text, amount, currency, status_text, merchant_id, channel_id, city_id, processing_ms,
        balance_after, label_text) END AS row_text,
    transaction_id, moment, moment::DATE AS day, length(transaction_time) > 10 AS is_timed,
    TRY_CAST(customer_id AS BIGINT) AS customer_id, TRY_CAST(account_id AS BIGINT) AS account_id,
    TRY_CAST(related_account_id AS BIGINT) AS related_account_id, TRY_CAST(merchant_id AS BIGINT) AS merchant_id,
    TRY_CAST(channel_id AS BIGINT) AS channel_id, TRY_CAST(city_id AS BIGINT) AS city_id,
    transaction_type, status, coalesce(direction,
        CASE WHEN transaction_type IN ('DEPOSIT', 'CREDIT', 'REFUND', 'INTEREST') THEN 'CREDIT' ELSE 'DEBIT' END) AS side,
    currency, card_type, category,
    CASE WHEN broken IS NULL THEN (given_amount * 100)::BIGINT END AS cents, milliseconds,
    CASE WHEN broken IS NULL THEN (balance * 100)::BIGINT END AS balance_cents,
    label AS is_fraudulent, posted AS posted_date
FROM ruled;

COPY (SELECT drop_name, row_text, broken FROM judged WHERE broken IS NOT NULL)
    TO '{quarantine}/transactions.parquet' (FORMAT parquet, COMPRESSION zstd);

-- A transaction is (customer_id, month, transaction_id). Most are there once: only the others are compared.
CREATE TEMP TABLE superseded AS
WITH repeated AS (
    SELECT hash(transaction_id, customer_id, date_trunc('month', day)) AS identity
    FROM judged WHERE broken IS NULL GROUP BY identity HAVING count(*) > 1
)
SELECT judged.rowid AS line FROM judged
WHERE broken IS NULL AND hash(transaction_id, customer_id, date_trunc('month', day)) IN (FROM repeated)
QUALIFY row_number() OVER (
    PARTITION BY customer_id, date_trunc('month', day), transaction_id ORDER BY judged.rowid DESC) > 1;

CREATE TEMP TABLE booked AS
SELECT * EXCLUDE (broken, drop_name, row_text), judged.rowid AS line, status = 'COMPLETED' AS is_done,
    year(day) * 12 + month(day) AS month_number,
    status = 'COMPLETED' AND side = 'DEBIT' AND is_fraudulent IS DISTINCT FROM true AS is_spent
FROM judged ANTI JOIN superseded ON judged.rowid = superseded.line
WHERE broken IS NULL AND day <= getvariable('as_of')::DATE;
DROP TABLE judged;
DROP TABLE superseded;

CREATE TEMP TABLE judged_entries AS
WITH typed AS (
    SELECT *, word(entry_type) AS side, TRY_CAST(amount AS DECIMAL(18,4)) AS given_amount,
        moment_of(entry_time)::DATE AS day
    FROM ({ledger_entries})
), ruled AS (
    SELECT *, CASE
        WHEN entry_id IS NULL OR trim(entry_id) = '' OR length(entry_id) > 64 THEN 'entry_id'
        WHEN transaction_id IS NULL OR trim(transaction_id) = '' OR length(transaction_id) > 64 THEN 'transaction_id'
        WHEN account_id IS NULL OR wrong_id(account_id)                     THEN 'account_id'
        WHEN side IS NULL OR side NOT IN ('DEBIT', 'CREDIT')                THEN 'entry_type'
        WHEN wrong_money(given_amount)                                      THEN 'amount'
        WHEN day IS NULL OR day < DATE '2000-01-01'                         THEN 'entry_time'
    END AS broken
    FROM typed
)
SELECT broken, CASE WHEN broken IS NOT NULL THEN drop_name END AS drop_name,
    CASE WHEN broken IS NOT NULL
        THEN concat_ws(',', entry_id, transaction_id, account_id, entry_type, amount, entry_time) END AS row_text,
    entry_id, transaction_id, TRY_CAST(account_id AS BIGINT) AS account_id, day, side = 'DEBIT' AS is_debit,
    CASE WHEN broken IS NULL THEN (given_amount * 100)::BIGINT END AS cents
FROM ruled;

COPY (SELECT drop_name, row_text, broken FROM judged_entries WHERE broken IS NOT NULL)
    TO '{quarantine}/ledger_entries.parquet' (FORMAT parquet, COMPRESSION zstd);

-- An entry is (month, entry_id).
CREATE TEMP TABLE superseded AS
WITH repeated AS (
    SELECT hash(entry_id, date_trunc('month', day)) AS identity
    FROM judged_entries WHERE broken IS NULL GROUP BY identity HAVING count(*) > 1
)
SELECT judged_entries.rowid AS line FROM judged_entries
WHERE broken IS NULL AND hash(entry_id, date_trunc('month', day)) IN (FROM repeated)
QUALIFY row_number() OVER (PARTITION BY date_trunc('month', day), entry_id ORDER BY judged_entries.rowid DESC) > 1;

CREATE TEMP TABLE entries AS
SELECT transaction_id, account_id, day, is_debit, cents
FROM judged_entries ANTI JOIN superseded ON judged_entries.rowid = superseded.line
WHERE broken IS NULL AND day <= getvariable('as_of')::DATE;
DROP TABLE judged_entries;
DROP TABLE superseded;
