SELECT * FROM dim_account WHERE is_current;
