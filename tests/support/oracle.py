"""The marts by plain Python and Decimal, row by row: independent of the engine, after METRICS and DATA alone."""

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

Fate = Literal["kept", "repeated", "replaced"]
"""Of a line: it counts; an equal one counts in its place; a different one does."""
NO_IDS = frozenset({"", "0", "-", "--", "n/a", "na", "null", "none", "nil", "nan", "unknown"})


@dataclass(frozen=True)
class Rules:
    """What a policy sets about identity; the names and the defaults are its own."""

    transaction_key: tuple[str, ...] = ("store_id", "day")
    no_ids: Collection[str] = NO_IDS
    unknown_ids: Collection[int] = frozenset({0, -1})
    redelivered: Literal["line", "transaction", "add"] = "line"
    equal_lines: Literal["keep", "drop"] = "keep"


DEFAULTS = Rules()


@dataclass(frozen=True)
class Line:
    """A clean row of sales."""

    transaction: tuple[Any, ...] | None
    """What identifies its transaction; None where it has no id."""
    line_no: int | None
    customer: int | None
    """None is a guest."""
    store: int
    person: int
    product: str
    day: date
    quantity: Decimal
    total: Decimal
    whole: frozenset[tuple[str, Any]]
    """Every column that has a value, to find equal rows."""

    @property
    def month(self) -> str:
        return self.day.isoformat()[:7]

    @property
    def cents(self) -> int:
        return int(self.total * 100)

    @property
    def sold(self) -> bool:
        """Return whether it is a sale; a return has a negative quantity, or a negative price."""
        return self.total > 0 if self.total else self.quantity > 0


def read_lines(text: str, rules: Rules = DEFAULTS) -> list[Line]:
    """Read the clean rows of one drop."""
    header, *rows = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    names = [name.strip().lower() for name in header]
    return [
        _line({n: v.strip() for n, v in zip(names, row, strict=True)}, rules) for row in rows if "".join(row).strip()
    ]


def _line(row: dict[str, str], rules: Rules) -> Line:
    values: dict[str, Any] = {name: text for name, text in row.items() if text}
    for name in {"customer_id", "store_id", "sales_person_id", "line_no"} & set(values):
        values[name] = int(values[name])
    for name in ("price", "quantity", "total_cost"):
        values[name] = Decimal(values[name])
    values["sales_date"] = date.fromisoformat(values["sales_date"])
    if values.get("customer_id") in rules.unknown_ids:
        del values["customer_id"]
    if values.get("transaction_id", "").lower() in {"", *(word.lower() for word in rules.no_ids)}:
        values.pop("transaction_id", None)
    customer, id_ = values.get("customer_id"), values.get("transaction_id")
    key = (customer, id_, *(values.get("sales_date" if name == "day" else name) for name in rules.transaction_key))
    return Line(
        key if id_ else None,
        values.get("line_no"),
        customer,
        values["store_id"],
        values["sales_person_id"],
        values["product_name"],
        values["sales_date"],
        values["quantity"],
        values["total_cost"],
        frozenset(values.items()),
    )


Delivered = tuple[int, Line]
"""The number of a drop, and one of its lines."""


def settle(drops: Sequence[Sequence[Line]], rules: Rules = DEFAULTS) -> list[tuple[int, Line, Fate]]:
    """Return each line with the number of its drop and its fate; ``drops`` are in the order of their delivery."""
    transactions: dict[object, list[Delivered]] = defaultdict(list)
    settled: list[tuple[int, Line, Fate]] = []
    for number, lines in enumerate(drops):
        for line in lines:
            if line.transaction is None:
                settled.append((number, line, "kept"))
            else:
                transactions[line.transaction].append((number, line))
    for members in transactions.values():
        # Of one drop, the lines of a later month come later, wherever they stand in the file.
        delivered = sorted(members, key=lambda entry: (entry[0], entry[1].month))
        for at, (number, line) in enumerate(delivered):
            instead = _instead(at, delivered, rules)
            equal = bool(instead) and _counts_equal(at, delivered, rules)
            settled.append((number, line, "kept" if not instead else "repeated" if equal else "replaced"))
    return settled


def _counts_equal(at: int, delivered: Sequence[Delivered], rules: Rules) -> bool:
    """Return whether an equal line counts, each as often as it is there: once is enough with a number."""
    drop, line = delivered[at]
    equal = [n for n, (_, other) in enumerate(delivered) if other.whole == line.whole]
    counting = sum(not _instead(n, delivered, rules) for n in equal)
    if line.line_no is not None or rules.equal_lines == "drop":
        return counting > 0
    return sum(delivered[n][0] == drop for n in equal if n <= at) <= counting


def _instead(at: int, delivered: Sequence[Delivered], rules: Rules) -> list[Line]:
    """Return the lines that count in place of one line of a transaction; none if it counts itself."""
    drop, line = delivered[at]
    last = delivered[-1][0]
    if rules.redelivered == "transaction" and drop != last:
        return [other for n, (d, other) in enumerate(delivered) if d == last and not _instead(n, delivered, rules)]
    if line.line_no is not None:
        within = rules.redelivered == "add"
        later = [x for d, x in delivered[at + 1 :] if x.line_no == line.line_no and (d == drop or not within)]
        return later[-1:]
    unnumbered = [(d, x) for d, x in delivered if x.line_no is None]
    corrections = [d for d, _ in unnumbered if d > drop and _corrects(d, drop, unnumbered)]
    if rules.redelivered == "line" and corrections:
        return [other for d, other in unnumbered if d == corrections[-1]]
    if rules.equal_lines == "drop":
        return [x for d, x in delivered[:at] if d == drop and x.whole == line.whole][:1]
    return []


