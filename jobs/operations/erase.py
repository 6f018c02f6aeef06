"""Erase a person: remove all identifying data immediately, and keep later builds from storing it again.

Sales lines stay, because the money and the sales people are not the person's: under a number that identifies no one.
The next build rebuilds the removed files from drops that may still contain the person; it recognizes them by a
digest. Drops that still count although their objects are missing cannot be read again: their files are rewritten.
"""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.operations.only_copies import Person, rewrite
from jobs.operations.survey import Survey
from jobs.ports.audit import AuditEvent
from jobs.ports.records import Erasure, erased_people
from jobs.ports.store import Store, at_once
from jobs.ports.warehouse import Warehouse
from jobs.state.manifest import TABLES, Manifest
from jobs.state.parquet import read_parquet
from jobs.steps.measure_marts import MEASURED
from jobs.steps.rollup import COUNTS
from marts.dialect import LineFormat
from marts.errors import StateDamaged
from marts.pack import GUEST, TEXT_GUEST, Pack, PersonId
from marts.privacy.erasure import ERASED, TELLING, ids_in
from marts.subject import Subject

Formats = Mapping[str, set[LineFormat]]
"""How the rows of all deliveries of a drop are read, by the drop's key."""
_log = logging.getLogger("marts.erase")
_DONE = "/done.json"
"""File beside the rows of a mart. It names the best customers, whose rows may be in files of an earlier build."""
_ANY = ""
"""Stands for every drop that owns the file."""


@dataclass(frozen=True)
class Places:
    """Folders and files of the state that may name people, by their pack."""

    rows: tuple[str, ...]
    quarantine: tuple[str, ...]
    cheap: tuple[str, ...]
    """Files that are cheap to rebuild: removed without inspection."""
    without: tuple[str, ...]
    """Ends of the names of files of months without people."""

    @classmethod
    def of(cls, pack: Pack) -> "Places":
        """Return the places of a pack's people."""
        kinds = [kind for kind in pack.kinds.values() if kind.person]
        dimensions = [kind.name for kind in kinds if not kind.is_fact]
        return cls(
            rows=(
                "lines",
                *(f"dimensions/{name}" for name in dimensions),
                "facts",
                *(f"marts/{mart.name}" for mart, _ in pack.tables_of_people),
            ),
            quarantine=tuple(f"quarantine/{kind.name}" for kind in kinds),
            cheap=("repairs/", *(f"{TABLES}{name}/" for name in dimensions), "keys/", "settled/", "versions/"),
            without=tuple(f"/{name}.parquet" for name in COUNTS),
        )


@dataclass(frozen=True)
class Traces:
    """Traces of a person in the state and in the drops."""

    files: tuple[str, ...]
    """Files of the state to remove: they contain the person, or are cheap to rebuild."""
    manifests: tuple[Manifest, ...]
    """Scans that wrote some of these files and must be repeated."""
    only_copies: tuple[Manifest, ...]
    """Those of ``manifests`` that cannot be repeated: their objects are missing, and their lines still count."""
    drops: tuple[str, ...]
    """Keys of drops that still contain the person; Martwright does not change drops."""


def erasure_of(
    warehouse: Warehouse, customer: PersonId, now: str, salt: str, subject: Subject
) -> tuple[list[Erasure], Person]:
    """Return the ledger entries by which later builds recognize a customer, and the person.

    The entries are empty for a customer who was erased before: only the search is repeated.
    """
    existing = warehouse.erasures() or [Erasure(0, salt, now)]
    erased = erased_people(existing, subject)
    before = erased.number_of(str(customer))
    if before:
        return [], Person(customer, before, erased)
    new = Erasure(len(existing), erased.digest(customer), now)
    return [*existing[:1], new], Person(customer, new.number, erased_people([*existing, new], subject))


def find_traces(now: Survey, customer: PersonId) -> Traces:
    """Search all files of the state for a customer, including those left by a killed build."""
    state, formats, column, places = now.state, _formats(now), _column(now), Places.of(now.settings.pack)
    listed = at_once(state.versions, (*places.rows, *places.quarantine, *places.cheap))
    keys = [version.key for versions in listed for version in versions]
    looked_at = (key for key in keys if not key.startswith(places.cheap) and not key.endswith(places.without))
    tables = [key for key in looked_at if key.endswith(".parquet")]
    held = at_once(partial(_drops_in, now, formats, customer), tables)
    others_part = {key: drops for key, drops in zip(tables, held, strict=True) if drops}
    files = {*others_part, *(key for key in keys if key.startswith(places.cheap) or f"/{MEASURED}" in key)}
    files |= {key for key in keys if key.endswith(_DONE) and mention(customer)(state.get(key).decode())}
    files |= {f"{key.rpartition('/')[0]}{_DONE}" for key in others_part if key.startswith("marts/")}
    scans = now.catalog.everything()
    hold = {
        m.scan for m in scans if _shows(column, m, customer) or any(_is_of(m, others_part.get(p, ())) for p in m.paths)
    }
    matches = [m for m in scans if m.scan in hold or files & set(m.paths)]
    existing = {drop.delivery.id: drop.delivery.key for drop in now.plan.drops if not drop.gone}
    removed = {drop.delivery.id for drop in now.plan.drops if drop.gone and not drop.delivery.key.startswith(TABLES)}
    held_by = {m.delivery.key for m in matches if m.scan in hold and m.delivery.id in existing}
    drops = sorted(held_by.union(*others_part.values()) & set(existing.values()))
    copies = tuple(manifest for manifest in matches if manifest.delivery.id in removed)
    return Traces(tuple(sorted(files)), tuple(matches), copies, tuple(drops))


