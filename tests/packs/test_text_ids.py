"""Ids that are texts: the same drops give the same numbers as with ids that are whole numbers."""

import csv
import gzip
import io
import json
import random
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from packs.conftest import Bucket
from packs.test_library import HEADER, InS3, Library, Loan, expected, loans_of
from support.kit import marts
from support.retail import LEAVE_OUT

from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.load import load

pytestmark = [pytest.mark.usefixtures("small_builds")]


def lettered(rows: list[Any]) -> list[Any]:
    """Return rows whose first value, an id, has letters."""
    return sorted((f"r-{row[0]:03d}", *row[1:]) for row in rows)


def deliver(library: Library, name: str, loans: list[Loan]) -> None:
    texts = [(loan, f"r-{loan[1]:03d}", f"b {loan[2]}") for loan in loans]
    rows = [(loan[0], reader, branch, *loan[3:]) for loan, reader, branch in texts]
    lines = (",".join("" if value is None else str(value) for value in row) for row in rows)
    library.put(f"loans/{name}.csv", HEADER + "".join(f"{line}\n" for line in lines))


def with_texts(library: Library, readers: int = 3) -> Library:
    names = ["Ada", "Bo", "Cy", *(f"reader {number}" for number in range(4, readers + 1))]
    library.put("readers/r.csv", "reader_id,name\n" + "".join(f"r-{n:03d},{name}\n" for n, name in enumerate(names, 1)))
    config = library.folder / "marts.toml"
    config.write_text('ids = "text"\n' + config.read_text())
    return library


@pytest.fixture
def anywhere(bucket: Bucket | None, tmp_path: Path) -> Library:
    return with_texts(InS3(tmp_path, "remote", bucket.s3, bucket.name) if bucket else Library(tmp_path, "here"))


def branches_of(rows: list[Any]) -> list[Any]:
    return sorted((f"b {row[0]}", *row[1:]) for row in rows)


def test_days_of_a_library_with_lettered_ids(anywhere: Library) -> None:
    chance, deliveries = random.Random(7), list[list[Loan]]()
    for number in range(3):
        deliveries.append(loans_of(chance, date(2024, 3, 1) + timedelta(days=number)))
        deliver(anywhere, f"day-{number}", deliveries[-1])
        anywhere.build()
    readers, branches = expected(deliveries, {1: "Ada", 2: "Bo", 3: "Cy"})
    assert anywhere.rows("reader_loans") == lettered(readers)
    assert anywhere.rows("branch_loans") == branches_of(branches)
    erased = marts("erase", "person", "r-001", *anywhere.flags, "--why", "request 7", "--yes").stdout
    assert "erased, as number 1" in erased
    left = [row for row in lettered(readers) if row[0] != "r-001"]
    assert anywhere.rows("reader_loans") == left
    anywhere.build("--rebuild")
    assert anywhere.rows("reader_loans") == left
    assert anywhere.rows("branch_loans") == branches_of(branches)
    listed = marts("readers", "show", "r-002", *anywhere.flags, "--json").stdout
    assert {row["reader_id"] for row in json.loads(listed)} <= {"r-002"}
    marts("rollback", *anywhere.flags, "--why", "try")
    assert anywhere.rows("branch_loans") == branches_of(branches)


def test_ids_that_differ_in_case_only_are_two(anywhere: Library) -> None:
    anywhere.put("readers/r.csv", "reader_id,name\na,Ada\nA,Al\n")
    rows = [f"L{n},{reader},b,2024-01-02,,{n}.00\n" for n, reader in enumerate(["a", "A", "á"], 1)]
    anywhere.put("loans/a.csv", HEADER + "".join(rows))
    anywhere.policy("max_unknown_ratio = 1.0")
    anywhere.build()
    rows_now = sorted((row[0], row[2], row[4]) for row in anywhere.rows("reader_loans"))
    assert rows_now == [("A", "Al", Decimal(2)), ("a", "Ada", Decimal(1)), ("á", None, Decimal(3))]


