"""Add a rule to a suite in the user's folder."""

import json
from pathlib import Path
from typing import Any

from jobs.config.suites import check_suites, read_file
from marts.errors import UsageError
from marts.pack import Pack
from marts.policy import Policy


def add(pack: Pack, name: str, entry: dict[str, Any], folder: str | None, policy: Policy) -> Path:
    """Add an expectation to a suite in the user's folder, which starts as a copy of the shipped one.

    Raise UsageError if it cannot run; the suite is unchanged then.
    """
    if not folder:
        hint = "set --expectations to your own folder; marts build needs it too, best as `expectations` in marts.toml"
        raise UsageError("the shipped suites cannot be changed", "--expectations", hint)
    Path(folder).mkdir(parents=True, exist_ok=True)
    data, _ = read_file(name, pack, folder)
    data["expectations"].append(entry)
    path = Path(folder) / f"{name}.json"
    before = path.read_bytes() if path.exists() else None
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    try:
        check_suites(pack, folder, policy)
    except UsageError:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        raise
    return path


def parse_arguments(pairs: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; a value is JSON if it is valid JSON, else text."""
    results: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{pair!r} is not NAME=VALUE", "--set")
        try:
            results[name] = json.loads(value)
        except json.JSONDecodeError:
            results[name] = value
    return results
