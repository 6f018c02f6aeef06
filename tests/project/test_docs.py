"""The pages of docs/: up to date with the code, their examples run, their links lead somewhere."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from support.kit import Place

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("k8s/**/*.md"), *ROOT.glob("helm/**/*.md")])
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_what_is_taken_from_the_code_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARTS_ANALYTICS")
    monkeypatch.delenv("MARTS_LEAVE_OUT")
    pages: dict[Path, Any] = GENERATE["pages"]()
    assert [path.name for path, text in pages.items() if path.read_text() != text] == [], "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for name, target in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), f"{name}: {target}"
        if anchor and aim.suffix == ".md":
            assert anchor in anchors(aim), f"{name}: {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    names = [path.name for path in ROOT.glob("docs/*.md") if path.name != "README.md"]
    assert [name for name in names if f"({name})" not in index] == []


@pytest.mark.usefixtures("all_marts")
def test_example_queries_run_on_the_golden_case(place: Place) -> None:
    place.put_golden()
    assert place.build().outcome == "published"
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "marts.md").read_text(), re.DOTALL)
    warehouse = place.warehouse(read_only=True)
    try:
        rows = [warehouse.execute(query.strip().rstrip(";")) for query in queries]
    finally:
        warehouse.close()
    assert len(rows) == 9
    assert all(rows)


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
