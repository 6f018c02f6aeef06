"""The drops that all engines read: generated once by Martwright's own generator, and kept for the next run."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from os import utime
from pathlib import Path

from marts.retail.generate import LAST_DAY, generate

SEED = 7
LINES_PER_CUSTOMER = 20
YESTERDAY, TODAY = LAST_DAY - timedelta(days=1), LAST_DAY


def history(folder: Path, lines: int) -> Path:
    """Return two years of daily drops with ``lines`` lines: plain CSV that any reader accepts."""
    drops = folder / f"drops-{lines}"
    if not (drops / "generated.json").exists():
        generate(drops, lines, SEED, customers=max(lines // LINES_PER_CUSTOMER, 100), plain=True)
    return drops


def with_more(folder: Path, drops: Path, lines: int) -> Path:
    """Return the same drops plus one of the last day, in the largest month, with lines like those of earlier days."""
    grown = folder / f"{drops.name}-and-{lines}"
    newest = grown / "sales" / f"{TODAY:%Y/%m}" / f"sales-{TODAY}-evening.csv"
    if not newest.exists():
        for path in (path for path in drops.rglob("*") if path.is_file()):
            link = grown / path.relative_to(drops)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path)
        newest.write_text(_more(sorted((drops / "sales" / "2025").rglob("*.csv")), lines), encoding="utf-8")
        delivered = datetime(TODAY.year, TODAY.month, TODAY.day, 23, tzinfo=UTC).timestamp()
        utime(newest, (delivered, delivered))
    return grown


def _more(paths: Sequence[Path], lines: int) -> str:
    """Copy the last lines of some drops, with new transaction ids and the new date."""
    header = paths[-1].read_text(encoding="utf-8").partition("\n")[0]
    column = header.split(",").index("sales_date")
    taken: list[str] = []
    for number, path in enumerate(reversed(paths)):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            values = line.split(",")
            values[0], values[column] = f"N{number}{values[0]}", TODAY.isoformat()
            taken.append(",".join(values))
        if len(taken) >= lines:
            break
    return "\n".join([header, *taken[:lines], ""])
