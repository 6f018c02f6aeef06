"""Remove files of the state that no live drop needs: they can be rebuilt from the drops."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date

from jobs.operations.survey import Survey
from jobs.ports.records import Generation
from jobs.ports.store import at_once
from jobs.ports.warehouse import Warehouse
from jobs.state.manifest import TABLES, Manifest
from jobs.steps.contents import Memory
from jobs.steps.derive import levels_of, plan_level, read_digests
from jobs.steps.histories import Dimensions
from jobs.steps.materialize import MartRows, mart_folder, saved_rows
from jobs.steps.repair import repair_key, repairs_in, repairs_of
from jobs.steps.rollup import Calculations, RollUp, plan_rollups
from jobs.steps.settle import Settled, chained, plan_settling, read_settled
from marts.compute.identity import Identity

FOLDERS = (
    "lines",
    "dimensions",
    "quarantine",
    "repairs",
    "settled",
    "facts",
    "versions",
    "marts",
    "keys",
    TABLES.rstrip("/"),
)
"""Folders with only Martwright's files; those of the catalog are rewritten, the data quality pages stay."""


@dataclass(frozen=True)
class Waste:
    """Files that are no longer needed: bytes by key."""

    files: Mapping[str, int]
    kept: int
    """Number of files that are needed."""

    def by_folder(self) -> list[tuple[str, int, int]]:
        """Return folder, files and bytes."""
        files: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for key, length in self.files.items():
            files[key.partition("/")[0]] += 1
            size[key.partition("/")[0]] += length
        return [(folder, files[folder], size[folder]) for folder in FOLDERS if files[folder]]


def find_waste(now: Survey, warehouse: Warehouse, rollup_lines: int) -> tuple[Waste, list[Manifest]]:
    """Return the files of the state that are not needed, and the manifests of the drops that are needed.

    Call it while no build runs: files that a build has just written would count as waste.
    """
    manifests = _manifests(now, warehouse)
    exact = {path for manifest in manifests for path in manifest.paths}
    exact |= {manifest.delivery.key for manifest in manifests if manifest.delivery.key.startswith(TABLES)}
    repairs = repairs_of(warehouse.decisions(), Memory.of(now.settings.named(warehouse.drops())).contents)
    exact |= {repair_key(m, texts) for m in manifests if (texts := repairs_in(m, repairs))}
    live, generations = warehouse.live(), warehouse.generations()
    for as_of in {date.fromisoformat(generation.as_of_date) for generation in live.values()}:
        exact |= _months(now, as_of, rollup_lines)
    kept = [generations[number] for number in warehouse.kept_generations() if number in generations]
    rows = _tables(now, kept)
    exact |= {path for item in rows for path in item.paths}
    names = {*((item.mart, item.fingerprint) for item in kept), *((item.mart, item.fingerprint) for item in rows)}
    folders = tuple(f"{mart_folder(*name)}/" for name in names)
    existing = [version for result in at_once(now.state.versions, FOLDERS) for version in result]
    waste = {v.key: v.size for v in existing if v.key not in exact and not v.key.startswith(folders)}
    return Waste(waste, len(existing) - len(waste)), manifests


def _months(now: Survey, as_of: date, rollup_lines: int) -> set[str]:
    """Return the tables of months of the live drops, the histories that they read, and which of their lines count."""
    live, kept = now.resolved.live_facts, set[str]()
    calculations = Calculations.of(now.settings.pack, now.settings.policy)
    existing = {version.key for folder in ("settled", "facts") for version in now.state.versions(folder)}

    def settle(identity: Identity, months: Collection[str]) -> Settled | None:
        tasks = plan_settling(live, rollup_lines, identity, as_of, now.settings.state, months, existing)
        paths = {path for task in tasks for path in task.paths}
        if not paths <= existing:
            return None
        kept.update(paths, chained(now.state, tasks))
        return read_settled(now.state, tasks, live)

    rollups = plan_rollups(live, as_of, rollup_lines, calculations, settle, existing)
    kept = kept.union(*(rollup.paths | rollup.day_paths for rollup in rollups))
    dimensions = Dimensions.of(now.resolved.dimensions, now.settings, as_of)
    kept |= {history.path for history in dimensions.histories}  # the next build continues them
    used = [rollup for rollup in rollups if rollup.starts <= as_of]
    derived = _derived(now, used, calculations, dimensions, existing)
    return kept.union(*(task.paths | task.day_paths for task in derived))


