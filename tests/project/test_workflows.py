"""The workflows, the project's and the example for users: pinned, with few rights, and of commands that exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from jobs.cli.app import app

ROOT = Path(__file__).parents[2]
FILES = [*sorted(ROOT.glob(".github/workflows/*.y*ml")), ROOT / "docs" / "examples" / "github-actions.yaml"]
Step = dict[str, Any]


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded = yaml.safe_load(request.param.read_text())
    # In YAML 1.1 a bare `on` is true.
    loaded["on"] = loaded.pop(True, None) or loaded.pop("on", None)
    return dict(loaded)


def steps(workflow: dict[str, Any]) -> Iterator[Step]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def scripts(workflow: dict[str, Any]) -> str:
    """Return all that shells run, without comments, a command to a line."""
    text = "\n".join(step["run"] for step in steps(workflow) if "run" in step)
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE).replace("\\\n", " ")


def commands() -> dict[str, set[str]]:
    """Return the commands of `marts`, each with those below it."""
    group = typer.main.get_command(app)
    return {name: set(getattr(command, "commands", {})) for name, command in group.commands.items()}  # type: ignore[attr-defined]


def test_the_workflows_are_the_projects_and_an_example() -> None:
    assert [path.name for path in FILES] == ["ci.yaml", "release.yaml", "github-actions.yaml"]


def test_it_declares_when_it_runs_and_each_job_where_and_how_long(workflow: dict[str, Any]) -> None:
    assert workflow["on"]
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] > 0, name
        runners = [entry["runner"] for entry in job.get("strategy", {}).get("matrix", {}).get("include", [])]
        for runner in runners or [job["runs-on"]]:
            assert re.fullmatch(r"ubuntu-\d\d\.04(-arm)?", runner), name
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(workflow["jobs"]), name


def test_it_reads_only_unless_a_job_declares_more(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        more = {right for right, level in job.get("permissions", {}).items() if level == "write"}
        assert more <= {"contents", "packages", "id-token", "attestations"}, name
        text = yaml.safe_dump(job)
        assert ("packages" in more) == ("ghcr.io" in text and "login" in text), name
        assert "contents" not in more or "gh release create" in text, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_to_commits_with_their_version_beside(path: Path) -> None:
    """Whoever owns an action, or its repository, can move a tag: it would run with our rights to publish."""
    used = re.findall(r"uses: (.*)", path.read_text())
    assert len(used) > 3
    assert [name for name in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", name)] == []


def test_an_action_is_the_same_commit_everywhere() -> None:
    used = {name for path in FILES for name in re.findall(r"uses: (.*)", path.read_text())}
    assert len({name.partition("@")[0] for name in used}) == len(used)


def test_a_checkout_leaves_no_token_behind(workflow: dict[str, Any]) -> None:
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_shells_take_values_from_the_environment_and_print_no_secret(workflow: dict[str, Any]) -> None:
    for step in steps(workflow):
        script = step.get("run", "")
        assert "${{" not in script, "whoever names a branch would write a part of the script"
        assert "set -x" not in script
        hidden = [name for name, value in step.get("env", {}).items() if "secrets." in str(value)]
        for line in script.splitlines():
            assert not re.search(r"\b(echo|printf|cat|tee)\b.*\$\{?(" + "|".join(hidden or ["-"]) + r")\b", line), line


def test_secrets_are_the_token_of_the_run_and_no_stored_one() -> None:
    for path in FILES:
        assert set(re.findall(r"(?<!/)secrets\.(\w+)", path.read_text())) <= {"GITHUB_TOKEN"}, path.name


def test_each_target_of_make_exists(workflow: dict[str, Any]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", scripts(workflow))) <= targets


def test_each_push_is_tested_and_its_image_tried_with_nothing_left_out() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    assert jobs["env"]["CI"] == "true"
    run = scripts(jobs)
    assert ".ci/run" in run
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "--preserve-env=CI make image" in run


@pytest.mark.parametrize("name", ["ci.yaml", "release.yaml"])
def test_whoever_tests_on_mysql_can_verify_its_packages(name: str) -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())["jobs"]
    run = {job: scripts({"jobs": {job: definition}}) for job, definition in jobs.items()}
    tests = [job for job, text in run.items() if re.search(r"make test|\.ci/run", text)]
    assert "test" in tests
    for job in tests:
        assert "debian-archive-keyring" in run[job]
        assert any("DEBIAN_MIRROR" in step.get("env", {}) for step in jobs[job]["steps"])


def test_each_command_of_marts_exists() -> None:
    known = commands()
    invocations = []
    for path in FILES:
        text = scripts(yaml.safe_load(path.read_text()))
        calls = re.findall(r'(?m)^\s*marts ([a-z-]+)(?: ([a-z-]+))?|"\$TRIAL" ([a-z-]+)', text)
        invocations += [(first or image, second) for first, second, image in calls]
    assert {first for first, _ in invocations} >= {"demo", "expectations", "secrets"}
    for first, second in invocations:
        assert first in known, first
        assert not known[first] or second in known[first], (first, second)


def test_the_release_finds_the_base_in_the_dockerfile() -> None:
    release = scripts(yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text()))
    base = re.search(r"sed -n '(s/\^ARG BASE=//p)'", release)
    assert base
    assert re.search(r"^ARG BASE=\S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_what_is_pushed_is_tried_before_and_signed_and_verified_after() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text())["jobs"]
    build = jobs["build"]["steps"]
    assert [entry["arch"] for entry in jobs["build"]["strategy"]["matrix"]["include"]] == ["amd64", "arm64"]
    pushed = next(step for step in build if step.get("id") == "push")["with"]
    assert (pushed["sbom"], pushed["provenance"]) == (True, "mode=max")
    # What is pushed has no tag yet; it is tried and scanned by its digest, and the same digest gets the tag.
    assert "push-by-digest=true" in pushed["outputs"]
    assert "tags" not in pushed
    digest = "steps.push.outputs.digest"
    uses = [str(step) for step in build if digest in str(step)]
    for step, word in zip(uses, ("docker run", "scan-action", "GITHUB_OUTPUT"), strict=True):
        assert word in step
    assert jobs["image"]["needs"] == "build"
    assert set(jobs["build"]["outputs"]) == {"amd64", "arm64"}
    tag, sign = jobs["image"]["steps"][-2:]
    assert set(tag["env"].values()) == {f"${{{{ needs.build.outputs.{arch} }}}}" for arch in ("amd64", "arm64")}
    assert "imagetools create --tag" in tag["run"]
    assert sign["env"] == {"IMAGE": "${{ steps.tag.outputs.image }}"}
    for job in ("image", "chart"):
        text = str(jobs[job])
        assert "cosign sign --yes" in text
        assert "cosign verify" in text


def test_each_push_builds_on_kind_by_the_steps_that_people_read() -> None:
    kind = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())["jobs"]["kind"]
    run = scripts({"jobs": {"kind": kind}})
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "k8s" / "dev" / "README.md").read_text(), re.DOTALL)
    steps_read = [line.partition("  #")[0].strip() for line in block.splitlines()]
    left_out = [step for step in steps_read if step not in run]
    # The chart instead of what is rendered of it, another name of the Job, and nobody who watches.
    assert [step.split("martwright-daily")[0].strip() for step in left_out] == [
        "kubectl apply -f k8s/dev/martwright.yaml",
        "kubectl -n marts-dev create job --from=cronjob/",
        "kubectl -n marts-dev get pods --watch",
    ]
    assert "helm install martwright helm/martwright -n marts-dev -f k8s/dev/values.yaml" in run
    assert 'grep \'"outcome": "published"\' build.log' in run


def test_what_is_locked_and_what_is_pushed_is_looked_up_in_lists_of_vulnerabilities() -> None:
    pushed = scripts(yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text()))
    assert re.search(r"pip-audit==\S+ --require-hashes .*--requirement requirements.lock", pushed)
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text())
    (scan,) = (step for step in steps(release) if "scan-action" in step.get("uses", ""))
    assert (scan["with"]["fail-build"], scan["with"]["severity-cutoff"]) == (True, "high")


def test_dependabot_looks_after_actions_packages_and_the_base() -> None:
    configuration = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    assert {each["package-ecosystem"] for each in configuration["updates"]} == {"github-actions", "pip", "docker"}
