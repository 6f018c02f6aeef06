SELECT * FROM dim_merchant WHERE is_current;
