"""The marts that engines compute."""

from marts.pack import Mart, Pack
from marts.pack_variants import without, without_analytics
from marts.packs import shipped

LEFT_OUT = {"retail": ("daily_sales", "sales_months", "stores")}
"""Marts that no other engine computes, by pack, besides those of customer analytics."""


def compared(pack: str) -> Pack:
    """Return a shipped pack with the marts that all engines compute."""
    return without(without_analytics(shipped(pack)), LEFT_OUT.get(pack, ()))


def marts_of(pack: str) -> dict[str, Mart]:
    """Return the marts of a shipped pack that all engines compute."""
    return compared(pack).marts