def test_keys_that_are_texts_are_computed_in_parts_and_patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_LIMITS__FINISH_ROWS", "100")
    library = with_texts(Library(tmp_path, "parts"), 400)
    names = {1: "Ada", 2: "Bo", 3: "Cy"} | {number: f"reader {number}" for number in range(4, 401)}
    months = [date(2024, month, 2) for month in range(1, 9)]
    days = [
        [(f"{day:%m}-{n}", n, 1, day, None, Decimal(n)) for n in range(1, 401) if n % 8 == place]
        for place, day in enumerate(months)
    ]
    for number, loans in enumerate(days):
        deliver(library, str(number), loans)
    library.build()
    written = {path.name for path in (tmp_path / "parts").rglob("readers_mart/*/part-*.parquet")}
    assert len(written) > 1
    assert library.rows("reader_loans") == lettered(expected(days, names)[0])
    more: list[Loan] = [("M1", 7, 2, date(2024, 2, 2), None, Decimal(3)), ("M2", 400, 2, months[0], None, Decimal(4))]
    deliver(library, "b", more)
    library.build()
    assert list((tmp_path / "parts").rglob("readers_mart/*/patch-*.parquet"))
    patched = library.rows("reader_loans")
    assert patched == lettered(expected([*days, more], names)[0])
    library.put("readers/s.csv", "reader_id,name\n" + "".join(f"r-{n:03d},new {n}\n" for n in (7, 400)))
    library.policy("max_unknown_ratio = 1.0")
    library.build()
    assert library.rows("reader_loans") == lettered(expected([*days, more], {7: "new 7", 400: "new 400"})[0])


def test_a_target_keeps_its_type_of_ids(tmp_path: Path) -> None:
    library = Library(tmp_path, "one")
    library.deliver("a", [("L1", 1, 1, date(2024, 1, 2), None, Decimal("1.50"))])
    library.build()
    before = library.rows("reader_loans")
    result = marts("build", "--as-of", "2024-12-31", *with_texts(library).flags, code=2)
    assert 'the target was built with ids = "number"' in result.output + result.stderr
    (library.folder / "marts.toml").write_text(
        (library.folder / "marts.toml").read_text().replace('"text"', '"number"')
    )
    assert library.rows("reader_loans") == before


def tables_of(folder: Path) -> list[list[tuple[Any, ...]]]:
    settings = load(str(folder / "marts.toml"), {})
    results = []
    with closing(open_warehouse(settings.target or "", settings.mysql, settings.domain, read_only=True)) as warehouse:
        for mart in settings.domain.marts.values():
            ids = [n for n, column in enumerate(mart.columns) if column.type in ("id", "text_id")]
            rows = warehouse.execute(f"SELECT {', '.join(column.name for column in mart.columns)} FROM {mart.table}")
            results.append(sorted(tuple(str(v) if n in ids else v for n, v in enumerate(row)) for row in rows))
    return results


def with_numbers(text: str) -> str:
    """Return a drop without the rows whose ids are no whole numbers: as texts, they are ids like others."""
    header, *rows = [*csv.reader(text.splitlines()), []]
    names = [name.strip().lower() for name in header]
    others = [number for number, name in enumerate(names) if name in ("store_id", "sales_person_id")]
    person = names.index("customer_id") if others else 0
    kept = [
        row
        for row in rows
        if others and len(row) == len(header)
        if all(row[n].isdigit() and row[n] != "0" for n in others) and (row[person].isdigit() or not row[person])
    ]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *kept])
    return out.getvalue() if others else text


def test_the_shipped_pack_gives_the_same_numbers_with_ids_as_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guests, refunds, repeated lines, late files and an erased customer: all as with whole numbers."""
    monkeypatch.setenv("MARTS_LIMITS__FINISH_ROWS", "500")
    monkeypatch.setenv("MARTS_LEAVE_OUT", LEAVE_OUT)
    marts("generate", "drops", "--lines", "4000")
    for path in (tmp_path / "drops" / "sales").rglob("*.csv*"):
        packed = path.suffix == ".gz"
        data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        kept = with_numbers(data.decode(errors="replace")).encode()
        path.write_bytes(gzip.compress(kept, mtime=0) if packed else kept)
    folders = [tmp_path / ids for ids in ("number", "text")]
    for folder in folders:
        folder.mkdir()
        lines = [f'source = "{tmp_path}/drops"', f'target = "duckdb://{folder}/m.duckdb"', f'ids = "{folder.name}"']
        (folder / "marts.toml").write_text("\n".join(lines))
        marts("build", "--config", str(folder / "marts.toml"), "--as-of", "2025-12-31", code=None)
    numbers, texts = map(tables_of, folders)
    assert len(numbers[0]) > 500
    assert [set(a) ^ set(b) for a, b in zip(numbers, texts, strict=True)] == [set()] * len(numbers)
    someone = numbers[0][0][0]
    for folder in folders:
        flags = ["--config", str(folder / "marts.toml")]
        marts("erase", "customer", someone, *flags, "--why", "request 1", "--yes")
        marts("build", *flags, "--as-of", "2025-12-31", code=None)
    numbers, texts = map(tables_of, folders)
    assert [set(a) ^ set(b) for a, b in zip(numbers, texts, strict=True)] == [set()] * len(numbers)
    assert someone not in {row[0] for row in texts[0]}
