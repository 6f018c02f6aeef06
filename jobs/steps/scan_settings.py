"""Settings of a scan."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from jobs.adapters.store.open import StoreAddress
from jobs.config.settings import Settings
from jobs.config.suites import load_suites
from jobs.ports.records import DropRecord
from jobs.state.manifest import TABLES, name_of
from marts.pack import Pack
from marts.policy import Policy
from marts.privacy.erasure import Erased
from marts.privacy.masking import free_texts
from marts.quality.rules import Suite
from marts.rows.source_block import DEFAULT, SourceBlock, block_of

SCAN_VERSION = 4
"""Increase it when the clean rows of the same drop would change."""
_NOBODY = Erased()
_GIVEN = "~"


@dataclass(frozen=True)
class ScanSettings:
    """Settings of a scan; equal settings produce equal results."""

    source: StoreAddress
    state: StoreAddress
    pack: Pack
    policy: Policy
    suites: Mapping[str, Suite]
    """The rules of each kind of drop."""
    blocks: tuple[SourceBlock, ...]
    """How objects are read; the first block that matches a key holds."""
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
            pack=settings.domain,
            policy=policy,
            suites=load_suites(settings.domain, settings.expectations, policy),
            blocks=settings.sources,
            split_bytes=settings.limits.split_bytes,
            max_inflated_bytes=settings.limits.max_inflated_bytes,
            run_id=run_id,
            erased=erased,
        )

    def block(self, key: str) -> SourceBlock:
        """Return how an object is read; snapshots of tables are read as they were written."""
        return DEFAULT if key.startswith(TABLES) else block_of(key, self.blocks)

    def content(self, key: str, hashed: str) -> str:
        """Return the name of the content of an object: its hash, and one of the values that its key or block gives.

        Equal bytes under store=1/ and store=2/ are two contents. ``hashed`` may be such a name, by an earlier block.
        """
        hashed = hashed.partition(_GIVEN)[0]
        given = self.block(key).given(key) if hashed else None
        return f"{hashed}{_GIVEN}{name_of(sorted(given.items()))}" if given else hashed

    def named(self, ledger: Iterable[DropRecord]) -> list[DropRecord]:
        """Return records with the names that their contents have by the current blocks."""
        return [replace(record, content=self.content(record.object_key, record.content)) for record in ledger]

    def rules(self, kind: str, key: str) -> str:
        """Return the name of the rules that read and check the rows of an object."""
        unknown = self.policy.unknown_ids if self.pack.is_fact(kind) else ()
        reading, masked = self.block(key).reading, free_texts(self.pack.kinds[kind])
        named = (SCAN_VERSION, reading, self.policy.business_timezone, unknown, self.suites[kind].digest)
        return name_of(*named, *([masked] if masked else []))
