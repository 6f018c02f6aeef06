"""`marts sources try`: the first rows as a build reads them, which block holds, and the way out."""

import json
from pathlib import Path

import pytest
from support.kit import marts
from support.servers import S3Server

HEADER = "customer_id,store_id,product_name,sales_date,sales_person_id,price,quantity,total_cost"
ROWS = "1,1,tea,31/01/2024,11,12.50,1,12.50\n2,2,tea,2024-02-01,12,12.50,2,25.00\n"


def put(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def test_rows_that_do_not_fit_are_listed_with_the_setting_that_reads_them() -> None:
    path = put("drops/sales/north/a.csv", f"{HEADER}\n{ROWS}")
    output = marts("sources", "try", path, code=65).stdout
    assert "sales/north/a.csv: sales; no [[source]] block matches" in output
    assert "read as utf-8, delimiter comma" in output
    assert "of 2 rows read, 1 fit and 1 do not" in output
    assert "sales_date is not an ISO date: 31/01/2024" in output
    assert 'write a [[source]] block with match = "sales/north/**" and dates = ["%d/%m/%Y"]' in " ".join(output.split())


def test_the_block_that_holds_and_its_number_are_shown() -> None:
    put(
        "marts.toml",
        """[drops]
source = "drops"
[[source]]
match = "customers/**"
[[source]]
match = "sales/**"
dates = ["%d/%m/%Y", "%Y-%m-%d"]
""",
    )
    path = put("drops/sales/a.csv", f"{HEADER}\n{ROWS}")
    result = json.loads(marts("sources", "try", path, "--limit", "1", "--json").stdout)
    assert (result["block"], result["match"], result["kind"], result["key"]) == (2, "sales/**", "sales", "sales/a.csv")
    assert (result["read"], result["bad"], len(result["rows"])) == (2, 0, 1)
    assert {name: result["rows"][0][name] for name in ("sales_date", "price", "total_cost")} == {
        "sales_date": "2024-01-31",
        "price": "12.5",
        "total_cost": "12.5",
    }
    assert ["price", "price", "price"] in result["columns"]


def test_a_file_that_cannot_be_read_is_reported_with_why_and_what_to_write() -> None:
    path = put("drops/sales/a.csv", f"{HEADER}\n{ROWS}".replace(",", ";"))
    output = " ".join(marts("sources", "try", path, code=65).stdout.split())
    assert "error: its delimiter is a semicolon, not a comma" in output
    assert 'hint: write a [[source]] block with match = "sales/**" and delimiter = ";"' in output


def test_a_file_anywhere_needs_its_kind() -> None:
    path = put("export.csv", f"{HEADER}\n{ROWS}")
    refused = marts("sources", "try", path, code=2).exception
    assert "the kind of drop is not known" in str(refused)
    assert "unknown kind 'sale'; did you mean 'sales'?" in str(
        marts("sources", "try", path, "--kind", "sale", code=2).exception
    )
    assert "1 fit" in marts("sources", "try", path, "--kind", "sales", code=65).stdout
    assert "no such file" in str(marts("sources", "try", "nothing.csv", "--kind", "sales", code=2).exception)


def test_an_object_in_s3_is_tried_too(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket("tried")
    s3_server.client().put_object(Bucket=bucket, Key="retail/sales/a.csv", Body=f"{HEADER}\n{ROWS}".encode())
    address = f"s3://{bucket}/retail"
    output = marts("sources", "try", f"{address}/sales/a.csv", "--source", address, code=65).stdout
    assert "sales/a.csv: sales; no [[source]] block matches" in output
    assert "of 2 rows read, 1 fit and 1 do not" in output
