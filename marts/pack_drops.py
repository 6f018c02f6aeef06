"""The drops of a pack, as pack.toml writes them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from marts.pack import DIGITS, Kind, SourceColumn
from marts.pack_columns import Columns, PackColumn, require_columns, require_names
from marts.pack_tables import text_of
from marts.reserved_words import DUCKDB, OF_DIMENSIONS, OF_FACTS, OF_VERSIONS, OP
from marts.subject import Subject

_NUMBERS = ("integer", *DIGITS)
_TYPES: Mapping[str, tuple[str, ...]] = {
    "key": ("id", "integer", "text"),
    "at": ("date", "time"),
    "shard": ("id", "integer", "text"),
    "control": ("money", "amount"),
    "currency": ("text",),
    "updated": ("date",),
    "identity.number": ("integer",),
    "identity.sign": _NUMBERS,
    "total": _NUMBERS,
    "values": ("text",),
    "worded": ("text",),
}
"""Types that the columns may have that a setting names."""


class _Identity(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    within: tuple[str, ...] = ()
    number: str = ""
    item: str = ""
    sign: tuple[str, ...] = ()
    repeats: Literal["add", "replace"] = "add"


class PackDrop(BaseModel):
    """A drop of a pack: a fact, or a dimension."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str | None = None
    at: str = ""
    shard: str = ""
    total: tuple[str, ...] = ()
    control: str = ""
    currency: str = ""
    identity: _Identity | None = None
    across: str = ""
    versions: bool = False
    carried: tuple[str, ...] = ()
    updated: str = ""
    reports: tuple[str, ...] = ()
    members: dict[int, str] = Field(default_factory=dict)
    worded: tuple[str, ...] = ()
    columns: Columns = Field(min_length=1)
    values: dict[str, tuple[str, ...] | dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    synonyms: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_columns(self) -> Self:
        if bool(self.key) == bool(self.at):
            raise ValueError("it has either key (a dimension) or at (a fact: the column of its day)")
        used = [("key", self.key), ("at", self.at), ("shard", self.shard), ("control", self.control)]
        used += [("currency", self.currency), *(("total", name) for name in self.total)]
        if item := self.identity:
            within = [name for name in item.within if name not in ("day", "month")]
            used += [("identity", name) for name in (item.id, item.number, item.item, *item.sign, *within)]
        used += [("updated", self.updated), *(("carried", name) for name in self.carried)]
        used += [*(("worded", name) for name in self.worded), *(("values", name) for name in self.values)]
        used += [("reports", name) for name in self.reports]
        require_columns(self.columns, [*used, *(("synonyms", name) for name in self.synonyms)])
        return self

    @model_validator(mode="after")
    def _is_stored(self) -> Self:
        columns = [self._source(column) for column in self.columns]
        clean = [column.clean_name for column in columns]
        clean += [column.name for column in columns if column.type == "time"]
        if repeated := next((name for name in clean if clean.count(name) > 1), ""):
            raise ValueError(f"{repeated}: two columns are stored under this name")
        own = OF_FACTS if self.at else OF_VERSIONS if self.versions else OF_DIMENSIONS
        require_names(clean, DUCKDB | own, 'store it under another one, with the flag "stored as …"')
        if self.key and any(column.name == OP for column in columns):
            raise ValueError(f"columns: {OP!r} is reserved: in a drop of a dimension it says what happens to a row")
        identity = self._identity
        used = {self.key, self.shard, self.currency, self.updated, *self.worded, identity.id, identity.number}
        if wrong := next((column.name for column in columns if column.stored_as and column.name in used), ""):
            raise ValueError(f"{wrong}: the engine reads it, so it is stored under its own name")
        return self

    @model_validator(mode="after")
    def _versions_are_of_a_dimension(self) -> Self:
        for setting in ("carried", "updated", "reports", "members", "worded"):
            if getattr(self, setting) and not (self.versions and self.key):
                raise ValueError(f"{setting} is for a dimension with versions = true")
        if self.versions and not self.key:
            raise ValueError("versions = true is for a dimension: of a fact, every drop counts")
        return self

    @model_validator(mode="after")
    def _types_fit(self) -> Self:
        columns = {column.name: self._source(column) for column in self.columns}
        identity = self._identity
        named = [("key", self.key), ("at", self.at), ("shard", self.shard), ("control", self.control)]
        named += [("currency", self.currency), ("updated", self.updated), ("identity.number", identity.number)]
        named += [*(("values", name) for name in self.values), *(("worded", name) for name in self.worded)]
        named += [*(("total", name) for name in self.total), *(("identity.sign", name) for name in identity.sign)]
        for setting, name in named:
            if name and columns[name].type not in _TYPES[setting]:
                raise ValueError(f"{setting}: {name} must be of type {' or '.join(_TYPES[setting])}")
        if self.key and (wrong := next((name for name, column in columns.items() if column.type == "time"), "")):
            raise ValueError(f"{wrong}: time is a type of facts; a dimension has dates")
        if wrong := next((name for name in identity.within if name in columns and columns[name].type == "time"), ""):
            raise ValueError(f"identity.within: {wrong} is a time: name day or month")
        for setting, name in named[:4]:
            if name and (columns[name].nullable or not columns[name].mandatory) and not columns[name].guests:
                raise ValueError(f"{setting}: {name} is in every row, so its column has neither ? nor optional")
        return self

    @property
    def _identity(self) -> _Identity:
        """Return the identity; one without names if there is none."""
        return self.identity or _Identity(id="")

    def _source(self, column: PackColumn) -> SourceColumn:
        given = self.values.get(column.name)
        return replace(column.source(), values=_words(column.name, given)) if given else column.source()

    def kind(self, name: str, subject: Subject | None, lookups: Mapping[str, str], sql: Mapping[str, str]) -> Kind:
        columns = tuple(map(self._source, self.columns))
        names = {column.name: column.clean_name for column in columns}
        own = self._identity
        return Kind(
            name=name,
            columns=columns,
            key=self.key,
            at=names.get(self.at, ""),
            shard=self.shard,
            control=names.get(self.control, ""),
            currency=self.currency,
            id=own.id,
            number=own.number,
            item=own.item,
            sign=own.sign,
            transaction_key=own.within,
            once_per_id=own.repeats == "replace",
            across=text_of(self.across, sql) if self.across else "",
            synonyms=self.synonyms,
            total=self.total,
            versions=self.versions,
            carried=tuple(dict.fromkeys((*self.carried, *filter(None, (self.updated,))))),
            updated=self.updated,
            reports=tuple(names[name] for name in self.reports),
            members=tuple(sorted(self.members.items(), reverse=True)),
            worded=self.worded,
            person=subject.key if subject and subject.key in names else "",
            is_subject=bool(subject and subject.kind == name),
            lookups={on: kind for on, kind in lookups.items() if on in names} if self.at else {},
        )


def _words(column: str, given: tuple[str, ...] | dict[str, tuple[str, ...]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the words of a column, each with others that mean it. Raise ValueError for one that means two."""
    words = tuple(given.items()) if isinstance(given, dict) else tuple((word, ()) for word in given)
    every = [word.upper() for value, others in words for word in (value, *others)]
    if repeats := sorted({word for word in every if every.count(word) > 1}):
        raise ValueError(f"values: {column} has the word {repeats[0]!r} twice")
    return words
