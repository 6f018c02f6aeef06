"""The drops that all engines read: generated once by Martwright's own generator, and kept for the next run."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from os import utime
from pathlib import Path

from marts.banking import generate as banking
from marts.retail.generate import LAST_DAY, generate

SEED = 7
VERSION = 2
"""Version of the generated drops: those of an earlier one are other lines."""
LINES_PER_CUSTOMER = 20
_EVENING = "evening"
YESTERDAY, TODAY = LAST_DAY - timedelta(days=1), LAST_DAY
BANK_DAYS = 31
BANK_TODAY = banking.FIRST_DAY + timedelta(days=BANK_DAYS - 1)


def history(folder: Path, lines: int) -> Path:
    """Return two years of daily drops with ``lines`` lines: plain CSV that any reader accepts."""
    drops = folder / f"drops-{VERSION}-{lines}"
    if not (drops / "generated.json").exists():
        generate(drops, lines, SEED, customers=max(lines // LINES_PER_CUSTOMER, 100), plain=True)
    return drops


def bank(folder: Path, lines: int) -> Path:
    """Return a month of daily drops of a bank with ``lines`` transactions."""
    drops = folder / f"bank-{lines}"
    if not (drops / "generated.json").exists():
        banking.generate(drops, lines, SEED, days=BANK_DAYS)
    return drops


def with_more(folder: Path, drops: Path, lines: int) -> Path:
    """Return the same drops plus one of the last day, in the largest month, with lines like those of earlier days."""
    grown = folder / f"{drops.name}-and-{lines}"
    if not grown.exists():
        add(linked(drops, grown), lines)
    return grown


def bank_until(bank: Path, folder: Path, day: int) -> list[Path]:
    """Link the drops of a bank until a day of the month into a folder; return those that were not there.

    The generator writes one snapshot of customers and accounts, on the last day; here they arrive on the first.
    """
    last, first = (f"date={some}" for some in (BANK_TODAY, banking.FIRST_DAY))
    new = []
    for path in sorted(bank.rglob("*.csv")):
        of_day = path.stem.rpartition("-")[2]
        if of_day.isdigit() and int(of_day) > day:
            continue
        link = folder / path.relative_to(bank).as_posix().replace(last, first)
        if not link.exists():
            _link(path, link)
            new.append(link)
    return new


def linked(drops: Path, folder: Path) -> Path:
    """Return a folder with the same drops, of the same file system."""
    for path in (path for path in drops.rglob("*") if path.is_file()):
        _link(path, folder / path.relative_to(drops))
    return folder


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.hardlink_to(path)


def add(drops: Path, lines: int, number: int = 0) -> Path:
    """Write one more drop of the last day, with lines like those of earlier days; return its path."""
    earlier = [path for path in sorted((drops / "sales" / "2025").rglob("*.csv")) if _EVENING not in path.name]
    newest = drops / "sales" / f"{TODAY:%Y/%m}" / f"sales-{TODAY}-{_EVENING}-{number}.csv"
    newest.write_text(_more(earlier, lines, f"N{number}-"), encoding="utf-8")
    delivered = datetime(TODAY.year, TODAY.month, TODAY.day, 23, number, tzinfo=UTC).timestamp()
    utime(newest, (delivered, delivered))
    return newest


def _more(paths: Sequence[Path], lines: int, before: str) -> str:
    """Copy the last lines of some drops, with new transaction ids and the new date."""
    header = paths[-1].read_text(encoding="utf-8").partition("\n")[0]
    column = header.split(",").index("sales_date")
    taken: list[str] = []
    for number, path in enumerate(reversed(paths)):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            values = line.split(",")
            values[0], values[column] = f"{before}{number}-{values[0]}", TODAY.isoformat()
            taken.append(",".join(values))
        if len(taken) >= lines:
            break
    return "\n".join([header, *taken[:lines], ""])
