SELECT * FROM dim_customer WHERE is_current;
