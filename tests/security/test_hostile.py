"""Input that wants to be more than text: it stays text, or is refused with its reason. What we show is harmless."""

import csv
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kit import CUSTOMERS, SALES, Place, line, marts, sales
from support.servers import MariaDB, S3Server

from jobs.runtime.escaping import for_html, for_spreadsheet, from_spreadsheet, visible

HOSTILE = {
    "html": "<script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)',
    "image": "<img src=x onerror=alert(1)>",
    "entity": "&lt;script&gt; &#x202e;",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}$value",
    "ansi": "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "mail": "a@b.example\r\nBcc: all@b.example",
    "formula": '=HYPERLINK("http://evil.example","click")',
    "plus": "+cmd|' /C calc'!A0",
    "minus": "-2+3+cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "tab": "\t=1+1",
    "wide formula": "＝1+1",
    "slack": "<!channel> <http://evil.example|bank> *bold*",
    "rich": "[red]x[/red] [link=http://evil.example]y[/link]",
    "nul": "a\x00b",
    "bidi": "invoice\u202egpj.exe \u2066x\u2069",
    "invisible": "pay\u200bpal \u00ad\ufeff",
    "sql": "'; DROP TABLE customers_data_mart; -- \\' \\N",
    "spool": '\\N,""",\\\n,x\\',
    "percent": "%s %(x)s %n {0} {x.__class__}",
    "emoji": "👩‍👩‍👧 ｆｕｌｌ Ⅷ",
    "deep": "[" * 200,
}
"""What somebody may write into any text, by what it tries."""
REFUSED = {"nul"}
"""Those that no text may hold: their row goes to quarantine."""


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.fixture
def hostile(place: Place) -> Place:
    """Drops with each hostile text as a name, a product, an extra column's value, and a value that breaks a rule."""
    place.judge = True
    place.policy = place.policy.model_copy(update={"max_bad_ratio": 1.0, "max_unknown_ratio": 1.0})
    place.put_dimensions()
    rows = [CUSTOMERS.splitlines()[0]]
    for number, text in enumerate(HOSTILE.values(), 100):
        rows.append(f"{number},{quoted(text)},{quoted(text)},{quoted(text)},{quoted(text)},{quoted(text)},2023-01-01")
    place.put("customers/c.csv", "\n".join(rows) + "\n")
    lines = []
    for number, text in enumerate(HOSTILE.values(), 100):
        lines.append(f"{quoted(text)},{number},121,{quoted(text)},2024-01-10,1,1.00,1,1.00,{quoted(text)}")
        for column in range(9):
            fields = f"T{number},{number},121,tea,2024-01-11,1,1.00,1,1.00,".split(",")
            fields[column] = quoted(text)
            lines.append(",".join(fields))
    place.put("sales/hostile.csv", sales(*lines, header=f"{SALES},{quoted(HOSTILE['html'])}"))
    return place


@pytest.fixture(params=["DuckDB", "LOAD DATA", "INSERT"])
def loaded(request: pytest.FixtureRequest, hostile: Place) -> Place:
    if request.param != "DuckDB":
        database: MariaDB = request.getfixturevalue("mariadb")
        hostile.target = database.make_database(f"hostile_{request.param.lower().replace(' ', '_')}")
        hostile.settings = {"mysql": {"load_data": request.param == "LOAD DATA"}}
    return hostile


def test_hostile_text_arrives_in_the_marts_as_it_was_written(loaded: Place, figure: Callable[[str], None]) -> None:
    report = loaded.build()
    assert report.outcome == "published"
    totals = report.totals
    assert totals.rows_read == totals.clean + totals.quarantined + totals.duplicates
    names = {row[0]: row[1].strip() for row in loaded.mart("customers")}
    for number, (kind, text) in enumerate(HOSTILE.items(), 100):
        assert names.get(number) == (None if kind in REFUSED else f"{text.strip()} {text.strip()}".strip()), kind
    figure(f"{len(HOSTILE)} hostile texts in every column of sales and customers: each as it was, or in quarantine")


