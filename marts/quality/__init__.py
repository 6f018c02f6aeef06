"""Rules of data quality, and what is measured of them."""
