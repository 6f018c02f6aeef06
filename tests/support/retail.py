"""The retail pack, whose drops and marts most tests use."""

from marts.pack_variants import without_analytics
from marts.packs import shipped

RETAIL = without_analytics(shipped("retail"))
KINDS, MARTS = RETAIL.kinds, RETAIL.marts
SALES, CUSTOMERS, STORES, SALES_TEAM, PRODUCTS = KINDS.values()
CUSTOMERS_MART, SALES_TEAM_MART = MARTS["customers"], MARTS["sales_team"]
