"""The engine knows no domain: drops, marts and columns are named in their pack only."""

import ast
import io
import re
import tokenize
from pathlib import Path

from support.retail import ALL, KINDS

from marts.packs import SHIPPED

ROOT = Path(__file__).parents[2]
GENERIC = {
    *("id", "name", "state", "address", "price", "quantity", "currency"),
    *("region", "channel", "opened", "returned", "purchases"),
}
"""Columns whose names are words of the engine, too: of S3, of files, and types or settings of a fact."""
WORDS = {
    *KINDS,
    *ALL.marts,
    *(mart.table for mart in ALL.marts.values()),
    *(column.name for table in (*KINDS.values(), *ALL.marts.values()) for column in table.columns),
} - GENERIC


def lines_with_words(path: Path) -> list[int]:
    """Return the lines of code that name a drop, a mart or a column, in any case; not comments and docstrings."""
    source = path.read_text()
    texts = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_code = token.type not in (tokenize.COMMENT, tokenize.NL) and token.start[0] not in texts
        if is_code and WORDS & set(re.findall("[a-z_]+", token.string.lower())):
            lines.add(token.start[0])
    return sorted(lines)


def test_the_engine_names_no_drop_mart_or_column_of_a_pack() -> None:
    every = [path for folder in ("jobs", "marts") for path in sorted((ROOT / folder).rglob("*.py"))]
    modules = [path for path in every if path.parent.name not in SHIPPED]
    modules = [path for path in modules if path.parent.name != "analytics"]  # its customers are those of any pack
    named = {path.relative_to(ROOT).as_posix(): lines_with_words(path) for path in modules}
    assert {name: lines for name, lines in named.items() if lines} == {}


def test_the_pages_name_no_drop_mart_or_column_of_a_pack() -> None:
    templates = sorted(path for end in ("j2", "typ") for path in (ROOT / "jobs").rglob(f"*.{end}"))
    words = {path.name: WORDS & set(re.findall("[a-z_]+", path.read_text().lower())) for path in templates}
    assert templates
    assert {name: named for name, named in words.items() if named} == {}
