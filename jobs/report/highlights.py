"""Highlights of the marts as a report stores them, and as a page displays them: with titles, headings and types."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FieldSerializationInfo, field_serializer

from marts.compute.highlights import Figures, Item, Sums, Top, Value
from marts.compute.unusual import MonthTotal, UnusualMonth, unusual_months
from marts.highlights import GroupsHighlight, ListedChart, MonthsHighlight, TopHighlight
from marts.pack import DIGITS, Mart, Pack
from marts.privacy.masking import mask_shape
from marts.values import amount_of


class _Reported(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    about: str = ""


class ReportedMonths(_Reported):
    """Money by month."""

    kind: Literal["months"] = "months"
    months: tuple[MonthTotal, ...]
    """In chronological order."""
    unusual: tuple[UnusualMonth, ...] = ()
    total_heading: str = "Total"
    count_heading: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.months


class Group(BaseModel):
    """Rows of one group."""

    model_config = ConfigDict(frozen=True)

    name: str
    flag: bool | None = None
    count: int
    total: Decimal


class ReportedGroups(_Reported):
    """Rows and money by group, the largest first."""

    kind: Literal["groups"] = "groups"
    groups: tuple[Group, ...]
    noun: str
    flags: tuple[str, ...] = ()
    """What the flag means: if it does not hold, and if it does."""
    name_heading: str
    total_heading: str

    @property
    def is_empty(self) -> bool:
        return not self.groups


class Column(BaseModel):
    """A column of listed rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    heading: str
    type: str
    signed: bool = False


class ReportedTop(_Reported):
    """Rows with the highest values."""

    kind: Literal["top"] = "top"
    columns: tuple[Column, ...]
    """The first is what a row is about."""
    details: dict[str, str] = {}
    """Texts below a column, by the column that they have: ``{}`` stands for its value."""
    below: str = ""
    """The column that the details are below."""
    rows: tuple[dict[str, Value], ...]
    """Values by column; decimals as text. Stored without the names of people."""
    personal: tuple[str, ...] = ()
    """Columns of personal data."""
    left_out: int = 0
    month: str = ""
    """The month that the rows are of, if they are of one."""
    chart: ListedChart | None = None

    @property
    def is_empty(self) -> bool:
        return not self.rows

    @field_serializer("rows")
    def _without_names(self, rows: tuple[dict[str, Value], ...], info: FieldSerializationInfo) -> list[dict[str, Any]]:
        personal = () if (info.context or {}).get("names") else self.personal
        return [
            {name: mask_shape(str(value)) if name in personal and value else value for name, value in row.items()}
            for row in rows
        ]


AnyKind = ReportedMonths | ReportedGroups | ReportedTop
ReportedHighlight = Annotated[AnyKind, Field(discriminator="kind")]


def highlights_of(pack: Pack, figures: Mapping[str, Figures], as_of: date) -> tuple[AnyKind, ...]:
    """Return the highlights of a pack, in its order; those of marts without ``figures`` are left out."""
    results: list[AnyKind] = []
    for item in pack.highlights:
        own = figures.get(item.table)
        if own is None:
            continue
        match item:
            case MonthsHighlight():
                results.append(_months(item, own.sums.get(item.name, ()), as_of))
            case GroupsHighlight():
                results.append(_groups(item, own.sums.get(item.name, ())))
            case TopHighlight() if item.name in own.tops:
                results.append(_top(item, pack.marts[item.table], own.tops[item.name]))
    return tuple(results)


def without(
    items: Sequence[AnyKind], columns: Sequence[str], is_erased: Callable[[Value], bool]
) -> tuple[AnyKind, ...]:
    """Leave out listed rows of people who were erased; ``columns`` have their ids."""

    def names_none(row: Mapping[str, Value]) -> bool:
        return not any(is_erased(row.get(column)) for column in columns)

    return tuple(
        item.model_copy(update={"rows": tuple(filter(names_none, item.rows))})
        if isinstance(item, ReportedTop)
        else item
        for item in items
    )


def _months(item: MonthsHighlight, sums: Sequence[Sums], as_of: date) -> ReportedMonths:
    months = tuple(
        MonthTotal(month=str(entry.of[0]), total=amount_of(entry.cents), count=entry.count) for entry in sums
    )
    return ReportedMonths(
        name=item.name,
        title=item.title,
        about=item.about,
        months=months,
        unusual=unusual_months(months, as_of),
        total_heading=item.sum_heading,
        count_heading=item.count_heading,
    )


def _groups(item: GroupsHighlight, sums: Sequence[Sums]) -> ReportedGroups:
    ordered = sorted(sums, key=lambda entry: (-entry.rows, [str(value) for value in entry.of]))
    groups = tuple(
        Group(
            name=str(entry.of[0]),
            flag=bool(entry.of[1]) if item.flag else None,
            count=entry.rows,
            total=amount_of(entry.cents),
        )
        for entry in ordered
    )
    return ReportedGroups(
        name=item.name,
        title=item.title,
        about=item.about,
        groups=groups,
        noun=item.noun,
        flags=item.flags,
        name_heading=item.by_heading,
        total_heading=item.sum_heading,
    )


def _top(item: TopHighlight, mart: Mart, top: Top) -> ReportedTop:
    declared = {column.name: column for column in mart.columns}
    columns = tuple(
        Column(
            name=column.name,
            heading=column.heading,
            type=declared[column.name].type,
            signed=column.signed,
        )
        for column in item.columns
    )
    items: Sequence[Item] = top.items
    if item.by_key:
        items = sorted(items, key=lambda entry: [(value is None, value) for value in entry.key])
    rows = [dict(zip(item.stored, entry.values, strict=True)) for entry in items]
    month = mart.key.index(item.last) if item.last in mart.key else None
    return ReportedTop(
        name=item.name,
        title=item.title,
        about=item.about,
        columns=columns,
        details=item.details,
        below=item.below or item.columns[0].name,
        rows=tuple({name: _value(declared[name].type, value) for name, value in row.items()} for row in rows),
        personal=tuple(name for name in item.stored if declared[name].personal),
        left_out=top.rows - len(top.items),
        month=str(items[0].key[month]) if items and month is not None else "",
        chart=item.chart,
    )


def _value(type_: str, value: Value) -> Value:
    return str(Decimal(value).scaleb(-DIGITS[type_])) if type_ in DIGITS and isinstance(value, int) else value