class _Tags(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object", "embed", "base", "form", "math", "link"):
            self.acts.append(tag)
        for name, value in attrs:
            leads = name in ("href", "src") and re.match(r"\s*(javascript|data|http)", value or "")
            if name.startswith("on") or leads:
                self.acts.append(f"{tag} {name}={value}")


def test_no_page_holds_anything_that_a_browser_would_run(hostile: Place, figure: Callable[[str], None]) -> None:
    hostile.build()
    pages = sorted((hostile.folder / "state/docs").rglob("*.html"))
    for page in pages:
        text = page.read_text()
        tags = _Tags()
        tags.feed(text)
        assert tags.acts == [], page
        assert not [c for c in text if not c.isprintable() and c != "\n"], page
        assert "default-src 'none'" in text
    assert len(pages) > 5
    assert any("&lt;script&gt;" in page.read_text() for page in pages)
    figure(f"{len(HOSTILE)} hostile texts, {len(pages)} pages: nothing that runs, loads or turns the text around")


def test_no_terminal_receives_anything_but_text(hostile: Place, figure: Callable[[str], None]) -> None:
    hostile.build()
    where = hostile.flags
    outputs = [
        marts("plan", *where).output,
        marts("status", "--target", where[3]).output,
        marts("history", "--target", where[3]).output,
        marts("quarantine", "list", *where).output,
        marts("quarantine", "show", "hostile.csv", "--limit", "500", *where).output,
        marts("quarantine", "show", "hostile.csv", "--limit", "500", "--reveal", *where).output,
        marts("quarantine", "show", "hostile.csv", "--limit", "500", "--json", *where).output,
        str(marts("quarantine", "show", "\x1b[31mno", *where, code=2).output),
    ]
    for text in outputs:
        assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "\\x1b[31m" in outputs[5]
    figure(f"{len(outputs)} commands over {len(HOSTILE)} hostile texts: no character but visible ones")


def test_an_export_runs_no_formula_and_is_read_back_as_it_was(hostile: Place, figure: Callable[[str], None]) -> None:
    hostile.build()
    where = hostile.flags
    to = hostile.folder / "bad.csv"
    marts("quarantine", "export", "hostile.csv", "--to", str(to), *where)
    with to.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    cells = [cell for row in rows for cell in row]
    runs = [cell for cell in cells if re.match(r"[=+\-@\t\r＝]", cell) and not re.fullmatch(r"[+-]?\d+(\.\d+)?", cell)]
    assert runs == []
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    figure(f"{len(cells):,} cells exported: none that a spreadsheet would run")


@given(st.text(max_size=20) | st.sampled_from(list(HOSTILE.values())))
def test_a_cell_comes_back_as_it_was_and_never_begins_a_formula(text: str) -> None:
    cell = for_spreadsheet(text)
    assert from_spreadsheet(cell) == text
    assert not re.match(r"[=+\-@\t\r]", cell) or re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", cell)


@given(st.text())
def test_what_is_shown_is_visible_and_cannot_leave_its_tag(text: str) -> None:
    assert visible(text).isprintable()
    assert not set(for_html(text)) & set("<>\"'")
    assert visible(text, keep="\n").count("\n") == text.count("\n")


# Ids that look like others


def test_a_number_in_other_digits_is_no_id(fed: Place) -> None:
    numbers = ("１２", "١٢", "1２", "Ⅻ", "1\u200b2", "12\u200b", "0x12", "1e1", "1_2", "+12", "12.5", "−12")
    for n, number in enumerate(numbers):
        fed.put(f"sales/x{n}.csv", sales(line("T9").replace("T9,1,", f"T9,{number},")))
    report = fed.build(policy=fed.policy.model_copy(update={"max_bad_ratio": 1.0}))
    drops = [drop for drop in report.drops if drop.key.startswith("sales/x")]
    assert len(drops) == len(numbers)
    for drop in drops:
        assert (drop.rows_read, drop.quarantined) == (1, 1)
        assert "customer_id" in drop.reasons[0].rule


def test_baskets_with_look_alike_ids_are_two(place: Place) -> None:
    place.put_dimensions()
    place.put("sales/x.csv", sales(line("T1"), line("Т1"), line("T1\u200b"), line("t1"), line("T\u0301"), line("T1")))
    report = place.build()
    assert report.totals.duplicates == 0  # the same basket has two equal lines
    assert place.mart("customers")[0][9] == 5


# Names of objects


NAMES = (
    "sales/..%2f..%2fescape.csv",
    "sales/a b'c\"d.csv",
    "sales/<script>alert(1)</script>.csv",
    "sales/$(touch pwned);`touch pwned`.csv",
    "sales/line\nbreak.csv",
    "sales/\x1b[31mred.csv",
    "sales/\u202egpj.csv",
    "sales/month=2024-01/drop=x/file.csv",
    "sales/" + "x" * 200 + ".csv",
    "sales/..csv",
    "sales/.../x.csv",
    "sales/=cmd.csv",
    "sales/%s%n.csv",
)


def test_names_of_objects_lead_nowhere(place: Place, figure: Callable[[str], None]) -> None:
    place.judge = True
    place.put_dimensions()
    for number, name in enumerate(NAMES):
        place.put(name, sales(line(f"T{number}"), f"broken,{number}"))
    before = set(place.folder.parent.rglob("*"))
    report = place.build(policy=place.policy.model_copy(update={"max_bad_ratio": 1.0}))
    created = {path for path in set(place.folder.parent.rglob("*")) - before if path.is_file()}
    assert all(path.is_relative_to(place.folder) for path in created)
    assert {path.relative_to(place.folder).parts[0] for path in created} == {"state", "marts.duckdb"}
    readable = [name for name in NAMES if name.isprintable() and "/." not in name]  # hidden ones are no data
    assert report.totals.clean == len(readable)
    for page in (place.folder / "state/docs").rglob("*.html"):
        assert "<script>" not in page.read_text()
    read = f"{len(readable)} read, the others passed over"
    figure(f"{len(NAMES)} hostile names of objects: {read}; no file outside our folders")


def test_names_of_objects_in_a_bucket_lead_nowhere(place: Place, s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket("hostile-names")
    place.put_dimensions()
    s3_server.upload(place.source, bucket, "in")
    names = [name for name in NAMES if "\n" not in name and "\x1b" not in name]
    for number, name in enumerate(names):
        s3_server.client().put_object(Bucket=bucket, Key=f"in/{name}", Body=sales(line(f"T{number}")).encode())
    place.settings = {"source": f"s3://{bucket}/in", "s3": s3_server.settings}
    report = place.build(policy=place.policy.model_copy(update={"max_bad_ratio": 1.0}))
    listed = [name for name in names if "/." not in name]
    assert report.totals.clean >= len(listed) - 1  # a name with a mark that turns text is passed over


# Sizes


_SCAN = """
import re, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from support.kit import Place
place = Place(Path({folder!r}))
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
import ray.data, duckdb, pyarrow.parquet
before = peak()
report = place.build(policy=place.policy.model_copy(update=dict(max_bad_ratio=1.0)))
import json
drop = next(drop for drop in report.drops if drop.key.startswith("sales/x"))
print(json.dumps(dict(mib=(peak() - before) / 1024, state=drop.state, reason=drop.reason, rows=drop.rows_read,
    quarantined=drop.quarantined, rules=[r.rule for r in drop.reasons])))
"""


def scanned(place: Place) -> dict[str, object]:
    """Build in a process of its own; print the state of the drop, and the memory that it took."""
    script = _SCAN.format(tests=str(Path(__file__).parent.parent), folder=str(place.folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def compressed(place: Place, key: str, parts: Iterator[bytes]) -> None:
    path = place.put(key, b"")
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)


def a_field_of_a_gibibyte() -> Iterator[bytes]:
    yield (SALES + "\n" + line("T1") + '\nT2,1,121,"').encode()
    for _ in range(1024):
        yield b"x" * (1 << 20)
    yield b'",2024-01-10,1,1.00,1,1.00\n' + (line("T3") + "\n").encode()


def a_line_of_zeros() -> Iterator[bytes]:
    yield (SALES + "\n").encode()
    for _ in range(2048):
        yield b"\0" * (1 << 20)


def many_columns() -> Iterator[bytes]:
    names = ",".join(f"c{number}" for number in range(100_000))
    yield f"{SALES},{names}\n".encode()
    for number in range(3):
        yield (line(f"T{number}") + "," * 100_000 + "\n").encode()


def many_columns_with_short_names() -> Iterator[bytes]:
    yield (SALES + "," + ",".join(f"{number:x}" for number in range(100_000)) + "\n").encode()
    yield (line("T1") + ",1" * 100_000 + "\n").encode()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (a_field_of_a_gibibyte, "longer than"),
        (a_line_of_zeros, "binary data"),
        (many_columns, "header"),
        (many_columns_with_short_names, "header"),
    ],
)
def test_what_is_too_large_is_refused_in_little_memory(
    fed: Place, parts: Callable[[], Iterator[bytes]], message: str, figure: Callable[[str], None]
) -> None:
    compressed(fed, "sales/x.csv.gz", parts())
    result = scanned(fed)
    assert message in f"{result['reason']} {result['rules']}"
    assert result["mib"] < 700
    figure(f"{parts.__name__.replace('_', ' ')}: {result['state']}, {result['mib']:.0f} MiB more memory")


@pytest.fixture
def fed(place: Place) -> Place:
    place.put_golden()
    return place
