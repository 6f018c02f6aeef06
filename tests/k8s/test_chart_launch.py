"""The chart and the program fit: arguments, files, variables, rights; and a rendered template becomes a build."""

import shlex
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charting import SETS, golden, needs_kuberay, of_kind, pods, rayjobs, rendered, rights, variables
from support.kube import kube_api
from support.kuberay import AppFailed, FakeOperator, Ready, Running, Succeeded, terminated
from support.launching import JOB, ME, put_launcher
from typer.testing import CliRunner

from jobs.adapters.kubernetes import Kube, read_manifest
from jobs.cli.app import app
from jobs.launch.launcher import RayJobLauncher, Timeouts, manifest_of, owner_uid, taken_away
from jobs.ports.kubernetes import RayJobRun
from k8s import generate

ROOT = generate.ROOT


def understood(words: list[str]) -> str:
    """Let the command line read arguments, and do nothing. Returns what it has against them."""
    end = words.index("--") if "--" in words else len(words)
    done = CliRunner().invoke(app, [*words[:end], "--help"])
    if done.exit_code:
        return done.output
    return understood(["build", *words[end + 1 :]]) if end < len(words) else ""


@pytest.mark.parametrize("name", SETS)
def test_every_container_runs_a_command_that_exists(name: str) -> None:
    objects = golden(name)
    for where, pod in pods(objects):
        container = pod["spec"]["containers"][0]
        if container.get("command") == ["marts"]:
            assert understood(container["args"]) == "", where
    for job in rayjobs(objects).values():
        program, *words = shlex.split(job["spec"]["entrypoint"])
        assert (program, understood(words)) == ("marts", "")


def test_a_wrong_argument_would_be_seen() -> None:
    assert "No such option" in understood(["launch", "rayjob", "--templates", "x"])
    assert "No such option" in understood(["launch", "local", "--", "--marts", "x"])


class Silent:
    """The jobs of a cluster without logs."""

    def __init__(self, address: str) -> None:
        pass

    def follow(self, name: str) -> Any:
        return iter(())

    def submit(self, *_: Any, **__: Any) -> None:
        raise AssertionError

    def look(self, name: str) -> RayJobRun | None:
        return None

    def log(self, name: str) -> str:
        return ""

    def stop(self, name: str) -> bool:
        return False


@needs_kuberay
@pytest.mark.parametrize("name", [name for name in SETS if rayjobs(golden(name))])
def test_a_rendered_template_becomes_a_build_and_kuberay_drops_nothing_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crds = ROOT.parent / "shared" / "kuberay-crds"
    for job, template in rayjobs(golden(name)).items():
        (tmp_path / f"{job}.yaml").write_text(yaml.safe_dump(template))
        with kube_api(crds=crds) as api:
            monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
            put_launcher(api)
            kube = Kube("marts")
            manifest = manifest_of(read_manifest(tmp_path / f"{job}.yaml"), ME, owner_uid(kube, ME), date(2025, 11, 13))
            with FakeOperator(api, [Ready(), Running(), Succeeded()], delay=0.02):
                ended = RayJobLauncher(kube, ME, manifest, Silent, lambda _: None, Timeouts(every=0.02)).run()
            assert ended.error is None
            (rayjob,) = api.objects("RayJob")
            assert _within(manifest["spec"], rayjob["spec"]) == []
            assert len(rayjob["metadata"]["name"]) <= 47
        used = {(request.verb, request.resource) for request in api.requests}
        assert used <= rights(name, "launcher")


def _within(wanted: Any, actual: Any, where: str = "spec") -> list[str]:
    """Return the names of the fields that were dropped or changed."""
    if isinstance(wanted, dict):
        fields = actual if isinstance(actual, dict) else {}
        missing = [f"{where}.{key}" for key in wanted if key not in fields]
        kept = [key for key in wanted if key in fields]
        return missing + [more for key in kept for more in _within(wanted[key], fields[key], f"{where}.{key}")]
    if isinstance(wanted, list):
        pairs = zip(wanted, actual, strict=True)
        return [more for n, (expected, other) in enumerate(pairs) for more in _within(expected, other, f"{where}[{n}]")]
    return [] if wanted == actual else [f"{where}: {wanted!r} became {actual!r}"]


def test_a_launcher_needs_the_rights_of_its_role_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a build that fails in every way at once: pods, events and logs are read, the RayJob is deleted."""
    used: set[tuple[str, str]] = set()
    with kube_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
        put_launcher(api)
        kube = Kube("marts")
        (template,) = rayjobs(golden("minimal")).values()
        manifest = manifest_of(template, ME, owner_uid(kube, ME), date(2025, 11, 13))

        def crash(operator: FakeOperator, name: str) -> None:
            operator.set_pods(name, terminated("Error", 1), "head")
            api.wait(lambda: any(seen.resource == "pods/log" for seen in api.requests), 30)

        with FakeOperator(api, [crash, Ready(), Running(), AppFailed(exit_code=65)], delay=0.05):
            RayJobLauncher(kube, ME, manifest, Silent, lambda _: None, Timeouts(every=0.02, look=0.01)).run()
        used = {(request.verb, request.resource) for request in api.requests}
    assert used == rights("minimal", "launcher")


def test_a_launcher_on_a_cluster_that_is_there_asks_only_for_its_own_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kube_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
        put_launcher(api)
        assert taken_away(Kube("marts"), ME)
        used = {(request.verb, request.resource) for request in api.requests}
    assert used == rights("submit", "launcher")


def test_pods_find_the_files_that_their_variables_name() -> None:
    for name in SETS:
        for where, pod in pods(golden(name)):
            if not pod["spec"]["containers"][0].get("env"):
                continue
            environment = variables(pod["spec"]["containers"][0])
            assert environment.get("MARTS_SECRETS__KEY_FILE", "").endswith("/key.pem"), where
            if environment.get("RAY_AUTH_MODE"):
                assert environment["RAY_AUTH_TOKEN_PATH"].endswith("/auth_token"), where


def test_the_name_of_a_job_is_what_the_launcher_reads() -> None:
    (job,) = [each for each in of_kind(rendered(), "CronJob").values() if each["metadata"]["name"].endswith("daily")]
    environment = variables(job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0])
    fields = {key: value["fieldRef"]["fieldPath"] for key, value in environment.items() if isinstance(value, dict)}
    assert fields == {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "JOB_NAME": "metadata.labels['batch.kubernetes.io/job-name']",
    }
    assert JOB.startswith("marts-daily-")
