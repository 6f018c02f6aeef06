"""The engine knows no domain: drops, marts and columns are named in its pack, and elsewhere less and less.

`domain_lines.json` has the lines of each module that still name one. It may only shrink: a pack is to hold them all.
"""

import ast
import io
import json
import re
import tokenize
from pathlib import Path

from support.retail import KINDS, MARTS

from marts.packs import SHIPPED

ROOT = Path(__file__).parents[2]
ALLOWED = Path(__file__).with_name("domain_lines.json")
GENERIC = {"id", "name", "state", "address", "price", "quantity", "currency"}
"""Columns whose names are words of the engine, too: the last three are types, and a setting of a fact."""
WORDS = {
    *KINDS,
    *MARTS,
    *(mart.table for mart in MARTS.values()),
    *(column.name for table in (*KINDS.values(), *MARTS.values()) for column in table.columns),
} - GENERIC


def lines_with_words(path: Path) -> int:
    """Count the lines of code that name a drop, a mart or a column, in any case; not comments and docstrings."""
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
    return len(lines)


def test_the_engine_names_the_domain_in_no_more_places_than_before() -> None:
    every = [path for folder in ("jobs", "marts") for path in sorted((ROOT / folder).rglob("*.py"))]
    modules = [path for path in every if path.parent.name not in SHIPPED]
    counted = {path.relative_to(ROOT).as_posix(): lines_with_words(path) for path in modules}
    counts = {name: count for name, count in counted.items() if count}
    allowed = json.loads(ALLOWED.read_text())
    assert {name: count for name, count in counts.items() if count > allowed.get(name, 0)} == {}
    assert counts == allowed, "fewer places: write the new counts into domain_lines.json"
