"""The drops that all engines read: made once, by the generator of the product, and kept for the next time."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from os import utime
from pathlib import Path

from jobs.generate import LAST_DAY, generate

SEED = 7
LINES_PER_CUSTOMER = 20
NEXT_DAY = LAST_DAY + timedelta(days=1)


def history(folder: Path, lines: int) -> Path:
    """Give two years of daily drops with so many lines: plain ones, that any CSV reader takes."""
    drops = folder / f"drops-{lines}"
    if not (drops / "generated.json").exists():
        generate(drops, lines, SEED, customers=max(lines // LINES_PER_CUSTOMER, 100), plain=True)
    return drops


def with_next_day(folder: Path, drops: Path, lines: int) -> Path:
    """Give the same drops, and one more with the lines of the day after: like those of the last days."""
    grown = folder / f"{drops.name}-and-a-day-{lines}"
    newest = grown / "sales" / f"{NEXT_DAY:%Y/%m}" / f"sales-{NEXT_DAY}.csv"
    if not newest.exists():
        for path in (path for path in drops.rglob("*") if path.is_file()):
            link = grown / path.relative_to(drops)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path)
        newest.parent.mkdir(parents=True, exist_ok=True)
        newest.write_text(_next_day(sorted((drops / "sales" / "2025").rglob("*.csv")), lines), encoding="utf-8")
        delivered = datetime(NEXT_DAY.year, NEXT_DAY.month, NEXT_DAY.day, 23).astimezone().timestamp()
        utime(newest, (delivered, delivered))
    return grown


def _next_day(paths: Sequence[Path], lines: int) -> str:
    """Take the last lines of some drops, with new numbers of transactions, and the new date."""
    header = paths[-1].read_text(encoding="utf-8").partition("\n")[0]
    column = header.split(",").index("sales_date")
    taken: list[str] = []
    for number, path in enumerate(reversed(paths)):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            values = line.split(",")
            values[0], values[column] = f"N{number}{values[0]}", NEXT_DAY.isoformat()
            taken.append(",".join(values))
            if len(taken) == lines:
                return "\n".join([header, *taken, ""])
    return "\n".join([header, *taken, ""])


def as_of(with_a_day: bool = False) -> date:
    """Give the day up to which lines count."""
    return NEXT_DAY if with_a_day else LAST_DAY
