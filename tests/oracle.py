"""The marts by plain Python and Decimal, row by row: independent of the engine, after METRICS and DATA alone."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

Row = dict[str, str]
ID_COLUMNS = ("customer_id", "store_id", "sales_person_id")


@dataclass(frozen=True)
class Line:
    transaction: str | None
    line_no: str | None
    customer: int
    store: int
    person: int
    day: date
    quantity: int
    total: Decimal
    whole: tuple[tuple[str, str], ...]
    """Every column, to find equal rows."""

    @property
    def month(self) -> str:
        return self.day.isoformat()[:7]


def read_lines(text: str) -> list[Line]:
    """Read clean rows of one drop."""
    return [
        Line(
            row.get("transaction_id") or None,
            row.get("line_no") or None,
            *(int(row[name]) for name in ID_COLUMNS),
            date.fromisoformat(row["sales_date"]),
            int(row["quantity"]),
            Decimal(row["total_cost"]),
            tuple(sorted((name, value) for name, value in row.items() if value)),
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


def live_lines(drops: Sequence[Sequence[Line]]) -> list[Line]:
    """Drop what was delivered twice; ``drops`` are in the order of their delivery."""
    last: dict[tuple[int, str, str], int] = {}
    for number, lines in enumerate(drops):
        for line in lines:
            if line.transaction:
                last[line.customer, line.month, line.transaction] = number
    kept = []
    for number, lines in enumerate(drops):
        seen = set()
        for line in lines:
            if line.transaction:
                if last[line.customer, line.month, line.transaction] != number:
                    continue
                rest = line.line_no or line.whole
                key = (line.customer, line.month, line.transaction, rest)
                if key in seen:
                    continue
                seen.add(key)
            kept.append(line)
    return kept


def baskets(lines: Iterable[Line]) -> list[Decimal]:
    """Give the total of each purchase."""
    totals: dict[object, Decimal] = defaultdict(Decimal)
    for number, line in enumerate(lines):
        if line.quantity > 0:
            totals[(line.customer, line.month, line.transaction) if line.transaction else number] += line.total
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
    by_customer = defaultdict(list)
    for line in lines:
        if line.day <= as_of:
            by_customer[line.customer].append(line)
    rows: list[tuple[object, ...]] = []
    for customer, mine in sorted(by_customer.items()):
        value = sum((line.total for line in mine), Decimal(0))
        totals = baskets(mine)
        days = sorted({line.day for line in mine if line.quantity > 0})
        months = sorted({line.month for line in mine})
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
                    cent(sum((line.total for line in mine if line.month == month), Decimal(0))),
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
    total = {key: sum((line.total for line in mine), Decimal(0)) for key, mine in groups.items()}
    rows: list[tuple[object, ...]] = []
    for (store, person, month), mine in sorted(groups.items()):
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
        totals = baskets(mine)
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