def _column(now: Survey) -> str:
    """Return the column of the ids of people in drops."""
    return next(iter(_columns(now)), "")


def _columns(now: Survey) -> tuple[str, ...]:
    """Return the columns of the ids of people in drops and tables."""
    subject = now.settings.pack.subject
    return subject.columns if subject else ()


def _formats(now: Survey) -> Formats:
    """Return how the rows of each scanned drop are read, and those of other deliveries with its key."""
    matches: dict[str, set[LineFormat]] = defaultdict(set)
    for manifest in now.catalog.everything():
        matches[manifest.delivery.key].add(manifest.form)
    return matches


def _drops_in(now: Survey, formats: Formats, customer: PersonId, path: str) -> set[str]:
    """Return the keys of the drops whose rows in a file of the state belong to the customer; empty if none do.

    Return _ANY for a file outside quarantine, which does not name its drop, and for a damaged file, which may contain
    the customer.
    """
    quarantined = path.startswith(Places.of(now.settings.pack).quarantine)
    try:
        names = ["drop", "raw"]
        if not quarantined:
            existing = now.state.using(path, pq.read_schema).names
            names = [name for name in _columns(now) if name in existing]
        if not names:
            return set()
        rows = read_parquet(now.state, path, names)
    except StateDamaged:
        return {_ANY}
    if quarantined:
        pairs = zip(rows["drop"].to_pylist(), rows["raw"].to_pylist(), strict=True)
        return {drop for drop, raw in pairs if _may_name(_column(now), customer, formats, drop, raw)}
    return {_ANY} if any(pc.any(pc.equal(column, customer)).as_py() for column in rows.columns) else set()


def _is_of(manifest: Manifest, drops: Container[str]) -> bool:
    """Return whether the drop of a manifest is among ``drops``."""
    return _ANY in drops or manifest.delivery.key in drops


def _names(person: str, customer: PersonId, form: LineFormat, raw: str) -> bool:
    """Return whether a line names the customer; without columns (a rejected drop), whether its text mentions them."""
    return customer in ids_in(raw, form, person, isinstance(customer, str)) if form.names else mention(customer)(raw)


def _may_name(person: str, customer: PersonId, formats: Formats, drop: str, raw: str) -> bool:
    """Return whether a line names the customer, as any delivery with this key is read."""
    return any(_names(person, customer, form, raw) for form in formats.get(drop, {LineFormat()}))


def _shows(person: str, manifest: Manifest, customer: PersonId) -> bool:
    """Return whether an example in a manifest names the customer."""
    return any(_names(person, customer, manifest.form, reason.raw) for reason in manifest.reasons)


def remove(now: Survey, traces: Traces, docs: Store, person: Person) -> int:
    """Rewrite only copies, then remove the files and the pages with an example of the person. Return the count."""
    customer = person.customer
    forgotten = {(manifest.delivery.id, manifest.rules) for manifest in traces.manifests}
    results = [version.key for version in docs.versions("runs") if version.key.endswith(".json")]
    pages = [key for key in results if _is_on(docs.get(key), _columns(now), customer)]
    rewritten = dict(at_once(partial(_rewritten, now, person), traces.only_copies))
    known = {(manifest.delivery.id, manifest.rules): manifest for manifest in now.catalog.everything()}
    kept = [rewritten.get(name) if name in forgotten else manifest for name, manifest in known.items()]
    now.catalog.keep(manifest for manifest in kept if manifest)
    at_once(now.state.delete, traces.files)
    at_once(docs.delete, [*pages, *(key.removesuffix("json") + "html" for key in pages)])
    docs.delete("index.html")  # it quotes errors of runs; the next build writes it
    return len(traces.files) + 2 * len(pages)


def _rewritten(now: Survey, person: Person, manifest: Manifest) -> tuple[tuple[str, str], Manifest | None]:
    """Rewrite a drop without the person; None if one of its files is damaged: the next build reports it."""
    name = (manifest.delivery.id, manifest.rules)
    try:
        is_of = partial(_names, _column(now), person.customer, manifest.form)
        return name, rewrite(now.state, now.settings.pack, manifest, person, is_of)
    except StateDamaged as error:
        _log.warning("%s; it is the only copy of %s", error, manifest.delivery.key)
        return name, None


