"""Business numbers: thresholds, rates, periods. The company sets them in policy.toml."""

import difflib
import hashlib
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from marts.errors import UsageError
from marts.expressions import parsed
from marts.pack import DIGITS, Kind, Pack
from marts.pack_numbers import Number, NumberColumn, NumberTable

DEFAULT_RULE = "price * quantity"
"""What the total of a line is by default."""
Ratio = Annotated[float, Field(ge=0, le=1)]
NO_IDS = ("0", "-", "--", "n/a", "na", "null", "none", "nil", "nan", "unknown")
Money = Annotated[Decimal, Field(max_digits=18, decimal_places=2)]


def known_zone(name: str) -> str:
    """Return the name of a time zone. Raise ValueError for another name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone; use a name such as Europe/Berlin") from error
    return name


class EnginePolicy(BaseModel):
    """Every number that a business may change, whatever its pack. The defaults are those of the documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    business_timezone: str = Field("UTC", description="a timestamp with an offset is first converted to this zone")
    allow_returns: bool = Field(True, description="accept lines with a negative quantity or price")
    total_cost_rule: str = Field(
        DEFAULT_RULE,
        description='what the total of a line must equal: an expression over columns of the drop, or "off"',
    )
    total_cost_tolerance: Money = Field(Decimal("0.00"), ge=0, description="allowed difference")
    max_bad_ratio: Ratio = Field(0.02, description="a drop with a larger share of bad rows is held")
    max_bad_rows: int = Field(5, ge=0, description="a drop with at most this many bad rows is not held for them")
    max_unknown_ratio: Ratio = Field(0.05, description="a larger share of lines without a dimension row stops the run")
    unknown_people: Literal["stop", "warn"] = Field(
        "stop", description="what a run does above max_unknown_ratio: stop, or publish with a warning"
    )
    mixed_currencies: Literal["stop", "add"] = Field(
        "stop", description="what a run does if live lines have several currencies: stop, or add them up as they are"
    )
    unknown_ids: tuple[int | str, ...] = Field((0, -1), description="ids that mean a guest, like an empty one")
    transaction_key: tuple[str, ...] | None = Field(
        None,
        description='columns within which an id is unique, besides the shard, such as ["day"]; by default the pack\'s',
    )
    no_ids: tuple[str, ...] = Field(
        NO_IDS, description="words that are not an id of a transaction, in upper or lower case"
    )
    redelivered: Literal["line", "transaction", "add"] = Field(
        "line", description="what happens to a transaction that is delivered again: docs/data.md"
    )
    equal_lines: Literal["keep", "drop"] = Field("keep", description="equal lines of a transaction in one drop")
    transaction_ids: Literal["any", "unique"] = Field(
        "any", description='"unique": each run warns about ids that are live under several owners or in several months'
    )
    max_fall: Ratio = Field(0.05, description="if the total falls by a larger share, nothing is published")
    max_fall_from: int = Field(1000, ge=0, description="marts with fewer lines are not guarded against a fall")

    @field_validator("business_timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        return known_zone(name)

    @field_validator("total_cost_rule")
    @classmethod
    def _valid_expression(cls, text: str) -> str:
        if text not in (DEFAULT_RULE, "off"):
            parsed(text)
        return text

    @field_validator("transaction_key")
    @classmethod
    def _names_columns(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("it names a column twice")
        return names

    @field_validator("unknown_ids")
    @classmethod
    def _of_64_bits(cls, ids: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if any(isinstance(item, int) and not -(2**63) <= item < 2**63 for item in ids):
            raise ValueError("an id has at most 64 bits")
        return ids

    @field_validator("no_ids")
    @classmethod
    def _lower(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.strip().lower() for word in words)


Value = bool | int | Decimal | date | str


class Policy(EnginePolicy):
    """The business numbers of a company: those of the engine, and what it sets of those of its pack."""

    own: tuple[tuple[str, Value | tuple[tuple[Value | None, ...], ...]], ...] = ()
    """Numbers and tables of the pack that differ from its defaults, by name."""

    def digest(self) -> str:
        """Return a hash of the policy: equal policies have equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def policy_model(numbers: tuple[Number, ...], tables: tuple[NumberTable, ...]) -> type[EnginePolicy]:
    """Return the model of a policy file: the numbers of the engine and those of a pack."""
    groups: dict[str, dict[str, Any]] = {"": {}}
    for number in numbers:
        groups.setdefault(number.group, {})[number.key] = _field(number)
    for table in tables:
        groups.setdefault(table.group, {})[table.key] = _table(table)
    fields = groups.pop("")
    for name, own in groups.items():
        config = ConfigDict(frozen=True, extra="forbid")
        group = create_model(f"{name}_numbers", __config__=config, **own)
        fields[name] = (group, Field(default_factory=group, description=f"numbers of {name}"))
    return create_model("PolicyFile", __base__=EnginePolicy, __doc__=EnginePolicy.__doc__, **fields)


def _table(table: NumberTable) -> tuple[Any, Any]:
    entry = _entry(table)
    rule = AfterValidator(_covers_all(table))
    default = tuple(entry.model_validate(_by_name(table, row)) for row in table.default)
    rows = Annotated[tuple[entry, ...], rule]  # type: ignore[valid-type]
    return rows, Field(default, description=table.help, validate_default=True)


def _field(number: Number) -> tuple[Any, Any]:
    limits = {"ge": _plain(number.least), "le": _plain(number.most), "decimal_places": number.digits or None}
    given: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    type_: Any = Literal[number.choices] if number.choices else type(number.default)
    if number.same_as:
        return type_ | None, Field(None, description=f"{number.help}; by default {number.same_as}", **given)
    return type_, Field(number.default, description=number.help, validate_default=True, **given)


def _plain(limit: Decimal | None) -> Decimal | int | None:
    """Return a limit as a whole number where it is one: a schema has no decimals."""
    return int(limit) if limit is not None and limit == limit.to_integral_value() else limit


_NUMBER_TYPES: dict[str, Any] = {"count": int, "money": Money, "flag": bool, "date": date}


def _entry(table: NumberTable) -> type[BaseModel]:
    """Return the model of a row of a table of numbers."""
    fields = {column.name: _column(column) for column in table.columns}
    config = ConfigDict(frozen=True, extra="forbid")
    return create_model(f"{table.name}_entry", __config__=config, __doc__=table.help, **fields)


def _column(column: NumberColumn) -> Any:
    type_ = _NUMBER_TYPES.get(column.type, str)
    limits: dict[str, Any] = {"count": {"ge": 0}, "text": {"min_length": 1, "max_length": column.max_length}}
    about = Field(None if column.nullable else ..., description=column.help, **limits.get(column.type, {}))
    return (type_ | None if column.nullable else type_), about


def _covers_all(table: NumberTable) -> Any:
    conditions = [column.name for column in table.columns if column.nullable]

    def check(rows: tuple[BaseModel, ...]) -> tuple[BaseModel, ...]:
        last = rows[-1] if rows else None
        if table.last_has_no_condition and (last is None or any(getattr(last, n) is not None for n in conditions)):
            raise ValueError("the last one must have no condition, so that it holds for all others")
        return rows

    return check


def _by_name(table: NumberTable, row: Iterable[Any]) -> dict[str, Any]:
    return {column.name: value for column, value in zip(table.columns, row, strict=True)}


def read_policy(values: dict[str, Any], where: str, pack: Pack) -> Policy:
    """Validate the values of a policy file. Raise UsageError that names the wrong key and the nearest valid one."""
    model = policy_model(pack.numbers, pack.number_tables)
    try:
        file = model.model_validate(values)
    except ValidationError as error:
        raise UsageError(*explain(error, model), where) from error
    for fact in pack.facts:
        _require_key(fact, file.transaction_key or (), where)
    texts = [item for item in file.unknown_ids if isinstance(item, str)]
    if texts and not pack.has_text_ids:
        raise UsageError(f"unknown_ids: {texts[0]!r} is not a whole number", where, 'set ids = "text" in marts.toml')
    given = {name: getattr(file, name) for name in EnginePolicy.model_fields}
    numbers = ((item.name, _given(file, item), None if item.same_as else item.default) for item in pack.numbers)
    rows = ((item.name, _rows(item, _given(file, item)), item.default) for item in pack.number_tables)
    own = tuple((name, value) for name, value, default in (*numbers, *rows) if value != default)
    return Policy(**given, own=own)


def _given(file: BaseModel, number: Number | NumberTable) -> Any:
    """Return what a policy file gives for a number, or a table of numbers."""
    return getattr(getattr(file, number.group) if number.group else file, number.key)


def _require_key(fact: Kind, names: Iterable[str], where: str) -> None:
    """Raise UsageError for a column of a fact that a key of transactions cannot contain.

    The shard is always part of it, the day is named ``day``, and corrections change what a line costs.
    """
    amounts = (column.name for column in fact.columns if column.type in DIGITS)
    not_in_key = {fact.shard, fact.id, fact.number, fact.dated_by.name, *amounts}
    others = [column.name for column in fact.columns if column.name not in not_in_key]
    for name in names:
        if name in not_in_key:
            hint = f"name day, or another column of {fact.name}, such as {others[0]}" if others else "name day"
            raise UsageError(f"transaction_key: {name} cannot be part of it", where, hint)


def _rows(table: NumberTable, entries: tuple[BaseModel, ...]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(getattr(entry, column.name) for column in table.columns) for entry in entries)


def numbers_of(pack: Pack, policy: Policy) -> dict[str, Any]:
    """Return the numbers and tables of a pack by name, as a policy sets them; decimals are Decimal, rows tuples."""
    own = dict(policy.own)
    numbers: dict[str, Any] = {number.name: own.get(number.name, number.default) for number in pack.numbers}
    same = {
        number.name: numbers[number.same_as] for number in pack.numbers if number.same_as and number.name not in own
    }
    return {**numbers, **same, **{table.name: own.get(table.name, table.default) for table in pack.number_tables}}


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[str]:
    """Convert a validation error to one sentence that names each wrong key."""
    return ("; ".join(_explain(dict(detail), model) for detail in error.errors(include_url=False)),)


_EXPECTED = {
    "a date, such as 2025-12-31": (
        "date_type",
        "date_parsing",
        "date_from_datetime_parsing",
        "date_from_datetime_inexact",
    ),
    "a whole number": ("int_type", "int_parsing", "int_from_float"),
    "a number": ("float_type", "float_parsing", "decimal_type", "decimal_parsing"),
    "true or false": ("bool_type", "bool_parsing"),
}
"""Names of pydantic's errors for a value of the wrong type, by what they expect."""
_QUOTED = 60
"""Maximum characters of a value in a message."""


def _explain(detail: dict[str, Any], model: type[BaseModel]) -> str:
    location = detail["loc"]
    inner, parts = _below(model, location[:-1])
    name = ".".join(str(part) for part in (*parts, *location[-1:]))
    if detail["type"] == "extra_forbidden":
        return unknown_key(name, str(location[-1]), sorted(inner.model_fields) if inner else [])
    return f"{name}: {_reason(detail)}" if name else _reason(detail)


def _reason(detail: dict[str, Any]) -> str:
    """Return why a value is not valid. Only values of types that no credential has are quoted."""
    expected = next((words for words, types in _EXPECTED.items() if detail["type"] in types), "")
    if expected and isinstance(detail["input"], str | int | float):
        return f"{repr(detail['input'])[:_QUOTED]} is not {expected}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return (
        message.replace("Input should be", "must be", 1)
        .replace("must be a valid", "must be a", 1)
        .replace("be a tuple", "be a list", 1)
    )


def known_keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """List the valid keys at a path inside a model."""
    inner, _ = _below(model, path)
    return sorted(inner.model_fields) if inner else []


def _below(model: type[BaseModel], path: tuple[Any, ...]) -> tuple[type[BaseModel] | None, list[Any]]:
    """Return the model at a path inside a model, if it is one, and the path as the user writes it."""
    named, models, parts = False, [model], list[Any]()
    for part in path:
        if len(models) > 1 and not named and not isinstance(part, int):  # the kind of an entry, which pydantic adds
            models = [item for item in models if part in get_args(item.model_fields["kind"].annotation)]
            continue
        parts.append(part)
        if isinstance(part, int) or named:  # the place in a list, or the name of an entry
            named = False
        elif models and part in models[0].model_fields:
            annotation = models[0].model_fields[part].annotation
            named = get_origin(annotation) is dict
            models = _models_in(annotation)
        else:
            models = []
    return (models[0] if models else None), parts


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in a type: of a list or dict of them, of one or another."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def closest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like a name; empty if none is near."""
    return next(iter(difflib.get_close_matches(name.lower(), sorted(known), 1, 0.5)), "")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the nearest of the known names; empty if none is near."""
    match = closest(name, known)
    return f"; did you mean {match!r}?" if match else ""


def unknown_key(name: str, last: str, known: list[str]) -> str:
    """Return the message for an unknown key, with the nearest known key."""
    match = closest(last, known)
    return f"unknown key {name!r}" + (f", did you mean {match!r}?" if match else f"; known: {', '.join(known)}")
