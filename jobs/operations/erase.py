"""Erase a person: everything of ours that tells who they were goes at once, and later builds know them no more.

Sales lines stay, for the money and the people who sold are not theirs: as those of a number that leads to nobody.
The next build makes again what was removed, from drops in which the person may still be; it knows them by a digest.
Lines of drops that count on although their objects are gone cannot be read again: their files are rewritten.
"""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow.compute as pc

from jobs.operations.only_copies import Person, rewrite
from jobs.operations.survey import Survey
from jobs.ports.audit import AuditEvent
from jobs.ports.records import Erasure, erased_people
from jobs.ports.store import Store
from jobs.ports.warehouse import Warehouse
from jobs.state.manifest import TABLES, Manifest
from jobs.state.parquet import read_parquet
from marts.errors import StateDamaged
from marts.privacy.erasure import ERASED, TELLING, ids_in

Headers = Mapping[str, set[tuple[str, ...]]]
"""The columns of all drops that had a name."""
_log = logging.getLogger("marts.erase")
_THREADS = 16
_ROWS = ("lines", "dimensions/customers", "facts", "marts/customers")
_QUARANTINE = ("quarantine/sales", "quarantine/customers")
_MADE_AGAIN = ("repairs/", f"{TABLES}customers/", "keys/", "settled/")
"""Files that are made again anyway, or at little cost: removed without a look."""
_DONE = "/done.json"
"""Beside the rows of a mart: names the best customers, whose rows may be in the files of an earlier build."""
_ANY = ""
"""Stands for every drop that has a file."""
_OTHERS = ("/sales_team.parquet", "/drops.parquet")
"""Facts without customers."""


@dataclass(frozen=True)
class Traces:
    """What of a person is left in the state, and in the drops."""

    files: tuple[str, ...]
    """Of the state, with something of theirs."""
    manifests: tuple[Manifest, ...]
    """Scans that wrote some of these files: they are made again."""
    only_copies: tuple[Manifest, ...]
    """Those of them that cannot be: their objects are gone, and they count on."""
    drops: tuple[str, ...]
    """Keys of drops that hold them still: those are not ours to change."""


def erasure_of(warehouse: Warehouse, customer: int, now: str, salt: str) -> tuple[list[Erasure], Person]:
    """Return what the ledger must remember to know a customer again, and them.

    Nothing for one who was erased before: they are only looked for again.
    """
    existing = warehouse.erasures() or [Erasure(0, salt, now)]
    erased = erased_people(existing)
    before = erased.number_of(str(customer))
    if before:
        return [], Person(customer, before, erased)
    new = Erasure(len(existing), erased.digest(customer), now)
    return [*existing[:1], new], Person(customer, new.number, erased_people([*existing, new]))


def find_traces(now: Survey, customer: int) -> Traces:
    """Look for a customer in all files of the state, those that a killed build has left included."""
    state, headers = now.state, _headers(now)
    with ThreadPoolExecutor(_THREADS) as pool:
        listed = list(pool.map(state.versions, (*_ROWS, *_QUARANTINE, *_MADE_AGAIN)))
        keys = [version.key for versions in listed for version in versions]
        looked_at = (key for key in keys if not key.startswith(_MADE_AGAIN) and not key.endswith(_OTHERS))
        tables = [key for key in looked_at if key.endswith(".parquet")]
        held = pool.map(partial(_drops_in, now, headers, customer), tables)
        others_part = {key: drops for key, drops in zip(tables, held, strict=True) if drops}
    files = {*others_part, *(key for key in keys if key.startswith(_MADE_AGAIN))}
    files |= {key for key in keys if key.endswith(_DONE) and mention(customer)(state.get(key).decode())}
    files |= {f"{key.rpartition('/')[0]}{_DONE}" for key in others_part if key.startswith("marts/")}
    scans = now.catalog.everything()
    hold = {
        m.scan for m in scans if _shows(now, m, customer) or any(_is_of(m, others_part.get(p, ())) for p in m.paths)
    }
    matches = [m for m in scans if m.scan in hold or files & set(m.paths)]
    existing = {drop.delivery.id: drop.delivery.key for drop in now.plan.drops if not drop.gone}
    removed = {drop.delivery.id for drop in now.plan.drops if drop.gone and not drop.delivery.key.startswith(TABLES)}
    held_by = {m.delivery.key for m in matches if m.scan in hold and m.delivery.id in existing}
    drops = sorted(held_by.union(*others_part.values()) & set(existing.values()))
    copies = tuple(manifest for manifest in matches if manifest.delivery.id in removed)
    return Traces(tuple(sorted(files)), tuple(matches), copies, tuple(drops))