def _is_on(page: bytes, columns: Sequence[str], customer: PersonId) -> bool:
    """Return whether a page contains an example with the customer's id."""
    mentions = mention(customer)
    for result in json.loads(page).get("results", []):
        kwargs = json.dumps(result.get("expectation_config", {}).get("kwargs", {}))
        if any(column in kwargs for column in columns):
            displayed = [value for name, value in result.get("result", {}).items() if isinstance(value, list | dict)]
            if any(mentions(json.dumps(value)) for value in displayed):
                return True
    return False


def clean_ledger(now: Survey, warehouse: Warehouse, customer: PersonId) -> int:
    """Remove examples of the person's lines from reports and notices, and their repaired lines from decisions.

    Return the number of changed records.
    """
    formats, mentions, column, columns = _formats(now), mention(customer), _column(now), _columns(now)
    personal = {item.name for mart in now.settings.pack.tables.values() for item in mart.columns if item.personal}

    def report(text: str) -> str:
        before = json.loads(text)
        announced: dict[str, Any] = json.loads(text)
        for drop in announced.get("drops", []):
            for reason in drop.get("reasons", []):
                if _may_name(column, customer, formats, drop.get("key", ""), reason.get("raw", "")):
                    reason.update(raw=ERASED, example="")
        _erase_listed([announced.get("highlights"), announced.get("figures")], columns, customer, personal)
        cleaned = _without(announced, mentions, columns)
        return text if cleaned == before else json.dumps(cleaned)

    def notice(text: str) -> str:
        raised: dict[str, Any] = json.loads(text)
        lines = [str(_without(line, mentions, columns)) for line in raised["body"].split("\n")]
        cleaned = {**raised, "subject": _without(raised["subject"], mentions, columns), "body": "\n".join(lines)}
        return text if cleaned == raised else json.dumps(cleaned, ensure_ascii=False)

    changed = 0
    for decision in warehouse.decisions():
        lines = json.loads(decision.detail or "{}") if decision.action == "repair" else {}
        key = decision.object_key
        # A repaired line is money: where the columns are unknown, a small number may be a quantity.
        known = any(form.names for form in formats.get(key, ())) or len(str(customer)) >= TELLING
        left = {n: raw for n, raw in lines.items() if not (known and _may_name(column, customer, formats, key, raw))}
        if len(left) < len(lines):
            warehouse.decide(replace(decision, detail=json.dumps(left, ensure_ascii=False)))
            changed += 1
    changed += warehouse.rewrite("marts_runs", "report", report)
    changed += warehouse.rewrite("marts_notices", "notice", notice)
    return changed + warehouse.rewrite("marts_runs", "error", lambda text: str(_without(text, mentions, columns)))


def _erase_listed(value: Any, columns: Sequence[str], customer: PersonId, personal: Container[str]) -> None:
    """Remove the person from the rows that a report lists, of this version or an earlier one."""
    if isinstance(value, list):
        for item in value:
            _erase_listed(item, columns, customer, personal)
    if isinstance(value, dict):
        nobody = TEXT_GUEST if isinstance(customer, str) else GUEST
        if any(value.get(column) == customer for column in columns):
            # A row may have the id in a second column, which names ids of several kinds.
            named = [name for name, own in value.items() if own == customer and not isinstance(own, bool)]
            value.update({**dict.fromkeys(named, nobody), **{name: ERASED for name in value if name in personal}})
        for item in value.values():
            _erase_listed(item, columns, customer, personal)


def event(number: int, at: str, who: str, why: str) -> AuditEvent:
    """Return the audit event of an erasure, without the customer's id."""
    return AuditEvent(f"erase-{number}", at, who, "erase", f"customer, erased as number {number}", why)


def mention(customer: PersonId) -> Callable[[str], bool]:
    """Return a predicate: whether a text contains the customer's id as a separate number or word."""
    if isinstance(customer, str):
        word = re.compile(rf"(?<!\w){re.escape(customer)}(?!\w)")
        return lambda text: bool(word.search(text))
    match = re.compile(rf"(?<![0-9.])0*{customer}(?![0-9]|\.[0-9])")
    return lambda text: bool(match.search(text))


def _without(value: object, mentions: Callable[[str], bool], columns: Sequence[str]) -> object:
    """Copy a report without strings that name the customer: those that contain a column's name and the id."""
    if isinstance(value, dict):
        return {name: _without(inner, mentions, columns) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, mentions, columns) for inner in value]
    if isinstance(value, str) and mentions(value):
        return next((f"{column} …: (erased)" for column in columns if column in value), value)
    return value


def drops_text(keys: Iterable[str]) -> str:
    """Return the names of up to five drops and the number of others."""
    names = list(keys)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
