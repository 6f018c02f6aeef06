"""Render the README's picture, docs/demo.svg, from a real run of the demo: `python bench/picture.py`."""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent.parent / "docs" / "demo.svg"
LEADERS = 5
FONTS = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).parent / "marts"), "demo"]
        shown = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    lines = shown.replace(folder, "~").splitlines()
    last = next(number for number, line in enumerate(lines) if line.startswith("leaders of")) + 1 + LEADERS
    console = Console(record=True, width=104, file=io.StringIO(), highlight=False)
    console.print(Text("$ make demo", style="bold"))
    for line in [*lines[: last + 1], "…"]:
        titles = line.startswith(("run ", "sales", "marts", "top customers", "leaders"))
        console.print(Text(line.rstrip(), style="bold" if titles and not set("_/") & set(line) else ""))
    # Remove web fonts, so that the picture loads nothing.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title="martwright", code_format=template)
    svg = svg.replace("Fira Code", FONTS).replace("<!-- Generated with Rich https://www.textualize.io -->", "")
    # Preserve white space, so that every viewer keeps the columns apart.
    PICTURE.write_text(svg.replace("<text ", '<text xml:space="preserve" '), encoding="utf-8")


if __name__ == "__main__":
    main()
