"""Erase a person: everything of ours that tells who they were goes at once, and later builds know them no more.

Sales lines stay, for the money and the people who sold are not theirs: as those of a number that leads to nobody.
The next build makes again what was removed, from drops in which the person may still be; it knows them by a digest.
"""

import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow.compute as pc

from jobs.adapters.objects import Store
from jobs.audit import Deed
from jobs.ledger import Erasure, Warehouse, erased_people
from jobs.now import Now
from jobs.scan_task import TABLES
from jobs.state import Manifest, read_parquet
from marts.erased import ERASED

_THREADS = 16
_ROWS = ("lines", "dimensions/customers", "facts", "marts/customers")
_QUARANTINE = ("quarantine/sales", "quarantine/customers")
_MADE_AGAIN = ("repairs/", f"{TABLES}customers/", "keys/")
"""Small files that cost nothing to make again: removed without a look."""
_OTHERS = ("/sales_team.parquet", "/drops.parquet")
"""Facts without customers."""


@dataclass(frozen=True)
class Traces:
    """What of a person is left in the state, and in the drops."""

    files: tuple[str, ...]
    """Of the state, with something of theirs."""
    manifests: tuple[Manifest, ...]
    """Scans that wrote some of these files: they are made again."""
    drops: tuple[str, ...]
    """Keys of drops that hold them still: those are not ours to change."""


def erasure_of(warehouse: Warehouse, customer: int, now: str, salt: str) -> tuple[list[Erasure], int]:
    """Give what the ledger must remember to know a customer again, and their number.

    Nothing for one who was erased before: an erasure that was interrupted goes on.
    """
    there = warehouse.erasures() or [Erasure(0, salt, now)]
    erased = erased_people(there)
    before = erased.number_of(str(customer))
    if before:
        return [], before
    return [*there[:1], Erasure(len(there), erased.digest(customer), now)], len(there)


def find_traces(now: Now, customer: int) -> Traces:
    """Look for a customer in all files of the state, those that a killed build has left included."""
    state, mentions = now.state, mention(customer)
    with ThreadPoolExecutor(_THREADS) as pool:
        listed = list(pool.map(state.versions, (*_ROWS, *_QUARANTINE, *_MADE_AGAIN)))
        keys = [version.key for versions in listed for version in versions]
        tables = [key for key in keys if key.endswith(".parquet") and not key.endswith(_OTHERS)]
        theirs = [
            key for key, yes in zip(tables, pool.map(partial(_holds, state, customer), tables), strict=True) if yes
        ]
    files = {*theirs, *(key for key in keys if key.startswith(_MADE_AGAIN))}
    files |= {f"{key.rpartition('/')[0]}/done.json" for key in theirs if key.startswith("marts/")}
    found = [
        m for m in now.catalog.everything() if files & set(m.paths) or mentions(m.model_dump_json(include={"reasons"}))
    ]
    drops = {manifest.delivery.key for manifest in found if not manifest.delivery.key.startswith(TABLES)}
    return Traces(tuple(sorted(files)), tuple(found), tuple(sorted(drops)))


def _holds(state: Store, customer: int, path: str) -> bool:
    """Tell whether a customer is in a file of the state."""
    if path.startswith(_QUARANTINE):
        return any(map(mention(customer), read_parquet(state, path, ["raw"])["raw"].to_pylist()))
    return bool(pc.any(pc.equal(read_parquet(state, path, ["customer_id"])["customer_id"], customer)).as_py())


def remove(now: Now, traces: Traces, docs: Store, customer: int) -> int:
    """Remove the files, and the pages that show a line of the person. Gives how many."""
    forgotten = {(manifest.delivery.id, manifest.rules) for manifest in traces.manifests}
    now.catalog.keep(m for m in now.catalog.everything() if (m.delivery.id, m.rules) not in forgotten)
    mentions = mention(customer)
    pages = [v.key for v in docs.versions("runs") if mentions(docs.get(v.key).decode("utf-8", "replace"))]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(now.state.delete, traces.files))
        list(pool.map(docs.delete, pages))
    return len(traces.files) + len(pages)


def clean_ledger(warehouse: Warehouse, customer: int) -> int:
    """Take examples of the person's lines out of reports, and their repaired lines out of decisions."""
    mentions = mention(customer)

    def report(text: str) -> str:
        return json.dumps(_without(json.loads(text), mentions)) if mentions(text) else text

    def detail(text: str) -> str:
        lines = json.loads(text) if mentions(text) else {}
        left = {line: raw for line, raw in lines.items() if not mentions(raw)}
        return json.dumps(left, ensure_ascii=False) if len(left) < len(lines) else text

    return warehouse.rewrite("marts_runs", "report", report) + warehouse.rewrite("marts_decisions", "detail", detail)


def deed(number: int, at: str, who: str, why: str) -> Deed:
    """Note an erasure without telling whose."""
    return Deed(f"erase-{number}", at, who, "erase", f"customer, erased as number {number}", why)


def mention(customer: int) -> Callable[[str], bool]:
    """Tell whether a text has the number of a customer, as a number of its own."""
    found = re.compile(rf"(?<![0-9.]){customer}(?![0-9.])")
    return lambda text: bool(found.search(text))


def _without(value: object, mentions: Callable[[str], bool], key: str = "") -> object:
    """Copy a report without the examples that mention somebody."""
    if isinstance(value, dict):
        return {name: _without(inner, mentions, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, mentions, key) for inner in value]
    shown = isinstance(value, str) and key in ("raw", "example", "what", "reason", "observed", "warnings")
    return ERASED if shown and mentions(str(value)) else value


def drops_text(keys: Iterable[str]) -> str:
    """Name drops, the first of many."""
    names = list(keys)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
