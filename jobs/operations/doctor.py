"""Check everything that a build needs, with a hint for each failure."""

import importlib.metadata
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jobs.adapters.ray.cluster import Cluster, cluster_address
from jobs.adapters.store.open import open_store
from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.load import load_policy, vault_of
from jobs.config.packs import required_dashboard
from jobs.config.secret import open_vault
from jobs.config.settings import Settings
from jobs.operations.seal import is_used, places_of
from jobs.ports.store import ObjectVersion
from jobs.report.run_records import require_readable
from jobs.steps.listing import list_source
from marts.errors import MartsError, UsageError
from marts.rows.source_block import number_of

_PACKAGES = ("ray", "pyarrow", "duckdb", "mysql-connector-python", "boto3", "s3fs")
_FREE = 2 << 30
_MANY_CELLS = 2_000_000
"""Cells of a dashboard from which a change of a filter takes a tenth of a second and more."""
_PATIENCE = 3.0
"""Deadline of requests in seconds: short, because a person waits for the result."""


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    what: str
    ok: bool
    text: str
    """What was found, or what to do."""
    exit_code: int = 0


def examine(settings: Settings) -> Iterator[Check]:
    """Check versions, settings, storage, database and Ray in turn, with short deadlines."""
    waits = {"deadline": _PATIENCE}
    settings = settings.model_copy(
        update={"s3": settings.s3.model_copy(update=waits), "mysql": settings.mysql.model_copy(update=waits)}
    )
    yield from _versions()
    yield from _guarded("policy", lambda: _policy(settings))
    yield from _guarded("credentials", lambda: _credentials(settings))
    if settings.source:
        yield from _guarded("source", lambda: _source(settings))
    else:
        yield Check("source", False, "not set: give --source or run `marts init`", UsageError.exit_code)
    if settings.target:
        yield from _guarded("state", lambda: _state(settings))
        yield from _guarded("target", lambda: _target(settings))
    else:
        yield Check("target", False, "not set: give --target or run `marts init`", UsageError.exit_code)
    yield from _guarded("ray", lambda: _ray(settings))
    yield _notices(settings)


def examine_pages(settings: Settings) -> Iterator[Check]:
    """Check what `marts serve` needs: a dashboard, its tables, and a user who may only read."""
    yield from _guarded("dashboard", lambda: _dashboard(settings))
    if settings.target:
        yield from _guarded("target", lambda: _read_only(settings))
    else:
        yield Check("target", False, "not set: give --target or run `marts init`", UsageError.exit_code)


def _dashboard(settings: Settings) -> list[Check]:
    dashboard = required_dashboard(settings.domain)
    return [Check("dashboard", True, f"{len(dashboard.figures)} figures, {len(dashboard.dimensions)} filters")]


def _read_only(settings: Settings) -> list[Check]:
    pack = settings.domain
    dashboard = required_dashboard(pack)
    with closing(open_warehouse(settings.target or "", settings.mysql, pack, True, 0, False)) as warehouse:
        live = warehouse.live()
        missing = [pack.marts[name].table for name in dashboard.tables if name not in live]
        if not missing:
            marked = [dashboard.unusual.mart] if dashboard.unusual and dashboard.unusual.mart in live else []
            require_readable(warehouse, [pack.marts[name].table for name in (*dashboard.tables, *marked)])
        rights = warehouse.rights_to_write()
        cells = live[dashboard.table].row_count if dashboard.table in live else 0
    published = f"{missing[0]} is not published yet: run marts build" if missing else "all are published"
    checks = [Check("tables", not missing, published, UsageError.exit_code if missing else 0)]
    slow = f": more than {_MANY_CELLS:,} make each change of a filter slow" if cells > _MANY_CELLS else ""
    checks += [] if missing else [Check("cells", True, f"{cells:,} in memory{slow}")]
    if not rights:
        return [*checks, Check("rights", True, "may only read")]
    hint = "give the pages a user of their own: GRANT SELECT ON database.* TO user"
    return [*checks, Check("rights", False, f"may write ({', '.join(rights)}): {hint}", UsageError.exit_code)]


