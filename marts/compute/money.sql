-- Exact arithmetic. Amounts are whole cents until the last step; nothing passes through a binary float.

-- a / b for b > 0, rounded half away from zero to a whole number.
CREATE OR REPLACE MACRO div_half_up(a, b) AS
    sign(a::HUGEINT) * ((2 * abs(a::HUGEINT) + b::HUGEINT) // (2 * b::HUGEINT));

-- Whole hundredths as DECIMAL(18,2) and DECIMAL(14,2). A value that does not fit is an error, never NULL.
CREATE OR REPLACE MACRO money(hundredths) AS (hundredths::HUGEINT::DECIMAL(18,0) * 0.01::DECIMAL(3,2))::DECIMAL(18,2);
CREATE OR REPLACE MACRO rate(hundredths) AS (hundredths::HUGEINT::DECIMAL(14,0) * 0.01::DECIMAL(3,2))::DECIMAL(14,2);

CREATE OR REPLACE MACRO month_name(first_day) AS strftime(first_day, '%Y-%m');
