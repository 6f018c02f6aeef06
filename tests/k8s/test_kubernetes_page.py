"""The commands of docs/kubernetes.md, by the real kubectl and helm, against the API server of the tests."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.charting import golden, of_kind
from support.kit import marts
from support.kube import KubeApi, kube_api

from jobs.cli.app import app
from k8s import generate, helm

PAGE = (generate.ROOT / "docs" / "kubernetes.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    with kube_api(open_to_kubectl=True) as server:
        objects = golden("minimal")
        one_off = of_kind(objects, "ConfigMap")["martwright-one-off"]
        for each in (*of_kind(objects, "CronJob").values(), one_off):
            each["metadata"]["namespace"] = "marts"
            server.put(each)
        yield server


def command(number: int) -> str:
    """Return one of the ten."""
    text = BLOCKS[0].partition(f"# {number}. ")[2].partition("\n# ")[0]
    return text.partition("\n")[2]


def run(script: str, api: KubeApi, folder: Path) -> str:
    """Run a script as it stands; only that kubectl does not check what it creates: our server has no OpenAPI."""
    script = script.replace("kubectl create -f -", "kubectl create --validate=false -f -")
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(helm.program(name))
    outside = {**os.environ, "KUBECONFIG": str(api.kubeconfig(folder / "kubeconfig")), "HOME": str(folder)}
    outside["PATH"] = f"{programs}{os.pathsep}{outside['PATH']}"
    words = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(words, env=outside, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_ten() -> None:
    assert re.findall(r"^# (\d+)\. ", BLOCKS[0], re.MULTILINE) == [str(n) for n in range(1, 11)]


def test_a_day_is_built_again_by_its_variable(api: KubeApi, tmp_path: Path) -> None:
    run(command(8), api, tmp_path)
    (job,) = api.objects("Job")
    environment = {
        variable["name"]: variable.get("value") for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert job["metadata"]["name"].startswith("day-again-")
    assert environment["MARTS_AS_OF"] == "2025-11-20"
    assert job["metadata"]["labels"]["martwright.io/command"] == "build", "the watchdog looks after it, too"


def test_builds_are_suspended_and_go_on(api: KubeApi, tmp_path: Path) -> None:
    run(command(9), api, tmp_path)
    assert (api.get("CronJob", "martwright-daily") or {})["spec"]["suspend"] is True
    run(command(9).replace("true", "false"), api, tmp_path)
    assert (api.get("CronJob", "martwright-daily") or {})["spec"]["suspend"] is False


def test_the_job_of_any_command_is_written_for_kubectl_too(
    api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
    manifest = tmp_path / "job.yaml"
    manifest.write_text(marts("job", "-n", "marts", "--dry-run", "--", "status").output)
    run(f"kubectl create -f - -n marts < {manifest}", api, tmp_path)
    (job,) = api.objects("Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["status"]


def test_each_command_of_the_page_is_one_that_a_job_runs() -> None:
    commands = [
        shlex.split(text.partition("#")[0])[0] for text in re.findall(r"marts job (?:-n marts )?-- ([^`|\n]+)", PAGE)
    ]
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.name for group in app.registered_groups}
    assert len(commands) > 5
    assert set(commands) <= known | groups


def test_the_four_values_of_the_page_are_those_of_the_chart(tmp_path: Path) -> None:
    words = re.findall(r"--set (\S+)", command(4))
    text = helm.render(generate.CHART, [], *(part for word in words for part in ("--set", word)))
    assert "kind: CronJob" in text
    assert len(words) == 4
    upgrade = command(10).split()
    assert upgrade[:3] == ["helm", "upgrade", "martwright"]
    assert "--reset-then-reuse-values" in helm.run("upgrade", "--help").stdout


def test_the_names_of_the_page_are_those_of_the_chart() -> None:
    names = set(of_kind(golden("minimal"), "CronJob"))
    assert set(re.findall(r"cronjob[/ ](martwright-[a-z]+)", PAGE)) <= names
    assert json.loads(re.findall(r"-p '(\{.*?\})'", PAGE)[0]) == {"spec": {"suspend": True}}