def _headers(now: Survey) -> Headers:
    """Return the columns of each drop that was read, and of others that had its name."""
    matches: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for manifest in now.catalog.everything():
        matches[manifest.delivery.key].add(manifest.measured.columns)
    return matches


def _drops_in(now: Survey, headers: Headers, customer: int, path: str) -> set[str]:
    """Return the names of the drops of which a file of the state has rows of the customer; nothing if there are none.

    A file that is not in quarantine is of one drop, and of a damaged one nobody can tell that they are not in it: _ANY.
    """
    quarantined = path.startswith(_QUARANTINE)
    try:
        rows = read_parquet(now.state, path, ["drop", "raw"] if quarantined else ["customer_id"])
    except StateDamaged:
        return {_ANY}
    if quarantined:
        pairs = zip(rows["drop"].to_pylist(), rows["raw"].to_pylist(), strict=True)
        return {drop for drop, raw in pairs if _may_name(now, customer, headers, drop, raw)}
    return {_ANY} if pc.any(pc.equal(rows["customer_id"], customer)).as_py() else set()


def _is_of(manifest: Manifest, drops: Container[str]) -> bool:
    """Return whether a drop is among some that are named."""
    return _ANY in drops or manifest.delivery.key in drops


def _names(now: Survey, customer: int, columns: Sequence[str], raw: str) -> bool:
    """Return whether a line of a drop with these columns is of the customer; of a refused drop they are not known."""
    return customer in ids_in(raw, columns, now.settings.delimiter) if columns else mention(customer)(raw)


def _may_name(now: Survey, customer: int, headers: Headers, drop: str, raw: str) -> bool:
    """Return whether a line is of the customer by the columns of any drop that had this name."""
    return any(_names(now, customer, columns, raw) for columns in headers.get(drop, {()}))


def _shows(now: Survey, manifest: Manifest, customer: int) -> bool:
    """Return whether an example in a manifest is of the customer."""
    return any(_names(now, customer, manifest.measured.columns, reason.raw) for reason in manifest.reasons)


def remove(now: Survey, traces: Traces, docs: Store, person: Person) -> int:
    """Remove the files, and the pages with an example of the person; rewrite only copies before. Returns how many."""
    customer = person.customer
    forgotten = {(manifest.delivery.id, manifest.rules) for manifest in traces.manifests}
    results = [version.key for version in docs.versions("runs") if version.key.endswith(".json")]
    pages = [key for key in results if _is_on(docs.get(key), customer)]
    with ThreadPoolExecutor(_THREADS) as pool:
        rewritten = dict(pool.map(partial(_rewritten, now, person), traces.only_copies))
        known = {(manifest.delivery.id, manifest.rules): manifest for manifest in now.catalog.everything()}
        kept = [rewritten.get(name) if name in forgotten else manifest for name, manifest in known.items()]
        now.catalog.keep(manifest for manifest in kept if manifest)
        list(pool.map(now.state.delete, traces.files))
        list(pool.map(docs.delete, [*pages, *(key.removesuffix("json") + "html" for key in pages)]))
    docs.delete("index.html")  # it tells how runs failed; the next build writes it
    return len(traces.files) + 2 * len(pages)


