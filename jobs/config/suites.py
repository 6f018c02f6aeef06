"""Find and read suites: the shipped ones, overridden file by file by the user's folder."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from marts.errors import UsageError
from marts.pack import Kind, Mart, Pack
from marts.policy import Policy, nearest
from marts.quality.rules import Suite
from marts.quality.suite_reader import policy_parameters, read_suite

MART_PARAMETERS = ("counted_total_low", "counted_total_high", "row_count_floor")
"""Parameters of mart suites besides those of the policy; known once the rows are computed."""
_NO_RULES = '{"expectations": []}'
"""Suite of a drop or mart for which a pack of a folder has none: the rules of its columns hold in any case."""
_HERE = Path(__file__).parent.parent


def load_suites(pack: Pack, folder: str | None, policy: Policy) -> dict[str, Suite]:
    """Read the suite of each kind of drop. Raise UsageError with the file and the invalid entry."""
    parameters = tuple(policy_parameters(pack, policy).items())
    texts = {name: _text_of(name, pack, folder) for name in pack.kinds}
    return {name: _of_drops(kind, *texts[name], parameters, policy) for name, kind in pack.kinds.items()}


@lru_cache(64)
def _of_drops(kind: Kind, text: str, where: str, parameters: tuple[tuple[str, Any], ...], policy: Policy) -> Suite:
    """Parse a suite. Cached by its text, because some commands need it more than once."""
    return read_suite(_parsed(text, where), kind, where, dict(parameters), policy)


def load_mart_suite(pack: Pack, mart: Mart, folder: str | None, policy: Policy, results: Mapping[str, Any]) -> Suite:
    """Read the suite of a mart; ``results`` contains the values of `MART_PARAMETERS`."""
    data, where = read_file(mart.table, pack, folder)
    return read_suite(data, mart, where, {**policy_parameters(pack, policy), **results})


def check_suites(pack: Pack, folder: str | None, policy: Policy) -> dict[str, Suite]:
    """Read all suites. Raise UsageError for an invalid one, or a file of none."""
    require_suites(pack, folder)
    of_marts = {mart.table: mart for mart in pack.marts.values()}
    unknown = dict.fromkeys(MART_PARAMETERS, 0)
    marts = {name: load_mart_suite(pack, mart, folder, policy, unknown) for name, mart in of_marts.items()}
    return {**load_suites(pack, folder, policy), **marts}


def require_suites(pack: Pack, folder: str | None) -> None:
    """Raise UsageError for a file of no suite: a misspelt name must not be silently ignored."""
    known = [*pack.kinds, *(mart.table for mart in pack.marts.values())]
    folders = [Path(folder)] if folder else []
    folders += [Path(pack.folder) / "expectations"] if pack.folder else []
    for path in (path for place in folders for path in sorted(place.glob("*.json"))):
        if path.stem not in known:
            hint = f"rename it: suites have the names of drops, and of tables in the database: {', '.join(known)}"
            raise UsageError(f"does not have the name of a suite{nearest(path.stem, known)}", str(path), hint)


def read_file(name: str, pack: Pack, folder: str | None) -> tuple[Any, str]:
    """Return the JSON of a suite and the path of its file."""
    text, where = _text_of(name, pack, folder)
    return _parsed(text, where), where


def _text_of(name: str, pack: Pack, folder: str | None) -> tuple[str, str]:
    path = suite_path(name, pack, folder)
    if pack.folder and not path.is_file():
        return _NO_RULES, str(path)
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise UsageError(f"is not UTF-8: {error}", str(path)) from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON: {error}", where) from error


def suite_path(name: str, pack: Pack, folder: str | None) -> Path:
    """Return the user's file of a suite if it exists, else that of the pack."""
    if folder and not Path(folder).is_dir():
        raise UsageError("is not a folder", folder, "--expectations names a folder of suites, NAME.json")
    own = Path(folder) / f"{name}.json" if folder else None
    of_pack = Path(pack.folder) / "expectations" if pack.folder else shipped() / pack.name
    return own if own and own.is_file() else of_pack / f"{name}.json"


def shipped() -> Path:
    """Return the folder of the shipped suites, by pack: beside the packages in a checkout, inside them in a wheel."""
    inside = _HERE / "expectations"
    return inside if inside.is_dir() else _HERE.parent / "expectations"
