"""The retail pack, whose drops and marts most tests use."""

import json

from marts.pack_variants import without, without_analytics
from marts.packs import shipped

ALL = without_analytics(shipped("retail"))
DAILY = ("daily_sales", "sales_months", "stores")
"""Marts that most tests leave out: builds take a third less time. Tests of days and pages have them."""
LEAVE_OUT = json.dumps(DAILY)
RETAIL = without(ALL, DAILY)
KINDS, MARTS = RETAIL.kinds, RETAIL.marts
SALES, CUSTOMERS, STORES, SALES_TEAM, PRODUCTS = KINDS.values()
CUSTOMERS_MART, SALES_TEAM_MART = MARTS["customers"], MARTS["sales_team"]
