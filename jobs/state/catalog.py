"""The catalog of manifests, by delivery and rules."""

import contextlib
import gc
import hashlib
import re
from collections.abc import Callable, Container, Iterable, Iterator

from pydantic import TypeAdapter, ValidationError

from jobs.ports.store import Store
from jobs.state.manifest import Manifest
from jobs.state.parquet import READ_ATTEMPTS
from marts.errors import ObjectChanged

_COMPACT_ABOVE = 8
_CATALOG = re.compile(r"catalog/v2-[0-9]{8}-[0-9a-f]+\.json")
"""Files of this version. Those of earlier versions are not read: their drops are scanned again, once."""
_EARLIER_CATALOG = re.compile(r"catalog/[0-9]{8}-[0-9a-f]+\.json")
_MANIFESTS = TypeAdapter(list[Manifest])


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Disable garbage collection while many objects are created and kept: it takes as long as creating them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Catalog:
    """The manifests of all scanned deliveries, stored as a few JSON objects in the state.

    A delivery may have been judged by several sets of rules; each judgement is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: list[str] = []
        self._of_earlier_versions: list[str] = []
        self._manifests: dict[str, dict[str, Manifest]] = {}
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                self._read()
            except ObjectChanged:  # another build has compacted the catalog meanwhile
                if attempt == READ_ATTEMPTS:
                    raise
            else:
                break

    def _read(self) -> None:
        self._manifests.clear()
        listed = [version.key for version in self._store.versions("catalog")]
        self._keys = [key for key in listed if _CATALOG.fullmatch(key)]
        self._of_earlier_versions = [key for key in listed if _EARLIER_CATALOG.fullmatch(key)]
        for key in self._keys:
            data = self._store.get(key)
            try:
                with _no_garbage():
                    manifests = _MANIFESTS.validate_json(data)
            except ValidationError:  # damaged, or of another version: its drops are scanned again
                continue
            for manifest in manifests:
                self.remember_now(manifest)

    def name_contents(self, content: Callable[[str, str], str]) -> None:
        """Give the contents the names that ``content`` returns for a key and the recorded content."""
        for manifest in self.everything():
            name = content(manifest.delivery.key, manifest.content)
            if name != manifest.content:
                self._manifests[manifest.delivery.id][manifest.rules] = manifest.model_copy(update={"content": name})

    def get(self, delivery: str, rules: str = "") -> Manifest | None:
        """Return the manifest of the scan by these rules, or else of the last scan by any others."""
        by_rules = self._manifests.get(delivery, {})
        return by_rules.get(rules) or next(reversed(by_rules.values()), None)

    def judgements(self, delivery: str) -> list[Manifest]:
        """Return the manifests of a delivery by any rules."""
        return list(self._manifests.get(delivery, {}).values())

    def everything(self) -> list[Manifest]:
        """Return all manifests by any rules."""
        return [manifest for by_rules in self._manifests.values() for manifest in by_rules.values()]

    def forget_all(self, but: Container[str] = ()) -> None:
        """Forget all deliveries except some: the forgotten drops are scanned again."""
        self._manifests = {delivery: result for delivery, result in self._manifests.items() if delivery in but}

    def forget_incomplete(self, existing: Container[str]) -> None:
        """Forget manifests with missing files: their drops are scanned again."""
        for by_rules in self._manifests.values():
            for rules, manifest in list(by_rules.items()):
                if not all(path in existing for path in manifest.paths):
                    del by_rules[rules]

    def remember_now(self, manifest: Manifest) -> None:
        """Remember a scan for this run only."""
        by_rules = self._manifests.setdefault(manifest.delivery.id, {})
        by_rules.pop(manifest.rules, None)
        by_rules[manifest.rules] = manifest

    def add(self, manifests: Iterable[Manifest]) -> None:
        """Record complete scans, so that no later run repeats them."""
        added = list(manifests)
        if not added:
            return
        for manifest in added:
            self.remember_now(manifest)
        self._keys.append(self._write(added))
        if len(self._keys) > _COMPACT_ABOVE:
            self._compact()

    def keep(self, manifests: Iterable[Manifest]) -> None:
        """Keep only these manifests, permanently."""
        self._manifests.clear()
        for manifest in manifests:
            if not manifest.repaired and not manifest.overruled:  # those are derived from decisions, not scanned
                self.remember_now(manifest)
        self._compact()
        for key in self._of_earlier_versions:
            self._store.delete(key)

    def _compact(self) -> None:
        """Write everything as one object and remove the others."""
        whole = self._write(self.everything())
        for key in self._keys:
            if key != whole:
                self._store.delete(key)
        self._keys = [whole]

    def _write(self, manifests: list[Manifest]) -> str:
        data = _MANIFESTS.dump_json(manifests, exclude_defaults=True)
        # Objects are read in name order; later ones win.
        number = int(self._keys[-1].split("-")[1]) + 1 if self._keys else 1
        key = f"catalog/v2-{number:08d}-{hashlib.sha256(data).hexdigest()[:12]}.json"
        self._store.put(key, data)
        return key
