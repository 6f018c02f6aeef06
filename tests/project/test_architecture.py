"""The house stands as it was drawn: SDKs, clock and print have one place each; public names are explained."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted([*ROOT.glob("marts/**/*.py"), *ROOT.glob("jobs/**/*.py")])
HOMES = {
    "ray": {f"jobs/adapters/ray/{name}.py" for name in ("autoscaler", "cluster", "errors", "gauges", "jobs", "tasks")},
    "kubernetes": {"jobs/adapters/kubernetes.py"},
    "yaml": {"jobs/adapters/kubernetes.py"},
    "boto3": {"jobs/adapters/store/bucket.py"},
    "botocore": {"jobs/adapters/store/bucket.py", "jobs/adapters/store/errors.py"},
    "s3fs": {"jobs/adapters/store/bucket.py"},
    "mysql": {
        "jobs/adapters/warehouse/mysql_problems.py",
        "jobs/adapters/warehouse/mysql_session.py",
        "jobs/adapters/warehouse/mysql.py",
    },
    "aiohttp": {"jobs/adapters/store/bucket.py", "jobs/adapters/ray/jobs.py"},
    "stamina": {"jobs/runtime/retries.py"},
    "duckdb": {"jobs/adapters/warehouse/duckdb.py", "marts/compute/engine.py"},
    "typer": {
        f"jobs/cli/{name}.py"
        for name in (
            *("admin", "app", "build", "cluster", "decisions", "expectations", "history", "job", "notify", "options"),
            *("pages", "progress", "quarantine", "secrets", "views"),
        )
    },
    "apprise": {"jobs/adapters/notify.py"},
    "requests": {"jobs/adapters/notify.py", "jobs/adapters/ray/jobs.py"},
    "cryptography": {"jobs/config/sealed.py"},
    "great_expectations": {
        f"jobs/adapters/great_expectations/{name}.py" for name in ("engine", "checkpoint", "library", "pages")
    },
    "jinja2": {"jobs/adapters/great_expectations/pages.py", "jobs/report/templates.py"},
    "altair": {"jobs/adapters/charts.py"},
    "vl_convert": {"jobs/adapters/charts.py"},
    "prometheus_client": {"jobs/adapters/prometheus.py"},
}
WORLD = {"os", "pathlib", "socket", "subprocess", "time", "random", "shutil"}


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in MODULES]


@functools.cache
def imports(tree: ast.AST) -> frozenset[str]:
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


@pytest.mark.parametrize("sdk", HOMES)
def test_an_sdk_is_imported_in_its_adapter_only(sdk: str) -> None:
    assert {name for name, tree in trees() if sdk in imports(tree)} == HOMES[sdk]


def test_the_meaning_of_the_numbers_touches_nothing_of_the_world() -> None:
    found = {(name, used) for name, tree in trees() if name.startswith("marts/") for used in imports(tree)}
    assert {(name, used) for name, used in found if used in WORLD} == set()


def test_the_clock_and_print_are_in_the_command_line_only() -> None:
    for name, tree in trees():
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        used = calls & {"datetime.now", "date.today", "datetime.today", "time.time", "print", "datetime.utcnow"}
        assert used == set() or name.startswith("jobs/cli/"), name


def test_modules_public_classes_and_functions_are_explained() -> None:
    silent = []
    for name, tree in trees():
        if not ast.get_docstring(tree):
            silent.append(name)
        for node in tree.body:
            public = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            short = isinstance(node, ast.FunctionDef) and len(node.body) == 1
            if public and not short and not ast.get_docstring(node):  # type: ignore[arg-type]
                silent.append(f"{name}:{node.name}")  # type: ignore[union-attr]
    assert silent == []


def test_no_exception_is_swallowed_unnamed() -> None:
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                reraises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                # A defect, told with its traceback; what comes after a run, and must not change how it ended.
                last_resort = name in ("jobs/cli/app.py", "jobs/run/lifecycle.py") and caught == "Exception"
                assert caught not in ("everything", "Exception", "BaseException") or reraises or last_resort, name


def test_the_folder_of_secrets_holds_no_code() -> None:
    assert list((ROOT / "secrets").glob("**/*.py")) == []


def test_the_locks_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-tools.lock", "requirements-bench.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text
