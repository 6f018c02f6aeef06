"""The MySQL or MariaDB target: sessions that survive a lost connection, and the warehouse on them."""
