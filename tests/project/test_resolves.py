"""What CI counts of pip's output: versions per package, whatever pip prints about them."""

import itertools
import runpy
from pathlib import Path

RESOLVES = runpy.run_path(str(Path(__file__).parents[2] / ".ci/resolves.py"))
LINES = """
Collecting boto3 (from martwright==0.1.0)
  Downloading boto3-1.44.7-py3-none-any.whl (140 kB)
  Downloading boto3-1.44.6-py3-none-any.whl.metadata (6.7 kB)
  Using cached boto3-1.44.6-py3-none-any.whl (140 kB)
  Downloading https://host/files/typing-extensions/typing_extensions-4.16.0-py3-none-any.whl (44 kB)
Downloading apprise-2.3.0.tar.gz (2.8 MB)
     ---------- 140.2/140.2 kB 165.3 MB/s eta 0:00:00
"""


def test_each_version_of_a_package_counts_once() -> None:
    assert RESOLVES["versions"](LINES.splitlines(), 5) == {
        "boto3": {"1.44.7", "1.44.6"},
        "typing-extensions": {"4.16.0"},
        "apprise": {"2.3.0"},
    }


def test_counting_stops_at_the_first_package_with_too_many_versions() -> None:
    lines = (f"  Downloading boto3-1.44.{number}-py3-none-any.whl (140 kB)" for number in itertools.count())
    assert len(RESOLVES["versions"](lines, 5)["boto3"]) == 6
