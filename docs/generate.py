"""Write the parts of docs/ that restate the code: packages and their order, columns of the marts, the command line.

`python docs/generate.py` writes them; with --check it names those that are not up to date, and ends with 1.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
_TYPES = {
    "id": "whole number",
    "count": "whole number",
    "month": "text, `YYYY-MM`",
    "money": "DECIMAL(18,2)",
    "rate": "DECIMAL(14,2)",
    "percent": "DECIMAL(5,2)",
    "decimal4": "DECIMAL(18,4)",
    "decimal6": "DECIMAL(18,6)",
    "version": "DECIMAL(38,0)",
    "date": "date",
    "time": "timestamp",
    "flag": "TRUE or FALSE",
}


def main(arguments: list[str]) -> int:
    """Write the files, or compare them."""
    stale = []
    for path, text in pages().items():
        if path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"{', '.join(stale)}: not up to date, run `make docs`")
        return 1
    return 0


def pages() -> dict[Path, str]:
    """Return each page as it should be."""
    architecture = DOCS / "architecture.md"
    return {
        architecture: _filled(
            _filled(architecture.read_text(encoding="utf-8"), "packages", packages()), "sdks", sdks()
        ),
        DOCS / "marts.md": _of_pack("marts.md", "retail", "the day up to which sales count"),
        DOCS / "analytics.md": _of_pack("analytics.md", "retail", "the day up to which sales count"),
        DOCS / "banking.md": _of_pack("banking.md", "banking", "the day up to which transactions count"),
        DOCS / "cli.md": cli(),
    }


def _filled(page: str, name: str, text: str) -> str:
    """Replace what is between the marks of a name."""
    start, end = f"<!-- generated: {name} -->", "<!-- end -->"
    pattern = f"{re.escape(start)}.*?{re.escape(end)}"
    assert re.search(pattern, page, re.DOTALL), f"no mark {start}"
    return re.sub(pattern, lambda _: f"{start}\n{text}\n{end}", page, count=1, flags=re.DOTALL)


def _project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def packages() -> str:
    """Return the packages from top to bottom, each with its sentence; a package imports only from below."""
    contracts = _project()["importlinter"]["contracts"]  # type: ignore[index,call-overload]
    jobs, marts = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = ["| package | modules | what it is |", "|---|---|---|"]
    for layer in [*jobs[:-1], *marts]:
        names = re.split(r" [|:] ", layer)
        rows += [f"| `{name.replace('.', '/')}` | {_modules(name)} | {_about(name)} |" for name in names]
    return "\n".join(rows)


def _modules(name: str) -> str:
    folder = ROOT / name.replace(".", "/")
    if not folder.is_dir():
        return ""
    return ", ".join(sorted(path.stem for path in folder.iterdir() if _is_module(path)))


def _is_module(path: Path) -> bool:
    return (path.suffix == ".py" or (path / "__init__.py").is_file()) and not path.name.startswith("_")


def _about(name: str) -> str:
    path = ROOT / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")


def sdks() -> str:
    """Return the one place of each library that touches the world."""
    homes = _project()["martwright"]["sdks"]  # type: ignore[index,call-overload]
    rows = ["| library | imported only in |", "|---|---|"]
    return "\n".join(
        [*rows, *(f"| {sdk} | {', '.join(f'`{home}`' for home in where)} |" for sdk, where in homes.items())]
    )


def _of_pack(page: str, pack: str, as_of: str) -> str:
    """Return a page of a pack with the columns of each of its marts that it has marks for."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, table in tables(pack, as_of).items():
        text = _filled(text, name, table) if f"generated: {name} -->" in text else text
    return text


def tables(pack: str, as_of: str) -> dict[str, str]:
    """Return the columns of each mart of a pack, by its table; ``as_of`` is the meaning of as_of_date."""
    from marts.packs import shipped

    found = {}
    for mart in shipped(pack).marts.values():
        rows = ["| column | meaning | type | NULL |", "|---|---|---|---|"]
        for column in mart.columns:
            name = f"**`{column.name}`**" if column.name in mart.key else f"`{column.name}`"
            type_ = _TYPES.get(column.type) or f"text, at most {column.max_length} characters"
            rows.append(f"| {name} | {column.help} | {type_} | {column.null_when or 'never'} |")
        rows += [
            "| `run_id` | the run that published the row | text | never |",
            f"| `as_of_date` | {as_of} | date | never |",
        ]
        found[mart.table] = "\n".join(rows)
    return found


def cli() -> str:
    """Return every command with its options, at the end those of the packs that are not the default."""
    from jobs.cli.app import app
    from jobs.cli.views import view_commands
    from marts.packs import SHIPPED

    lines = [
        "# Command line",
        "",
        "Generated from `--help` of each command, at the end those of the [banking pack](banking.md).",
        "[Exit codes](configuration.md#exit-codes).",
        "",
    ]
    commands = dict(_commands(typer.main.get_command(app), "marts"))
    for pack in SHIPPED:
        for name, group in view_commands(("--pack", pack)).items():
            commands |= dict(_commands(group, f"marts {name}"))
    for path, command in commands.items():
        context = command.context_class(command, info_name=path)
        lines += [f"## {path}", "", " ".join((command.help or "").split()), ""]
        lines += [f"    {path} {' '.join(command.collect_usage_pieces(context))}".rstrip(), ""]
        records = [
            record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))
        ]
        records = [(name, help_) for name, help_ in records if "--help" not in name]
        if records:
            lines += ["| option | meaning |", "|---|---|"]
            lines += [f"| `{name}` | {help_.replace('|', ',')} |" for name, help_ in records] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group, and of its groups, in the order of --help."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        inner = command.get_command(None, name)
        if not inner.hidden:
            yield from _commands(inner, f"{path} {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
