"""What `marts init --from` writes without asking reads no row wrongly: a row fits as it is, or not at all."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from support.dialects import LINES, OTHER_NAMES, Line, Spelling, spellings, written

from jobs.config.settings import Settings
from jobs.operations.propose import ProposedBlock, propose_blocks
from jobs.operations.sources import try_file
from marts.policy import Policy


def row_of(line: Line) -> tuple[Any, ...]:
    number = str(line.price.normalize()), str(line.total.normalize())
    return line.transaction, line.customer, line.store, line.product, line.day.isoformat(), line.person, *number


def read(folder: Path, key: str, block: ProposedBlock) -> Counter[tuple[Any, ...]]:
    """Return the rows that fit, as builds read them with a proposed block."""
    blocks = (block.block(),) if block.needed else ()
    trial = try_file(Settings(source=str(folder), sources=blocks), Policy(), str(folder / key), "sales", 1000)
    names = ("transaction_id", "customer_id", "store_id", "product_name", "sales_date", "sales_person_id")
    return Counter(
        (*(row[name] for name in names[:4]), row["sales_date"].isoformat(), row["sales_person_id"], *_amounts(row))
        for row in trial.rows
    )


def _amounts(row: dict[str, Any]) -> tuple[str, str]:
    return row["price"], row["total_cost"]


def plain(amounts: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    return Counter({(*key[:-2], float(key[-2]), float(key[-1])): count for key, count in amounts.items()})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, spellings(OTHER_NAMES.__getitem__, quotes='"'))
def test_no_row_is_read_wrongly_with_what_is_proposed(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Line], spelling: Spelling
) -> None:
    folder = tmp_path_factory.mktemp("proposals")
    key = f"sales/a.{spelling.format}"
    (folder / "sales").mkdir()
    (folder / key).write_bytes(written(lines, spelling))
    (block,) = propose_blocks(Settings(), Policy(), str(folder))
    rows, wanted = plain(read(folder, key, block)), plain(Counter(map(row_of, lines)))
    assert rows <= wanted, block.text()
    event("all rows fit" if rows == wanted else "some fit" if rows else "none fits")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, min_size=40, max_size=40))
def test_a_long_file_of_a_known_dialect_is_read_whole(
    tmp_path_factory: pytest.TempPathFactory, many: list[list[Line]]
) -> None:
    """Semicolons, decimal commas, German dates: some of hundreds of lines decide what each mark is."""
    lines = [line for part in many for line in part]
    block = {"delimiter": ";", "quote": '"', "decimal": ",", "thousands": ".", "dates": ["%d.%m.%Y"]}
    spelling = Spelling(block, renames=OTHER_NAMES, encoding="cp1252", line_end="\r\n")
    folder = tmp_path_factory.mktemp("proposals")
    (folder / "sales").mkdir()
    (folder / "sales/a.csv").write_bytes(written(lines, spelling))
    (proposed,) = propose_blocks(Settings(), Policy(), str(folder))
    assert plain(read(folder, "sales/a.csv", proposed)) == plain(Counter(map(row_of, lines))), proposed.text()
