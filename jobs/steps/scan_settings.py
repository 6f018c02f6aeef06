"""Settings of a scan."""

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.adapters.store.open import StoreAddress
from jobs.config.settings import Settings
from jobs.config.suites import load_suites
from jobs.state.manifest import name_of
from marts.policy import Policy
from marts.privacy.erasure import Erased
from marts.quality.rules import Suite
from marts.schema import SALES

SCAN_VERSION = 3
"""Increase it when the clean rows of the same drop would change."""
_NOBODY = Erased()


@dataclass(frozen=True)
class ScanSettings:
    """Settings of a scan; equal settings produce equal results."""

    source: StoreAddress
    state: StoreAddress
    policy: Policy
    suites: Mapping[str, Suite]
    """The rules of each kind of drop."""
    delimiter: str
    split_bytes: int
    max_inflated_bytes: int
    run_id: str = ""
    """Run id, written with quarantined rows."""
    erased: Erased = _NOBODY
    """People whose data is not written."""

    @classmethod
    def of(cls, settings: Settings, policy: Policy, run_id: str = "", erased: Erased = _NOBODY) -> "ScanSettings":
        """Select the settings that a scan needs."""
        return cls(
            source=StoreAddress.of(settings.source or "", settings.s3),
            state=StoreAddress.of(settings.state_uri, settings.s3),
            policy=policy,
            suites=load_suites(settings.expectations, policy),
            delimiter=settings.csv.delimiter,
            split_bytes=settings.limits.split_bytes,
            max_inflated_bytes=settings.limits.max_inflated_bytes,
            run_id=run_id,
            erased=erased,
        )

    def rules(self, kind: str) -> str:
        """Return the name of the rules that check the rows of a kind."""
        unknown = self.policy.unknown_ids if kind == SALES.name else ()
        return name_of(SCAN_VERSION, self.delimiter, self.policy.business_timezone, unknown, self.suites[kind].digest)
