"""The targets: DuckDB, and MySQL or MariaDB with sessions that survive a lost connection."""