def _guarded(what: str, check: Callable[[], list[Check]]) -> list[Check]:
    try:
        return check()
    except MartsError as error:
        return [Check(what, False, f"{error}. {error.hint}".strip(), error.exit_code)]


def _versions() -> list[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return [Check("python", sys.version_info >= (3, 11), python), Check("packages", True, packages)]


def _policy(settings: Settings) -> list[Check]:
    policy = load_policy(settings)
    return [
        Check(
            "policy", True, f"{settings.policy or 'defaults'} ({policy.digest()}), days of {policy.business_timezone}"
        )
    ]


def _credentials(settings: Settings) -> list[Check]:
    """Open the sealed file and name the origin of each credential."""
    places = places_of(settings)
    if is_used(settings):
        held = open_vault(vault_of(settings))
        places.append(f"{vault_of(settings).file} is intact, revision {held.revision}")
    return [Check("credentials", True, "; ".join(places) or "none set: the platform's own are used")]


def _source(settings: Settings) -> list[Check]:
    store = open_store(settings.source or "", settings.s3)
    results = list_source(store, settings.domain, settings.sources).drops
    needed = [kind.name for kind in settings.domain.facts or settings.domain.dimensions]
    seen = ", ".join(f"{name} {len(versions):,}" for name, versions in results.items())
    newest = next((results[name][-1] for name in needed if results[name]), None)
    if newest is None:
        what = f"no drop under {store.uri}/{' or '.join(needed)}/"
        hint = "copy your files there, set --source to their folder, or run `marts generate`"
        return [Check("source", False, f"{what}: {hint}", UsageError.exit_code)]
    store.read(newest, 0, min(newest.size, 1000))
    return [Check("source", True, f"{store.uri}: {seen} drops; they can be read"), *_blocks(settings, results)]


def _blocks(settings: Settings, drops: Mapping[str, Sequence[ObjectVersion]]) -> list[Check]:
    """Count the drops that each [[source]] block reads. A block that matches none may have a wrong glob."""
    if not settings.sources:
        return []
    counted = Counter(number_of(version.key, settings.sources) for versions in drops.values() for version in versions)
    blocks = enumerate(settings.sources, 1)
    seen = [f'{number} ("{block.match}") {counted[number]:,}' for number, block in blocks if not block.ignore]
    return [Check("blocks", True, f"drops read by [[source]] block {', '.join(seen)}; by none {counted[0]:,}")]


def _state(settings: Settings) -> list[Check]:
    store = open_store(settings.state_uri, settings.s3)
    store.put("doctor", b"can be written")
    store.delete("doctor")
    checks = [Check("state", True, f"{store.uri} can be written")]
    if "://" not in store.uri:
        free = shutil.disk_usage(Path(store.uri)).free
        checks.append(
            Check("disk", free > _FREE, f"{free / 2**30:.1f} GiB free beside the state", 0 if free > _FREE else 69)
        )
    return checks


def _target(settings: Settings) -> list[Check]:
    warehouse = open_warehouse(settings.target or "", settings.mysql, settings.domain)
    try:
        return [Check(what, ok, text) for what, ok, text in warehouse.diagnose()]
    finally:
        warehouse.close()


def _notices(settings: Settings) -> Check:
    """List the addresses that get notices, without sending any."""
    names = ", ".join(settings.notify.to)
    heard = f"{names} (`marts notify test` tests them)" if names else "none; `marts secrets set notify.to.NAME`"
    return Check("notices", True, f"{heard}{'; a heartbeat is pinged' if settings.notify.heartbeat else ''}")


def _ray(settings: Settings) -> list[Check]:
    with Cluster(settings.ray) as cluster:
        ((_, seen),) = cluster.run("Doctor", _where, [0])
    return [Check("ray", True, f"a task ran ({cluster_address(settings.ray)} cluster, Python {seen})")]


def _where(_: int) -> str:
    return ".".join(map(str, sys.version_info[:3]))