def _derived(
    now: Survey,
    rollups: Sequence[RollUp],
    calculations: Calculations,
    dimensions: Dimensions,
    existing: AbstractSet[str],
) -> list[RollUp]:
    """Return the tasks whose tables of months read other months or dimensions, as far as they were computed."""
    every, digests = list(rollups), dict[str, str]()
    for level in range(1, levels_of(now.settings.pack)):
        last = [rollup for rollup in every if rollup.level == level - 1]
        if not {rollup.digests for rollup in last if rollup.is_read} <= existing:
            break
        digests |= read_digests(now.state, last)
        every += plan_level(level, every, now.settings.pack, calculations, dimensions, digests)
    return every[len(rollups) :]


def _tables(now: Survey, kept: Iterable[Generation]) -> list[MartRows]:
    """Return the rows of kept generations, and those of the tables that they are computed from.

    Their files may be of older generations: patches are based on these.
    """
    existing = {version.key for version in now.state.versions("marts")}
    pack, results = now.settings.pack, dict[tuple[str, str], MartRows]()
    names = [(item.mart, item.fingerprint) for item in kept]
    while names:
        name = names.pop()
        rows = saved_rows(now.state, *name, existing) if name not in results else None
        if rows:
            results[name] = rows
            read = dict(rows.inputs.also)
            others = pack.tables_read(rows.mart) if rows.mart in pack.tables else ()
            names += [(other, read[other][0]) for other in others if other in read]
    return [*results.values(), *_stopping(now, results, existing)]


def _stopping(now: Survey, known: Collection[tuple[str, str]], existing: AbstractSet[str]) -> Iterator[MartRows]:
    """Yield the rows of tables whose rows would stop a build, as far as they were computed from known tables."""
    pack = now.settings.pack
    for name in (name for name in pack.computed if not pack.tables[name].table):
        start, end = f"marts/{name}/", "/done.json"
        for path in sorted(path for path in existing if path.startswith(start) and path.endswith(end)):
            rows = saved_rows(now.state, name, path.removeprefix(start).removesuffix(end), existing)
            if rows and {(other, files[0]) for other, files in rows.inputs.also if other in pack.tables} <= {*known}:
                yield rows


def remove(now: Survey, waste: Waste, manifests: Iterable[Manifest]) -> None:
    """Remove files, and keep only ``manifests`` in the catalog."""
    now.catalog.keep(manifests)
    at_once(now.state.delete, waste.files)


def _manifests(now: Survey, warehouse: Warehouse) -> list[Manifest]:
    """Return the manifests of the planned drops and of the tables that replace drops.

    For a drop with repairs, include the scan that they are based on, so that it need not be read again.
    """
    results = {drop.manifest.scan: [drop.manifest] for drop in now.plan.drops if drop.manifest}
    for drop in now.plan.drops:
        for manifest in now.catalog.judgements(drop.delivery.id):
            if drop.manifest and manifest.scan == drop.manifest.scan:
                results[manifest.scan].append(manifest)
    tables = [r.delivery_id for r in warehouse.drops() if r.state == "live" and r.object_key.startswith(TABLES)]
    for delivery in tables:
        for manifest in now.catalog.judgements(delivery):
            if manifest.rules == now.settings.rules(manifest.delivery.kind, manifest.delivery.key):
                results.setdefault(manifest.scan, []).append(manifest)
    return [manifest for same in results.values() for manifest in same]
