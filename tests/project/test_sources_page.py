"""The cookbook of docs/sources.md: each file, read with the block beside it, has the same two sales."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from support.shop import Shop

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
ENTRY = re.compile(r"^### (.+?)\n+```text\n(.*?)```\n+```toml\n(.*?)```", re.MULTILINE | re.DOTALL)
ENTRIES = ENTRY.findall(PAGE)


def test_the_page_has_an_entry_for_each_kind_of_file() -> None:
    assert len(ENTRIES) == PAGE.count("\n### ") >= 7


@pytest.mark.usefixtures("small_builds")
@pytest.mark.parametrize(("title", "text", "block"), ENTRIES, ids=[title for title, _, _ in ENTRIES])
def test_an_entry_of_the_cookbook_is_read_as_it_says(tmp_path: Path, title: str, text: str, block: str) -> None:
    shop = Shop(tmp_path, config_text=block)
    shop.put_dims()
    shop.put("sales/a.csv", text.encode("cp1252" if "cp1252" in block else "utf-8"))
    built = shop.built()
    assert built.code == 0, built.text
    assert shop.sums() == (Decimal("1037.50"), Decimal("1037.50"))
    assert {str(row[4]) for row in shop.mart("customers")} == {"2024-01", "2024-02"}
    tried = shop.command("sources", "try", str(shop.source / "sales/a.csv"))
    assert "of 2 rows read, 2 fit and 0 do not" in tried.stdout
    assert "[[source]] block 1" in tried.stdout