def _corrects(later: int, earlier: int, unnumbered: Sequence[Delivered]) -> bool:
    """Return whether a later drop has all that an earlier one has of a transaction, and not only returns."""
    new, old = ({(x.product, x.sold) for d, x in unnumbered if d == drop} for drop in (later, earlier))
    return new >= old and any(sold for _, sold in new)


def live_lines(drops: Sequence[Sequence[Line]], rules: Rules = DEFAULTS) -> list[Line]:
    """Return the lines that count; ``drops`` are in the order of their delivery."""
    return [line for _, line, fate in settle(drops, rules) if fate == "kept"]


@dataclass
class Duplicates:
    """The lines of a drop that do not count: how many, and their money."""

    repeated: int = 0
    replaced: int = 0
    repeated_cents: int = 0
    replaced_cents: int = 0


def duplicates(drops: Sequence[Sequence[Line]], rules: Rules = DEFAULTS) -> list[Duplicates]:
    """Return what does not count of each drop; ``drops`` are in the order of their delivery."""
    counts = [Duplicates() for _ in drops]
    for number, line, fate in settle(drops, rules):
        if fate == "repeated":
            counts[number].repeated += 1
            counts[number].repeated_cents += line.cents
        elif fate == "replaced":
            counts[number].replaced += 1
            counts[number].replaced_cents += line.cents
    return counts


def baskets(lines: Iterable[Line]) -> list[Decimal]:
    """Return the total of each purchase."""
    totals: dict[object, Decimal] = defaultdict(Decimal)
    for number, line in enumerate(lines):
        if line.quantity > 0:
            totals[number if line.transaction is None else line.transaction] += line.total
    return list(totals.values())


def cent(value: Decimal | None) -> Decimal | None:
    return None if value is None else value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def month_before(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year - 1:04d}-12" if number == 1 else f"{year:04d}-{number - 1:02d}"


@dataclass(frozen=True)
class Person:
    name: str
    address: str | None = None
    phone: str | None = None


def customers_mart(
    lines: Sequence[Line], people: dict[int, Person], as_of: date, inactive_after: int = 180
) -> list[tuple[object, ...]]:
    by_customer: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        if line.day <= as_of and line.customer is not None:
            by_customer[line.customer].append(line)
    rows: list[tuple[object, ...]] = []
    for customer, own_lines in sorted(by_customer.items()):
        value = sum((line.total for line in own_lines), Decimal(0))
        totals = baskets(own_lines)
        days = sorted({line.day for line in own_lines if line.quantity > 0})
        months = sorted({line.month for line in own_lines})
        frequency = len(totals)
        monetary = value / frequency if frequency else None
        gap = Decimal((days[-1] - days[0]).days) / (len(days) - 1) if len(days) > 1 else None
        inactive = (as_of - days[-1]).days > inactive_after if days else True
        if frequency >= 10:
            segment = "Loyal Customer"
        elif monetary is not None and monetary >= 50000:
            segment = "High-Value Customer"
        else:
            segment = "At-Risk Customer" if inactive else "Occasional Customer"
        who = people.get(customer, Person("UNKNOWN"))
        for month in months:
            rows.append(
                (
                    customer,
                    who.name,
                    who.address,
                    who.phone,
                    month,
                    cent(sum((line.total for line in own_lines if line.month == month), Decimal(0))),
                    cent(value),
                    days[0].isoformat()[:7] if days else None,
                    days[-1].isoformat()[:7] if days else None,
                    frequency,
                    cent(monetary),
                    cent(value / len(months)),
                    cent(max(totals)) if totals else None,
                    cent(gap),
                    inactive,
                    segment,
                )
            )
    return rows


def sales_team_mart(
    lines: Sequence[Line],
    people: dict[int, Person],
    as_of: date,
    rate: Decimal = Decimal("0.01"),
    split: bool = False,
) -> list[tuple[object, ...]]:
    groups = defaultdict(list)
    for line in lines:
        if line.day <= as_of:
            groups[line.store, line.person, line.month].append(line)
    total = {key: sum((line.total for line in group), Decimal(0)) for key, group in groups.items()}
    rows: list[tuple[object, ...]] = []
    for (store, person, month), group in sorted(groups.items()):
        now = total[store, person, month]
        here = sorted(key[2] for key in total if key[:2] == (store, person))
        everywhere = [(key[2], value) for key, value in total.items() if key[1] == person]
        months = sorted({name for name, _ in everywhere})
        before = total.get((store, person, month_before(month)), Decimal(0)) if here[0] < month else None
        rivals = [value for key, value in total.items() if (key[0], key[2]) == (store, month)]
        rank = 1 + len({value for value in rivals if value > now})
        leaders = rivals.count(now) if split else 1
        store_total = sum(rivals, Decimal(0))
        year = [total[store, person, name] for name in here if name[:4] == month[:4] and name <= month]
        totals = baskets(group)
        rows.append(
            (
                store,
                person,
                people.get(person, Person("UNKNOWN")).name,
                month,
                cent(now),
                cent(sum((value for _, value in everywhere), Decimal(0)) / len(months)),
                rank,
                cent(now * rate / leaders) if rank == 1 and now > 0 else Decimal("0.00"),
                cent(now - before) if before is not None else None,
                cent((now - before) / before * 100) if before is not None and before > 0 else None,
                cent(sum(year, Decimal(0))),
                months[0],
                months[-1],
                len(totals),
                cent(now / len(totals)) if totals else None,
                cent(max(totals)) if totals else None,
                cent(now / store_total * 100) if store_total > 0 else None,
            )
        )
    return rows
