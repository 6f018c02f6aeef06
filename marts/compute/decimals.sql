-- Exact decimals of whole numbers of their last digit, for the types percent, decimal(4) and decimal(6) of a mart.

CREATE OR REPLACE MACRO percent(hundredths) AS (hundredths::HUGEINT::DECIMAL(5,0) * 0.01::DECIMAL(3,2))::DECIMAL(5,2);
CREATE OR REPLACE MACRO decimal4(ten_thousandths) AS
    (ten_thousandths::HUGEINT::DECIMAL(18,0) * 0.0001::DECIMAL(5,4))::DECIMAL(18,4);
CREATE OR REPLACE MACRO decimal6(millionths) AS
    (millionths::HUGEINT::DECIMAL(18,0) * 0.000001::DECIMAL(7,6))::DECIMAL(18,6);
