"""Check that pip resolves the dependencies of a wheel without the lock: `python .ci/resolves.py WHEEL`.

It is the pip of that python; nothing is installed, and nothing of its cache is used. Ends with 1 as soon as pip tries a
package in more than MOST versions: it then walks through versions that cannot fit, for many minutes, and the bounds in
pyproject.toml are to be mended.
"""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable

MOST = 5
_TRIED = re.compile(
    r"\s*(?:Downloading|Using cached) (?:\S*/)?(?P<file>\S+?\.(?:whl|tar\.gz|zip))(?:\.metadata)?(?:\s|$)"
)


def tried(file: str) -> tuple[str, str]:
    """Return the package and the version of a distribution, by the name of its file."""
    if file.endswith(".whl"):
        name, version = file.split("-")[:2]
    else:
        name, _, version = re.sub(r"\.(tar\.gz|zip)$", "", file).rpartition("-")
    return re.sub(r"[-_.]+", "-", name).lower(), version


def versions(lines: Iterable[str], most: int) -> dict[str, set[str]]:
    """Return the versions that pip tried of each package; stops at the first of which it tried more than ``most``."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        match = _TRIED.match(line)
        if match:
            name, version = tried(match["file"])
            found[name].add(version)
            if len(found[name]) > most:
                break
    return found


def main(wheel: str) -> int:
    """Let pip resolve, and say how many versions it tried."""
    options = ["--dry-run", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off"]
    command = [sys.executable, "-m", "pip", "install", *options, wheel]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout
        said: list[str] = []
        found = versions((said.append(line) or line for line in pip.stdout), MOST)
        worst = max(found, key=lambda name: len(found[name]), default="")
        if worst and len(found[worst]) > MOST:
            pip.kill()
            shown = ", ".join(sorted(found[worst]))
            print(f"error: pip tries {worst} in more than {MOST} versions ({shown})", file=sys.stderr)
            print("\nhint: give it, or what depends on it, bounds in pyproject.toml that fit", file=sys.stderr)
            return 1
    if pip.returncode or not found:
        print("".join(said[-20:]), "error: pip does not resolve the wheel", sep="\n", file=sys.stderr)
        return 1
    print(f"pip resolves {len(found)} packages; of none it tries more than {len(found[worst])} versions ({worst})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
