"""Names are nouns and verbs of the trade: no name in jobs/, marts/ or tests/ is a word that says nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
EMPTY = {
    *("found", "one", "made", "said", "told", "there", "mine", "shown", "gone", "twice", "theirs", "ours"),
    *("those", "these", "come", "came"),
}
COLUMNS = {("jobs/ports/records.py", "gone"), ("jobs/steps/planned.py", "gone"), ("jobs/steps/resolve.py", "gone")}
"""A column of marts_drops, and what becomes it."""


def names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module assigns, defines or takes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def test_names_say_something() -> None:
    wrong = [
        (module, name)
        for path in sorted([*ROOT.glob("jobs/**/*.py"), *ROOT.glob("marts/**/*.py"), *ROOT.glob("tests/**/*.py")])
        if "golden" not in path.parts  # the oracle was given, and stays as it is
        for name in names(ast.parse(path.read_text()))
        if name.strip("_") in EMPTY and (module := path.relative_to(ROOT).as_posix(), name) not in COLUMNS
    ]
    assert wrong == []
