"""A pack from nothing: the commands of docs/packs.md, as a reader types them, and what `marts pack new` refuses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
from support.kit import marts

PAGE = Path(__file__).parents[2] / "docs/packs.md"


def test_the_commands_of_the_page_build_a_pack_and_a_mart_of_its_own(tmp_path: Path) -> None:
    start = PAGE.read_text().partition("## In ten minutes")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", start, re.DOTALL)
    assert len(blocks) == 2
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "set -e\n" + "\n".join(blocks)
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "pack mine: all fits" in ran.stdout
    with duckdb.connect(str(tmp_path / "mine.duckdb"), read_only=True) as database:
        query = "SELECT month, accounts, amount::VARCHAR FROM month_totals ORDER BY month"
        assert database.execute(query).fetchall() == [("2024-01", 2, "112.40"), ("2024-02", 2, "-2.90")]
        query = "SELECT account_id, name, total::VARCHAR, active FROM account_totals WHERE month = '2024-02'"
        assert database.execute(f"{query} ORDER BY 1").fetchall() == [
            (2, "Bo", "90.00", True),
            (3, "Cy", "7.00", False),
        ]


def test_a_pack_has_the_name_of_its_folder_and_overwrites_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "My Pack-2"
    marts("pack", "new", str(folder))
    assert 'name = "my_pack_2"' in (folder / "pack.toml").read_text()
    assert "my_pack_2: all fits" in marts("pack", "check", str(folder)).stdout
    (folder / "pack.toml").write_text("mine")
    assert "is not empty" in str(marts("pack", "new", str(folder), code=2).exception)
    assert (folder / "pack.toml").read_text() == "mine"
    assert "no letter at its start" in str(marts("pack", "new", str(tmp_path / "2024"), code=2).exception)
