"""Five made companies of unlike files: from a folder of files to published marts in two commands, without an edit."""

import csv
import gzip
import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from support.kit import marts
from support.servers import S3Server
from support.shop import Shop

from marts.retail.companies import companies

pytestmark = [pytest.mark.usefixtures("small_builds")]
LINES = 1500


@pytest.mark.parametrize("name", list(companies()))
def test_the_files_of_a_company_become_marts_in_two_commands(tmp_path: Path, name: str) -> None:
    marts("generate", "drops", "--lines", str(LINES), "--like", name)
    result = marts("init", "--from", "drops")
    truth = json.loads(Path("drops/_generated.json").read_text())
    built = json.loads(marts("build", "--as-of", truth["as_of"], "--json").stdout)
    totals = built["totals"]
    assert (built["outcome"], totals["rows_read"], totals["quarantined"], totals["duplicates"]) == (
        "published",
        LINES,
        0,
        0,
    )
    assert totals["counted_total"] == truth["total"]
    assert {row["total"] for row in built["marts"] if row["total"] is not None} == {truth["total"]}
    assert re.search(r"of (\d+) rows read from it, \1 fit", result.stderr)
    assert {kind: count for kind, count in built["unknown"].items() if count} == {}


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    for name in companies():
        for folder in ("a", "b"):
            marts("generate", f"{folder}-{name}", "--lines", "1000", "--like", name)
        files = [
            {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
            for root in (Path(f"a-{name}"), Path(f"b-{name}"))
        ]
        assert files[0] == files[1]
    assert "did you mean 'sap'?" in str(marts("generate", "x", "--like", "sapp", code=2).exception)


def test_what_is_ambiguous_is_left_as_a_choice(tmp_path: Path) -> None:
    """Days that are months, too; a comma before three digits; two columns that may be the price."""
    shop = Shop(tmp_path)
    shop.put_dims()
    header = "customer_id,store_id,product_name,sales_date,sales_person_id,unit amount,price each,quantity,total_cost\n"
    shop.put("sales/a.csv", header + '1,1,tea,03/04/2024,11,"1,250","1,250",1,"1,250"\n' * 9)
    output = marts("init", "here", "--from", str(shop.source)).stderr
    written = Path("here/marts.toml").read_text()
    (block,) = [block for block in tomllib.loads(written)["source"] if block["match"] == "sales/**"]
    assert set(block) == {"match"}
    for line in ('# dates = ["%d/%m/%Y"]', '# dates = ["%m/%d/%Y"]', '# decimal = ","', '# thousands = ","'):
        assert line in written
    assert '# columns = {"unit amount" = "price"}' in written
    assert '# columns = {"price each" = "price"}' in written
    assert output.count("to decide in sales/**") == 6
    for line in ('# dates = ["%d/%m/%Y"]', '# thousands = ","', '# columns = {"unit amount"'):
        written = written.replace(line, line.removeprefix("# "))
    Path("here/marts.toml").write_text(written)
    flags = ["--config", "here/marts.toml", "--policy", "here/policy.toml", "--as-of", "2024-12-31"]
    built = json.loads(marts("build", *flags, "--json").stdout)
    assert built["totals"]["counted_total"] == "11250.00"


def test_files_that_need_no_block_get_none_and_unknown_ones_are_named(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put_dims()
    shop.put("sales/a.csv", (shop.source / "customers/c.csv").read_bytes())
    shop.put("other/b.csv", "x,y\n1,2\n")
    shop.put("other/c.pdf", "%PDF-1.7")
    shop.put("other/notes.txt", "some words\n")
    marts("init", "here", "--from", str(shop.source))
    written = Path("here/marts.toml").read_text()
    assert "# customers/c.csv: of 9 rows read from it, 9 fit" in written
    assert [block["match"] for block in tomllib.loads(written).get("source", [])] == ["sales/**"]
    assert "# other/b.csv: no kind of drop has these columns" in written
    assert "# other/c.pdf: it is a PDF document" in written
    assert "# other/notes.txt: it has no fields between delimiters" in written
    assert "has no files" in str(marts("init", "there", "--from", str(tmp_path / "nothing"), code=2).exception)
    assert "already exists" in str(marts("init", "here", "--from", str(shop.source), code=2).exception)


def test_branches_that_write_differently_get_a_block_each(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put_dims()
    header = "customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost\n"
    rows = "".join(f"1,1,tea,2024-01-{day:02},11,12.50,1,12.50\n" for day in range(1, 20))
    shop.put("sales/north/a.csv", header + rows)
    shop.put("sales/south/a.csv", (header + rows.replace("tea", "rice")).replace(",", ";").replace(".", ","))
    marts("init", "here", "--from", str(shop.source))
    blocks = tomllib.loads(Path("here/marts.toml").read_text())["source"]
    assert blocks == [{"match": "sales/south/**", "delimiter": ";", "decimal": ","}]


def test_a_bucket_is_looked_at_too(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket("looked")
    marts("generate", "drops", "--lines", "1000", "--like", "warehouse-unload")
    days = sorted(Path("drops/fact_sales").rglob("*.gz"))
    for path in days[20:]:
        path.unlink()
    s3_server.upload(Path("drops"), bucket, "drops")
    marts("init", "--from", f"s3://{bucket}/drops")
    settings = tomllib.loads(Path("marts.toml").read_text())
    assert settings["drops"]["source"] == f"s3://{bucket}/drops"
    built = json.loads(marts("build", "--as-of", "2025-12-31", "--json").stdout)
    texts = [gzip.decompress(path.read_bytes()).decode().splitlines() for path in days[:20]]
    rows = [row for text in texts for row in csv.DictReader(text, delimiter="|")]
    assert len(rows) == built["totals"]["rows_read"] >= 20
    total = sum(Decimal(row["unit_amount"]) * Decimal(row["units"]) for row in rows)
    assert Decimal(built["totals"]["counted_total"]) == total
