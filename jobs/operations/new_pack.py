"""Write a pack to begin with: a folder that builds."""

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from marts.errors import UsageError


def write(folder: Path) -> list[Path]:
    """Write a pack of a folder's name, with example drops. Raise UsageError if the folder is not empty."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError("is not empty", str(folder), "choose another folder or remove it first")
    name = re.sub(r"[^a-z0-9]+", "_", folder.absolute().name.lower()).strip("_")
    if not re.match("[a-z]", name):
        raise UsageError("gives no name of a pack: it has no letter at its start", str(folder), "choose another name")
    written = []
    for path, text in _template(files("marts").joinpath("new_pack")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.replace("$name", name[:64]), encoding="utf-8")
        written.append(folder / path)
    return written


def _template(folder: Traversable, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file of the template."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _template(item, f"{above}{item.name}/")
        else:
            yield f"{above}{item.name}", item.read_text(encoding="utf-8")
