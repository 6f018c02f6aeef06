"""Business numbers: thresholds, rates, periods. The company sets them in policy.toml."""

import difflib
import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from marts.errors import UsageError
from marts.expressions import parsed

DEFAULT_RULE = "price * quantity"
"""What the total of a line is by default."""
Ratio = Annotated[float, Field(ge=0, le=1)]
NO_IDS = ("0", "-", "--", "n/a", "na", "null", "none", "nil", "nan", "unknown")
_NOT_IN_KEY = ("customer_id", "transaction_id", "line_no", "sales_date", "price", "quantity", "total_cost")
"""Columns that transaction_key cannot contain: the customer is always part of it, the day is named ``day``, and
corrections change what a line costs."""
Money = Annotated[Decimal, Field(max_digits=18, decimal_places=2)]


def known_zone(name: str) -> str:
    """Return the name of a time zone. Raise ValueError for another name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone; use a name such as Europe/Berlin") from error
    return name


class Segment(BaseModel):
    """One customer segment. A customer belongs to the first segment whose conditions all hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    min_purchase_frequency: int | None = Field(None, ge=0, description="purchases up to as_of, at least")
    min_monetary_value: Money | None = Field(None, description="lifetime value per purchase, at least")
    inactive: bool | None = Field(None, description="inactive_status equals this")

    @property
    def is_default(self) -> bool:
        return self.min_purchase_frequency is None and self.min_monetary_value is None and self.inactive is None


class Policy(BaseModel):
    """Every number that a business may change. The defaults are those of the documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    business_timezone: str = Field("UTC", description="a timestamp with an offset is first converted to this zone")
    inactive_after_days: int = Field(180, ge=0, description="days without a purchase until a customer is inactive")
    incentive_rate: Decimal = Field(
        Decimal("0.01"), ge=0, le=1, decimal_places=6, description="the monthly leader's share of total_sales"
    )
    incentive_ties: Literal["each", "split"] = Field(
        "each", description="tied leaders each get the incentive, or split it"
    )
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
    unknown_ids: tuple[int, ...] = Field((0, -1), description="customer_id values that mean a guest, like an empty one")
    transaction_key: tuple[str, ...] | None = Field(
        None,
        description='columns within which an id of a transaction is unique, besides the customer: ["store_id", "day"]',
    )
    no_ids: tuple[str, ...] = Field(NO_IDS, description="words that are not a transaction_id, in upper or lower case")
    redelivered: Literal["line", "transaction", "add"] = Field(
        "line", description="what happens to a transaction that is delivered again: docs/data.md"
    )
    equal_lines: Literal["keep", "drop"] = Field("keep", description="equal lines of a transaction in one drop")
    transaction_ids: Literal["any", "unique"] = Field(
        "any", description='"unique": each run warns about ids that are live under several customers, stores or months'
    )
    max_fall: Ratio = Field(0.05, description="if the total falls by a larger share, nothing is published")
    max_fall_from: int = Field(1000, ge=0, description="marts with fewer lines are not guarded against a fall")
    segments: tuple[Segment, ...] = (
        Segment(name="Loyal Customer", min_purchase_frequency=10),
        Segment(name="High-Value Customer", min_monetary_value=Decimal(50000)),
        Segment(name="At-Risk Customer", inactive=True),
        Segment(name="Occasional Customer"),
    )

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
        if names is None:
            return None
        for name in names:
            if name in _NOT_IN_KEY:
                raise ValueError(f"{name} cannot be part of it; name store_id, day, or another column of sales")
        if len(set(names)) < len(names):
            raise ValueError("it names a column twice")
        return names

    @field_validator("unknown_ids")
    @classmethod
    def _of_64_bits(cls, ids: tuple[int, ...]) -> tuple[int, ...]:
        if any(not -(2**63) <= item < 2**63 for item in ids):
            raise ValueError("an id has at most 64 bits")
        return ids

    @field_validator("no_ids")
    @classmethod
    def _lower(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.strip().lower() for word in words)

    @model_validator(mode="after")
    def _segments_cover_everybody(self) -> Self:
        if not self.segments or not self.segments[-1].is_default:
            raise ValueError("the last segment must have no condition, so that every customer belongs to one")
        return self

    def digest(self) -> str:
        """Return a hash of the policy: equal policies have equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def read_policy(values: dict[str, Any], where: str) -> Policy:
    """Validate the values of a policy file. Raise UsageError that names the wrong key and the nearest valid one."""
    try:
        return Policy.model_validate(values)
    except ValidationError as error:
        raise UsageError(*explain(error, Policy), where) from error


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
    name = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        return unknown_key(name, str(location[-1]), known_keys(model, location[:-1]))
    return f"{name}: {_reason(detail)}" if name else _reason(detail)


def _reason(detail: dict[str, Any]) -> str:
    """Return why a value is not valid. Only values of types that no credential has are quoted."""
    expected = next((words for words, types in _EXPECTED.items() if detail["type"] in types), "")
    if expected and isinstance(detail["input"], str | int | float):
        return f"{repr(detail['input'])[:_QUOTED]} is not {expected}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be", 1).replace("must be a valid", "must be a", 1)


def known_keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """List the valid keys at a path inside a model."""
    named = False
    for part in path:
        if isinstance(part, int) or named:  # the place in a list, or the name of an entry
            named = False
            continue
        annotation = model.model_fields[part].annotation
        named = get_origin(annotation) is dict
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return sorted(model.model_fields)


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
