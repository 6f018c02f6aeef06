"""Propose how the columns of a file are read: names, dates, numbers, words for nothing, each with the reason."""

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

import pyarrow as pa

from marts.expressions import parsed
from marts.names import plain_name
from marts.pack import DIGITS, Kind, SourceColumn
from marts.policy import DEFAULT_RULE
from marts.rows.date_formats import iso_of
from marts.rows.dates import exact_dates
from marts.rows.diagnosis import DATE_FORMATS, MONEY, NULL_WORDS, PREFIXED
from marts.rows.sniff import Look, Proposal
from marts.rows.source_block import DEFAULT

_SIMILAR = 0.8
"""Similarity of names from which a column is proposed."""
_CLOSE = 0.12
"""Difference of similarity within which two columns are a choice."""
_NEARLY_ALL = 0.95
"""Share of values that must fit a format, a mark or a prefix: the others may be bad rows."""
_GROUP = 3
_UTC = ZoneInfo("UTC")
_PART = re.compile(r"(?:^|/)([A-Za-z_][A-Za-z0-9_]*)=([^/]*)(?=/)")
"""A part of a key such as ``store=7/``."""


def map_columns(names: Sequence[str], kind: Kind) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return which column of the kind each name of the file is, and for others their equally similar names."""
    scores = sorted(
        ((_similarity(name, column, kind), name, column.name) for name in names if name for column in kind.columns),
        key=lambda item: (-item[0], names.index(item[1])),
    )
    columns: dict[str, str] = {}
    choices: dict[str, list[str]] = {}
    for score, name, column in scores:
        if score < _SIMILAR or name in columns or column in (*columns.values(), *choices):
            continue
        rivals = [n for s, n, c in scores if c == column and n not in columns and s >= score - _CLOSE and s < 1]
        if len(rivals) > 1:
            choices[column] = rivals
        else:
            columns[name] = column
    return columns, choices


def _similarity(name: str, column: SourceColumn, kind: Kind) -> float:
    """Return how similar a name is to that of a column, in this or another system: 1 if it is the same."""
    plain = plain_name(re.sub(r"[^\w\s]", " ", name))
    if plain == plain_name(column.name):
        return 1.0
    known = _synonyms(kind, column.name)
    if plain in known:
        return 0.99 - known.index(plain) / 1000
    return difflib.SequenceMatcher(None, plain, plain_name(column.name)).ratio() * 0.95


def _synonyms(kind: Kind, column: str) -> list[str]:
    """Return the plain names that other systems have for a column, most likely first."""
    return [plain_name(name) for name in kind.synonyms.get(column, "").split(", ") if name]


def coverage(names: Sequence[str], kind: Kind) -> tuple[float, int]:
    """Return the share of the mandatory columns of a kind that a file has, and the number of all its columns."""
    columns, choices = map_columns(names, kind)
    present = {*columns.values(), *choices}
    needed = [column.name for column in kind.columns if column.mandatory]
    return len(present & set(needed)) / len(needed), len(present)


def propose(look: Look, kind: Kind, key: str) -> list[Proposal]:
    """Return the settings of a block with which the columns of a file are read."""
    columns, choices = map_columns(look.names, kind)
    results = list(_names(look.names, columns, choices))
    results += _missing(columns, {*columns.values(), *choices}, look, kind, key)
    values = {
        kind.column(column): [row[place].strip() for row in look.rows if row[place].strip()]
        for place, name in enumerate(look.names)
        if (column := columns.get(name))
    }
    words = _nulls(values)
    if words:
        results.append(words)
        values = {column: [v for v in own if v not in words.value] for column, own in values.items()}
    results += _dates([value for column, own in values.items() if column.type in ("date", "time") for value in own])
    results += _numbers([value for column, own in values.items() if column.type in DIGITS for value in own])
    results += _prefixes({column.name: own for column, own in values.items() if column.type == "id"})
    return results


def _is_same(name: str, column: str) -> bool:
    return plain_name(name) == plain_name(column)


def _names(
    names: Sequence[str], columns: Mapping[str, str], choices: Mapping[str, Sequence[str]]
) -> Iterator[Proposal]:
    renamed = {name: columns[name] for name in names if name in columns and not _is_same(name, columns[name])}
    if renamed:
        yield Proposal("columns", renamed, "by their names: check each")
    for column, rivals in choices.items():
        for name in rivals:
            yield Proposal("columns", {name: column}, f"{column} may be any of {', '.join(map(repr, rivals))}", True)


def _missing(mapped: Collection[str], present: set[str], look: Look, kind: Kind, key: str) -> Iterator[Proposal]:
    """Yield how mandatory columns that the file does not have may be given: by the key, the rule, a constant."""
    if not look.names:
        listed = ", ".join(look.rows[0]) if look.rows else ""
        yield Proposal(
            "header", [column.name for column in kind.columns], f"no header; the first row is {listed}", True
        )
        return
    known = {plain_name(column.name): column.name for column in kind.columns}
    known |= {other: column.name for column in kind.columns for other in _synonyms(kind, column.name)}
    parts = {known.get(plain_name(name)): (name, value) for name, value in _PART.findall(key)}
    given = {column: part for column, part in parts.items() if column and column not in present}
    if given:
        groups = "/(?:.*/)?".join(f"{name}=(?P<{column}>[^/]+)" for column, (name, _) in given.items())
        yield Proposal("from_path", f"{groups}/", f"the key has {', '.join(f'{n}={v}' for n, v in given.values())}")
    for column in kind.columns:
        if not column.mandatory or column.name in present or column.name in given:
            continue
        if column.type == "amount" and set(parsed(DEFAULT_RULE).columns) <= present:
            reason = f"the file has no {column.name}; this is what it must equal (total_cost_rule)"
            others = [name for name in look.names if name and name not in mapped]
            unsure = f"; or is it one of {', '.join(map(repr, others))}?" if others else ""
            yield Proposal("compute", {column.name: DEFAULT_RULE}, reason + unsure, bool(others))
        else:
            yield Proposal("constants", {column.name: "?"}, f"the file has no {column.name}: write its value", True)


def _nulls(values: Mapping[SourceColumn, Sequence[str]]) -> Proposal | None:
    """Propose the words that mean an empty field: in columns of numbers and dates, and those that no text is."""
    counted: Counter[str] = Counter()
    for column, own in values.items():
        words = NULL_WORDS if column.type != "text" else ("NULL",)
        counted.update(value for value in own if value.upper() in words or value == "\\N")
    if not counted:
        return None
    listed = ", ".join(f"{word!r} {count} times" for word, count in sorted(counted.items()))
    return Proposal("null", sorted(counted), f"in the first rows: {listed}")


def _dates(values: Sequence[str]) -> Iterator[Proposal]:
    """Propose the formats of dates that are not in ISO form, with the share of values that each fits."""
    if not values or not exact_dates(pa.array(values), _UTC, DEFAULT)[1].any():
        return
    shares = {text: sum(iso_of(value, (text,)) is not None for value in values) / len(values) for text in DATE_FORMATS}
    best = max(shares.values())
    fits = [text for text, share in shares.items() if share == best]
    if best >= _NEARLY_ALL and len(fits) == 1:
        yield Proposal("dates", fits, f"fits {best:.0%} of the dates, such as {values[0]!r}; no other format does")
        return
    for text in fits if best else []:
        also = ", as others do: which is right?" if len(fits) > 1 else ""
        yield Proposal("dates", [text], f"fits {best:.0%} of the dates, such as {values[0]!r}{also}", True)
    if not best:
        yield Proposal("dates", ["?"], f"no known format fits {values[0]!r}: write it", True)


def _numbers(values: Sequence[str]) -> Iterator[Proposal]:
    """Propose the marks in numbers. One comma before three digits is a decimal mark or one of thousands."""
    signed = [value for value in values if MONEY.search(value)]
    if signed:
        yield Proposal("accounting", True, f"{len(signed)} of the first {len(values)} numbers, such as {signed[0]!r}")
    bare = [MONEY.sub("", value).strip() for value in values]
    marks = {value: [mark for mark in value if mark in ".,' \u00a0\u202f"] for value in bare}
    last = {value: own[-1] for value, own in marks.items() if own}
    # A mark that stands once, and not before three digits, is a decimal mark; one that repeats is one of thousands.
    decimal = {
        mark: next(value for value in last if last[value] == mark and _is_decimal(value, mark))
        for mark in ".,"
        if any(last[value] == mark and _is_decimal(value, mark) for value in last)
    }
    groups = {own[0]: value for value, own in marks.items() if len(own) > 1}
    unclear = [
        value for value in last if last[value] == "," and not _is_decimal(value, ",") and value not in groups.values()
    ]
    if not decimal and "." in groups:  # two points are no decimal marks
        decimal[","] = groups["."]
    pointed = [v for v in last if last[v] == "." and not _is_decimal(v, ".") and v not in groups.values()]
    if not decimal and pointed and "," not in groups:
        reason = f"if {pointed[0]!r} is a large number; as it stands, it is read as a small one"
        yield Proposal("decimal", ",", reason, True)
        yield Proposal("thousands", ".", reason, True)
    if set(decimal) == {","}:
        yield Proposal("decimal", ",", f"such as {decimal[',']!r}")
    if len(decimal) < 2:
        for mark, value in groups.items():
            if mark not in decimal:
                yield Proposal("thousands", mark if mark in ".,'" else " ", f"such as {value!r}")
    if not decimal and unclear and "," not in groups:
        yield Proposal("decimal", ",", f"if {unclear[0]!r} is a small number", True)
        yield Proposal("thousands", ",", f"if {unclear[0]!r} is a large number", True)
    elif set(decimal) == {"."} and unclear and "," not in groups:
        yield Proposal("thousands", ",", f"such as {unclear[0]!r}, beside {decimal['.']!r}")


def _is_decimal(value: str, mark: str) -> bool:
    """Return whether a mark in a number can only be its decimal mark."""
    before, _, after = value.rpartition(mark)
    others = set(before) & set(".,'")
    return value.count(mark) == 1 and (len(after) != _GROUP or bool(others) or before.lstrip("+-") in ("", "0"))


def _prefixes(values: Mapping[str, Sequence[str]]) -> Iterator[Proposal]:
    prefixes, texts = {}, []
    for name, own in values.items():
        lettered = [value for value in own if not re.fullmatch(r"-?[0-9]+([.]0*)?", value)]
        if not own or len(lettered) < _NEARLY_ALL * len(own):
            continue
        counted = Counter(match[1] for value in own if (match := PREFIXED.fullmatch(value)))
        prefix, count = counted.most_common(1)[0] if counted else ("", 0)
        if count >= _NEARLY_ALL * len(own):
            prefixes[name] = prefix
        else:
            texts.append((name, lettered[0]))
    if prefixes:
        yield Proposal("id_prefix", prefixes, "all ids have it")
    for name, value in texts:
        yield Proposal("id_prefix", {name: "?"}, f"{value!r} is no number; ids as texts are not supported yet", True)
