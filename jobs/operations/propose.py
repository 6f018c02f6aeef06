"""Propose the [[source]] blocks of a source: look at some files of each folder, and read them with the proposal."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc

from jobs.adapters.store.open import open_store
from jobs.config.settings import Settings
from jobs.operations.scaffold import toml
from jobs.ports.store import ObjectVersion, Store
from jobs.state.manifest import Delivery
from jobs.steps.blocks import LeafHasher, open_object
from jobs.steps.listing import is_no_data
from jobs.steps.scan_settings import ScanSettings
from jobs.steps.scan_task import ReadRows, first_rows_of, table_parts
from jobs.steps.split import Split
from marts.errors import DropRejected, UsageError
from marts.expressions import parsed
from marts.pack import DIGITS, Kind, Pack
from marts.policy import DEFAULT_RULE, Policy
from marts.quality.changes import check_block
from marts.rows.computed import compute
from marts.rows.diagnosis import looks_like
from marts.rows.propose import coverage, propose
from marts.rows.sniff import Look, Proposal, look_at_text
from marts.rows.source_block import DEFAULT, SourceBlock, pattern_of

Scans = Callable[..., ScanSettings]
"""Returns how files are scanned with a block, and with a rule of totals."""

_START, _END = 256 << 10, 4 << 10
"""Bytes at the start and at the end of a file that are looked at."""
_FILES, _ROWS = 24, 500
"""Files of a group that are looked at, from the oldest to the newest, and rows of a table."""
_COVERED = 0.6
"""Share of the mandatory columns from which a file outside the folder of a kind is taken for that kind."""
_HOLDS = 0.95
"""Share of the rows for which the rule of totals must hold."""


@dataclass(frozen=True)
class ProposedBlock:
    """A proposed block: the files that it is for, its settings, and how they are read with it."""

    match: str
    kind: str
    """Empty if no kind fits."""
    files: int
    example: str
    proposals: tuple[Proposal, ...] = ()
    outcome: str = ""
    rule: str = ""
    """What the total of a row equals, if it is not what the policy says."""
    explicit: bool = False
    """Whether it is written although it needs no settings."""

    @property
    def needed(self) -> bool:
        """Return whether the files cannot be read without the block."""
        return bool(self.proposals) or self.explicit

    def text(self) -> str:
        """Return the block as TOML; each setting has its reason as a comment, and choices are comments themselves."""
        files = f"{self.files:,} files such as " if self.files > 1 else ""
        lines = [f"# {files}{self.example}: {self.outcome}"]
        if not self.needed:
            return "\n".join(lines) + "\n"
        lines += ["[[source]]", f"match = {toml(self.match)}"]
        for item in self.proposals:
            lines += [f"# {item.reason}", f"{'# ' if item.choice else ''}{item.name} = {toml(item.value)}"]
        return "\n".join(lines) + "\n"

    def block(self) -> SourceBlock:
        """Return the block without its choices."""
        return _block(self.match, self.proposals)


def as_text(blocks: Sequence[ProposedBlock]) -> str:
    """Return blocks as TOML; files that no kind fits, and those that need no block, are comments."""
    head = "# Proposed by `marts init --from`: read each block, and decide where a line is left as a comment.\n"
    return "\n".join([head, *(block.text() for block in blocks)])


def rule_of(blocks: Sequence[ProposedBlock]) -> str:
    """Return what totals equal in all blocks that say it; empty if none does, or if they differ."""
    rules = {block.rule for block in blocks if block.rule}
    return rules.pop() if len(rules) == 1 else ""


def propose_blocks(settings: Settings, policy: Policy, uri: str) -> list[ProposedBlock]:
    """Look at the objects of a source. Raise UsageError if it has none."""
    store = open_store(uri, settings.s3)
    groups: dict[tuple[str, str], list[ObjectVersion]] = defaultdict(list)
    for version in store.versions(""):
        if version.size and not is_no_data(version):
            groups[_pattern_of(version.key)].append(version)
    if not groups:
        raise UsageError("has no files", uri, "check the address: --from FOLDER or --from s3://bucket/prefix")
    base = settings.model_copy(update={"source": uri, "state": settings.state or "."})  # nothing is written

    def scan(block: SourceBlock, rule: str = DEFAULT_RULE) -> ScanSettings:
        of_rule = ScanSettings.of(base, policy.model_copy(update={"total_cost_rule": rule}))
        return replace(of_rule, blocks=(block,), split_bytes=_START)

    proposed = [_look_at_group(store, scan, versions, f"{folder}{name}") for (folder, name), versions in groups.items()]
    return _merged(proposed)


def _pattern_of(key: str) -> tuple[str, str]:
    """Return the folder and the name of a key with ``*`` for what differs from file to file: digits, parts."""
    folder, _, name = key.rpartition("/")
    folder = re.sub(r"=[^/]*", "=*", folder)
    parts = [part if "=" in part else re.sub("[0-9]+", "*", part) for part in folder.split("/")]
    name = re.sub("[0-9][0-9T_.-]*(?=[0-9])[0-9]|[0-9]", "*", name)
    name = re.sub(r"[\[\]]", "?", name)  # they would be a set of characters
    return ("/".join(parts) + "/" if folder else ""), name


def _look_at_group(store: Store, scan: Scans, versions: Sequence[ObjectVersion], match: str) -> ProposedBlock:
    """Look at some files of a group, propose a block, and read the newest file with it."""
    versions = sorted(versions, key=lambda version: (version.modified, version.key))
    step = max(len(versions) // _FILES, 1)
    newest = versions[-1]
    chosen = [*versions[:-1:step][: _FILES - 1], newest]
    try:
        looks = [_look(store, scan(DEFAULT), version) for version in chosen]
    except DropRejected as error:
        return ProposedBlock(match, "", len(versions), newest.key, outcome=error.what)
    last = looks[-1]
    rows = tuple(row for look in looks if look.names == last.names for row in look.rows)
    look = replace(last, rows=rows)
    kind, reason = _kind_of(newest.key, look, scan(SourceBlock()).pack)
    if kind is None:
        return ProposedBlock(match, "", len(versions), newest.key, outcome="no kind of drop has these columns")
    proposals = [Proposal("kind", kind.name, reason)] if reason else []
    proposals += [*look.proposals, *propose(look, kind, newest.key)]
    proposed = ProposedBlock(match, kind.name, len(versions), newest.key, tuple(proposals))
    return _tried(proposed, store, scan, newest, kind)


def _look(store: Store, scan: ScanSettings, version: ObjectVersion) -> Look:
    """Look at one file of any format. Raise DropRejected for one that is not read."""
    start = store.read(version, 0, min(_START, version.size))
    if start.startswith(b"PAR1"):
        return _look_at_table(store, scan, version, "parquet", "its first bytes are those of Parquet")
    try:
        opened = open_object(store, version, LeafHasher(), scan.max_inflated_bytes)
    except DropRejected as error:
        if "Excel" not in error.what:
            raise
        return _look_at_table(store, scan, version, "xlsx", "its first bytes are those of an Excel workbook")
    text = opened.inflated.read(_START)
    other = looks_like(text)
    if other and other.what == "JSON":
        return _look_at_table(store, scan, version, "jsonl", "each line is an object of JSON")
    if other and "UTF-16" not in other.what:
        raise DropRejected(f"it is {other.what}", version.key, other.hint)
    whole = len(text) < _START
    end = text if whole else b"" if opened.is_packed else store.read(version, version.size - _END, version.size)
    look = look_at_text(text, end, whole)
    if not look.names and not look.rows:
        raise DropRejected("it has no fields between delimiters", version.key)
    return look


def _look_at_table(store: Store, scan: ScanSettings, version: ObjectVersion, form: str, reason: str) -> Look:
    block = SourceBlock.model_validate({"format": form})
    split = Split(Delivery.of("", version), 0)
    parts = table_parts(split, store, replace(scan, blocks=(block,)), LeafHasher())
    first = next(parts)
    part = first if first.line_count else next((part for part in parts if part.line_count), first)
    rows = [[value or "" for value in column.to_pylist()] for column in part.table.slice(0, _ROWS).columns]
    names = tuple(part.table.column_names)
    return Look(names, tuple(zip(*rows, strict=True)), (Proposal("format", form, reason),))


def _kind_of(key: str, look: Look, pack: Pack) -> tuple[Kind | None, str]:
    """Return the kind of a file, and the reason unless its folder says so."""
    folder = key.partition("/")[0].lower() if "/" in key else ""
    if folder in pack.kinds:
        return pack.kinds[folder], ""
    covered = {name: coverage(look.names, kind) for name, kind in pack.kinds.items()}
    counts = {name: count for name, (share, count) in covered.items() if share >= _COVERED}
    best = max(counts, key=lambda name: counts[name], default="")
    if not best or list(counts.values()).count(counts[best]) > 1:
        return None, ""
    return pack.kinds[best], f"it has {counts[best]} columns of {best}"


def _tried(proposed: ProposedBlock, store: Store, scan: Scans, version: ObjectVersion, kind: Kind) -> ProposedBlock:
    """Read a file with the proposed block, without its choices; return it with what came out."""
    settings, rule = scan(proposed.block()), ""
    try:
        part = first_rows_of(settings, Delivery.of(kind.name, version), store)
        if rule := _rule_of(part, kind):
            settings = scan(proposed.block(), rule)
        suite, form = settings.suites[kind.name], part.form
        checked = check_block(kind, form.header, part.rows.table, settings.policy, suite, form.block)
    except DropRejected as error:
        return replace(proposed, outcome=f"not readable yet: {error.what}")
    read = part.rows.table.num_rows + len(part.rows.bad)
    outcome = f"of {read:,} rows read from it, {checked.clean.num_rows:,} fit"
    reasons = [*(row.reasons for row in part.rows.bad), *checked.reasons.values()]
    if reasons:
        outcome += f"; {': '.join(filter(None, reasons[0][0]))}"
    return replace(proposed, outcome=outcome, rule=rule)


def _rule_of(part: ReadRows, kind: Kind) -> str:
    """Return what the amount of a row equals, if it is not what it should and one further column or two explain it."""
    header, table = part.form.header, part.rows.table
    amount = next((column.name for column in kind.columns if column.type == "amount"), "")
    if amount not in header.known or amount in header.computed or not table.num_rows:
        return ""

    def computed(texts: Iterable[str]) -> dict[str, Any]:
        expressions = {text: parsed(text) for text in texts}
        return compute(expressions, table, header.digits, part.form.block, lambda _: DIGITS["amount"])

    quoted = {name: '"' + name.replace('"', '""') + '"' for name in header.extra}
    numbers = computed(f"{name} + 0" for name in quoted.values()) if quoted else {}
    extra = [name for name in quoted.values() if numbers[f"{name} + 0"].null_count < table.num_rows]
    values = computed([amount, *_candidates(extra)])
    wanted = values.pop(amount)
    shares = {text: (pc.sum(pc.equal(own, wanted)).as_py() or 0) / table.num_rows for text, own in values.items()}
    best = max(shares, key=lambda text: shares[text])  # of equal ones, the simplest
    return best if best != DEFAULT_RULE and shares[best] >= _HOLDS > shares[DEFAULT_RULE] else ""


def _candidates(extra: Sequence[str]) -> Iterator[str]:
    """Yield expressions of what the amount may equal, the simplest first."""
    yield DEFAULT_RULE
    terms = [(name, f"coalesce({name}, 0)") for name in extra]
    for _, value in terms:
        yield from (f"{DEFAULT_RULE} {sign} {value}" for sign in "-+")
        yield from (f"{DEFAULT_RULE} * (1 {sign} {value} / 100)" for sign in "-+")
    for name, value in terms:
        for other, more in terms:
            if name != other:
                yield f"{DEFAULT_RULE} - {value} + {more}"


def _merged(proposed: Sequence[ProposedBlock]) -> list[ProposedBlock]:
    """Merge the blocks of groups that are read in the same way: of a top folder, of a folder."""
    results = []
    for top, own in _by(proposed, lambda item: item.match.partition("/")[0] if "/" in item.match else ""):
        if top and _are_alike(own):
            results.append(_joined(own, f"{top}/**"))
            continue
        for folder, inner in _by(own, lambda item: item.match.rpartition("/")[0]):
            alike = folder and _are_alike(inner)
            results += [_joined(inner, f"{folder}/**")] if alike else inner
    return _ordered(results)


def _ordered(blocks: Sequence[ProposedBlock]) -> list[ProposedBlock]:
    """Order blocks by how much of a key their patterns spell out: the first that matches an object holds.

    Files that need no settings get a block of their own if the pattern of another matches them.
    """
    patterns = [pattern_of(item.match) for item in blocks if item.needed]
    caught = (item.kind and not item.needed and any(p.fullmatch(item.example) for p in patterns) for item in blocks)
    explicit = [replace(item, explicit=True) if own else item for item, own in zip(blocks, caught, strict=True)]
    return sorted(explicit, key=lambda item: (-len(item.match.replace("*", "")), item.match))


def _by(
    proposed: Iterable[ProposedBlock], name: Callable[[ProposedBlock], str]
) -> Iterable[tuple[str, list[ProposedBlock]]]:
    groups: dict[str, list[ProposedBlock]] = defaultdict(list)
    for item in proposed:
        groups[name(item)].append(item)
    return groups.items()


def _are_alike(proposed: Sequence[ProposedBlock]) -> bool:
    """Return whether files are read in the same way; reasons may differ."""
    ways = {(item.kind, item.rule, str([(p.name, p.value, p.choice) for p in item.proposals])) for item in proposed}
    return len(ways) == 1 and all(item.kind for item in proposed)


def _joined(proposed: Sequence[ProposedBlock], match: str) -> ProposedBlock:
    return replace(proposed[-1], match=match, files=sum(item.files for item in proposed))


def _block(match: str, proposals: Iterable[Proposal]) -> SourceBlock:
    return SourceBlock.model_validate({"match": match, **{p.name: p.value for p in proposals if not p.choice}})
