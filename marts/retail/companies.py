"""Generate the files of made companies: the same sales as other systems write them, to try how they are read."""

import csv
import gzip
import io
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

from marts.errors import UsageError
from marts.pack import DIGITS, SourceColumn
from marts.packs import shipped
from marts.policy import nearest
from marts.retail.generate import LAST_DAY, clean_tables

_DISCOUNT = "discount"
_PACK = shipped("retail")
_TENTH = 10
"""Each tenth line has a discount."""
Row = dict[str, str]


@dataclass(frozen=True)
class Company:
    """How a company writes its files."""

    about: str
    files: Mapping[str, str]
    """Key of the files of each kind; ``{month}`` or ``{day}`` stands for that of the lines."""
    columns: Mapping[str, Mapping[str, str]]
    """By kind: names in the file, and the columns that they are."""
    delimiter: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    decimal: str = "."
    thousands: str = ""
    date: str = "%Y-%m-%d"
    """Format of the times of sales."""
    day: str = ""
    """Format of other dates; by default the same."""
    money: str = ""
    negative: str = "-{}"
    prefix: str = ""
    """Text before the ids of customers."""
    zeros: int = 0
    """Digits of ids, with leading zeros."""
    null: str = ""
    quote_all: bool = False
    titles: Sequence[str] = field(default=())
    total: str = ""
    """Word in a last row with the total."""
    discount: bool = False
    gzip: bool = False


@cache
def companies() -> dict[str, Company]:
    """Return the companies by name."""
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {
        name: Company(columns={kind: values.pop(kind) for kind in _PACK.kinds if kind in values}, **values)
        for name, values in data.items()
    }


def generate_like(folder: Path, name: str, lines: int, seed: int) -> dict[str, object]:
    """Write the files of a company under a folder. Return what was generated. Raise UsageError for another name."""
    if name not in companies():
        what = f"unknown company {name!r}{nearest(name, companies())}"
        raise UsageError(what, "--like", f"known: {', '.join(companies())}")
    company, total = companies()[name], Decimal(0)
    for kind, tables in clean_tables(lines, seed).items():
        if kind not in company.columns:
            continue
        amount = next((column.name for column in _PACK.kinds[kind].columns if column.type == "amount"), "")
        for day, rows in _files(tables, company.files[kind]):
            written = [_discounted(*item) for item in enumerate(rows)] if company.discount and amount else rows
            total += sum((Decimal(row[amount]) for row in written), Decimal(0)) if amount else 0
            path = folder / company.files[kind].format(month=day[:7], day=day)
            path.parent.mkdir(parents=True, exist_ok=True)
            data = _encoded(company, kind, written)
            path.write_bytes(gzip.compress(data, mtime=0) if company.gzip else data)
    truth: dict[str, object] = {"lines": lines, "total": str(total), "as_of": LAST_DAY.isoformat()}
    (folder / "_generated.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return truth


def _files(tables: Mapping[str, bytes], key: str) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of each file, and its month or day."""
    for month, text in tables.items():
        rows = list(csv.DictReader(io.StringIO(text.decode())))
        if "{day}" not in key:
            yield month, rows
            continue
        days: dict[str, list[Row]] = {}
        date = next(column.name for column in _PACK.facts[0].columns if column.type == "date")
        for row in rows:
            days.setdefault(row[date], []).append(row)
        yield from days.items()


def _discounted(number: int, row: Row) -> Row:
    """Return a line with a discount of a tenth, for some lines."""
    columns = {column.type: column.name for column in _PACK.facts[0].columns}
    amount = Decimal(row[columns["amount"]])
    off = (amount / _TENTH).quantize(Decimal("0.01")) if number % _TENTH == 0 and amount > 0 else Decimal(0)
    return {**row, columns["amount"]: str(amount - off), _DISCOUNT: str(off) if off else ""}


def _encoded(company: Company, kind: str, rows: Iterable[Row]) -> bytes:
    """Return the rows of a file as the company writes them."""
    names, sink = company.columns[kind], io.StringIO()
    sink.writelines(f"{title}{company.newline}" for title in company.titles)
    options = {"quoting": csv.QUOTE_ALL} if company.quote_all else {}
    writer = csv.writer(sink, delimiter=company.delimiter, lineterminator=company.newline, **options)  # type: ignore[arg-type]
    writer.writerow(names)
    columns = {column.name: column for column in _PACK.kinds[kind].columns}
    amount, total = next((c.name for c in columns.values() if c.type == "amount"), ""), Decimal(0)
    for number, row in enumerate(rows):
        total += Decimal(row[amount]) if amount else 0
        writer.writerow([_value(company, columns.get(name), row[name], number) for name in names.values()])
    if company.total and amount:
        last = [company.total, *[""] * (len(names) - 2)]
        last.insert(list(names.values()).index(amount), _number(company, str(total)))
        writer.writerow(last)
    return sink.getvalue().encode(company.encoding, "replace")


def _value(company: Company, column: SourceColumn | None, text: str, number: int) -> str:
    """Return a value as the company writes it."""
    if not text:
        return company.null
    match column.type if column else "amount":
        case "date":
            time = datetime.fromisoformat(text).replace(hour=8 + number % 12, minute=number % 60)
            is_key = column is not None and column.mandatory
            return time.strftime(company.date if is_key else company.day or company.date)
        case "id" if column:
            return f"{company.prefix if column.name in _buyers() else ''}{text.rjust(company.zeros, '0')}"
        case kind if DIGITS.get(kind) and "." in text:
            return _number(company, text)
        case kind if DIGITS.get(kind) and text.startswith("-"):
            return company.negative.format(text[1:])
        case _:
            return text


def _buyers() -> set[str]:
    """Return the names of the columns that say who bought."""
    return {column.name for kind in _PACK.kinds.values() for column in kind.columns if column.guests}


def _number(company: Company, text: str) -> str:
    """Return an amount with the company's marks and signs."""
    amount = Decimal(text)
    marks = {ord(","): company.thousands, ord("."): company.decimal}
    plain = f"{abs(amount):,.{DIGITS['amount']}f}".translate(marks)
    return company.negative.format(company.money + plain) if amount < 0 else company.money + plain
