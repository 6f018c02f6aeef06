SELECT * FROM dim_city WHERE is_current;
