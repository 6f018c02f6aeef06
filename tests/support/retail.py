"""The retail pack, whose drops and marts most tests use."""

from marts.packs import shipped

RETAIL = shipped("retail")
KINDS, MARTS = RETAIL.kinds, RETAIL.marts
SALES, CUSTOMERS, STORES, SALES_TEAM, PRODUCTS = KINDS.values()
CUSTOMERS_MART, SALES_TEAM_MART = MARTS.values()
