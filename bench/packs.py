"""The marts that engines compute."""

from marts.pack import Mart
from marts.pack_variants import without_analytics
from marts.packs import shipped


def marts_of(pack: str) -> dict[str, Mart]:
    """Return the marts of a shipped pack without those of customer analytics, which no engine computes."""
    return without_analytics(shipped(pack)).marts
