SELECT * FROM dim_channel WHERE is_current;