def _rewritten(now: Survey, person: Person, manifest: Manifest) -> tuple[tuple[str, str], Manifest | None]:
    """Rewrite a drop without the person; None if a file of it is damaged: the next build says what to put back."""
    name = (manifest.delivery.id, manifest.rules)
    try:
        return name, rewrite(now.state, manifest, person, partial(_names, now, person.customer))
    except StateDamaged as error:
        _log.warning("%s; it is the only copy of %s", error, manifest.delivery.key)
        return name, None


def _is_on(page: bytes, customer: int) -> bool:
    """Return whether a page has an example with the customer's id."""
    mentions = mention(customer)
    for result in json.loads(page).get("results", []):
        if "customer_id" in json.dumps(result.get("expectation_config", {}).get("kwargs", {})):
            displayed = [value for name, value in result.get("result", {}).items() if isinstance(value, list | dict)]
            if any(mentions(json.dumps(value)) for value in displayed):
                return True
    return False


def clean_ledger(now: Survey, warehouse: Warehouse, customer: int) -> int:
    """Take examples of the person's lines out of reports, and their repaired lines out of decisions.

    Returns how many.
    """
    headers, mentions = _headers(now), mention(customer)

    def report(text: str) -> str:
        before = json.loads(text)
        announced: dict[str, Any] = json.loads(text)
        for drop in announced.get("drops", []):
            for reason in drop.get("reasons", []):
                if _may_name(now, customer, headers, drop.get("key", ""), reason.get("raw", "")):
                    reason.update(raw=ERASED, example="")
        for best in announced.get("figures", {}).get("best", []):
            if best.get("customer_id") == customer:
                best.update(customer_id=0, full_name=ERASED)
        cleaned = _without(announced, mentions)
        return text if cleaned == before else json.dumps(cleaned)

    def notice(text: str) -> str:
        raised: dict[str, Any] = json.loads(text)
        lines = [str(_without(line, mentions)) for line in raised["body"].split("\n")]
        cleaned = {**raised, "subject": _without(raised["subject"], mentions), "body": "\n".join(lines)}
        return text if cleaned == raised else json.dumps(cleaned, ensure_ascii=False)

    changed = 0
    for decision in warehouse.decisions():
        lines = json.loads(decision.detail or "{}") if decision.action == "repair" else {}
        key = decision.object_key
        # A repair is somebody's money: where the columns are not known, a small number may be a quantity.
        known = any(headers.get(key, ())) or len(str(customer)) >= TELLING
        left = {n: raw for n, raw in lines.items() if not (known and _may_name(now, customer, headers, key, raw))}
        if len(left) < len(lines):
            warehouse.decide(replace(decision, detail=json.dumps(left, ensure_ascii=False)))
            changed += 1
    changed += warehouse.rewrite("marts_runs", "report", report)
    changed += warehouse.rewrite("marts_notices", "notice", notice)
    return changed + warehouse.rewrite("marts_runs", "error", lambda text: str(_without(text, mentions)))


def event(number: int, at: str, who: str, why: str) -> AuditEvent:
    """Note an erasure without telling whose."""
    return AuditEvent(f"erase-{number}", at, who, "erase", f"customer, erased as number {number}", why)


def mention(customer: int) -> Callable[[str], bool]:
    """Return whether a text has the number of a customer, as a number of its own."""
    match = re.compile(rf"(?<![0-9.])0*{customer}(?![0-9]|\.[0-9])")
    return lambda text: bool(match.search(text))


def _without(value: object, mentions: Callable[[str], bool]) -> object:
    """Copy a report without sentences that name the customer: those with the name of the column, and the number."""
    if isinstance(value, dict):
        return {name: _without(inner, mentions) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, mentions) for inner in value]
    named = isinstance(value, str) and "customer_id" in value and mentions(value)
    return "customer_id …: (erased)" if named else value


def drops_text(keys: Iterable[str]) -> str:
    """Return the name of drops, the first of many."""
    names = list(keys)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
