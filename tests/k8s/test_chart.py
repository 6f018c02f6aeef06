"""What the Helm chart renders, by the real helm: for each version of Kubernetes, for KubeRay, and as it was meant."""

import json
import re
import tarfile
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import charting, kit
from support.charting import (
    CHART,
    MINIMAL,
    SETS,
    VERSIONS,
    command,
    golden,
    object_named,
    of_kind,
    pod_of,
    rayjobs,
    rendered,
    variables,
)
from support.kube import kube_api
from support.kuberay import FakeOperator

import marts
from jobs.config.load import load, load_policy
from k8s import generate, helm
from marts.policy import Policy

BUILDS = {"minimal": "martwright-daily", "submit": "martwright-daily", "local": "martwright-build"}
"""A job that builds, in each mode."""
ALL = [(name, where, pod) for name in SETS for where, pod in charting.pods_of_jobs(golden(name))]


@pytest.mark.parametrize("name", [None, *SETS])
def test_helm_has_nothing_against_the_chart(name: str | None) -> None:
    values = ("--values", str(SETS[name])) if name else ()
    done = helm.run("lint", "--strict", str(CHART), *values)
    assert (done.returncode, "[WARNING]" in done.stdout) == (0, False), done.stdout


def test_what_is_made_from_the_chart_is_up_to_date() -> None:
    assert generate.drifted() == []


def test_the_package_holds_what_helm_needs_and_no_more(tmp_path: Path) -> None:
    assert helm.run("package", str(CHART), "--destination", str(tmp_path)).returncode == 0
    [package] = tmp_path.iterdir()
    with tarfile.open(package) as archive:
        names = {name.removeprefix("martwright/") for name in archive.getnames()}
    assert {"values.schema.json", "README.md", "files/alerts.yaml", "files/dashboard.json"} <= names
    assert {name for name in names if name.startswith("ci/")} == set()


def test_the_chart_carries_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    locked = re.search(r"^ray==([0-9.]+)", (generate.ROOT / "requirements.lock").read_text(), re.MULTILINE)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert (chart["appVersion"], chart["version"]) == (marts.__version__, marts.__version__)
    assert locked
    assert values["ray"]["version"] == locked[1]


def test_four_values_are_all_that_is_needed() -> None:
    four = ["image.repository=example/martwright", "source=s3://drops/retail"]
    four += ["target=mysql://marts@db:3306/marts", "existingSecret=martwright"]
    text = helm.render(CHART, [], *(part for value in four for part in ("--set", value)))
    assert text == generate.golden(SETS["minimal"]).read_text()
    for left_out in four:
        kept = [each for each in four if each != left_out]
        [mistake] = charting.mistakes(*kept, values=None)
        assert mistake.startswith(f"{left_out.partition('=')[0]} is missing")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_kubernetes_takes_every_object(version: str) -> None:
    names = SETS if version in (VERSIONS[0], VERSIONS[-1]) else ["everything-on", "marts"]
    assert [wrong for name in names for wrong in charting.invalid(golden(name), version)] == []


def test_versions_of_kubernetes_before_that_are_refused() -> None:
    assert "kubeVersion" in refused_by_version("1.28.15")
    assert refused_by_version("1.29.0") == refused_by_version("1.37.2-eks-1234") == ""


def refused_by_version(version: str) -> str:
    done = helm.run("template", "x", str(CHART), "--values", str(MINIMAL), "--kube-version", version)
    return done.stderr


def test_a_wrong_field_would_be_seen() -> None:
    objects = golden("minimal")
    rules = object_named(objects, "CronJob", "martwright-daily")["spec"]["jobTemplate"]["spec"]["podFailurePolicy"][
        "rules"
    ]
    del rules[1]["onPodConditions"][0]["status"]
    object_named(objects, "CronJob", "martwright-vacuum")["spec"]["jobTemplate"]["spec"]["retries"] = 1
    problems = charting.invalid(objects, "1.34")
    assert [("'status' is a required" in each, "'retries' was unexpected" in each) for each in problems] == [
        (True, False),
        (False, True),
    ]
    # From 1.35 on the status may be left out.
    assert len(charting.invalid(objects, "1.35")) == 1


@charting.needs_kuberay
@pytest.mark.parametrize("name", SETS)
def test_kuberay_takes_every_rayjob_and_raycluster(name: str) -> None:
    custom = [*rayjobs(golden(name)).values(), *of_kind(golden(name), "RayCluster").values()]
    assert [wrong for each in custom for wrong in charting.kuberay_refuses(each)] == []


@charting.needs_kuberay
def test_kuberay_would_refuse_a_field_it_does_not_know() -> None:
    rayjob = rayjobs(golden("minimal"))["daily"]
    rayjob["spec"]["concurrencyPolicy"] = "Forbid"
    rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["environment"] = []
    assert len(charting.kuberay_refuses(rayjob)) == 2


@pytest.mark.parametrize(("name", "where", "pod"), ALL, ids=[f"{name}: {where}" for name, where, _ in ALL])
def test_every_pod_is_restricted_and_finds_its_files(name: str, where: str, pod: dict[str, Any]) -> None:
    assert charting.not_restricted(pod) == []
    container, *beside = pod["spec"]["containers"]
    assert [each["name"] for each in beside] in ([], ["autoscaler"])
    given = variables(container)
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {paths["tmp"], paths["home"]} == {"/tmp", given["HOME"]}
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    assert "sizeLimit" in volumes["tmp"]["emptyDir"]
    # Credentials are files of root's that the group reads.
    assert volumes["martwright"]["projected"]["defaultMode"] == 0o440
    secrets = {"secrets/credentials.json", "secrets/key.pem", "secrets/auth_token"}
    assert secrets <= charting.mounted(pod)
    assert given["MARTS_SECRETS__FILE"] == "/etc/martwright/secrets/credentials.json"
    assert ("MARTS_EXPECTATIONS" in given) == (name in ("everything-on", "own-pack"))
    assert ("MARTS_PACK" in given) == (name == "own-pack")
    assert pod["spec"]["automountServiceAccountToken"] == (where.startswith("CronJob") and asks_the_api(name, where))
    assert pod["spec"]["enableServiceLinks"] is False
    labels = pod["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "martwright"
    assert {f"app.kubernetes.io/{key}" for key in ("instance", "version", "managed-by", "component")} <= set(labels)


def asks_the_api(name: str, where: str) -> bool:
    return "vacuum" not in where and "monthly" not in where and (name != "local" or "watchdog" in where)


@pytest.mark.parametrize("change", ["runAsNonRoot", "seccompProfile", "readOnlyRootFilesystem", "capabilities"])
def test_a_pod_that_is_not_restricted_would_be_seen(change: str) -> None:
    pod = pod_of(golden("minimal"), "martwright-daily")
    for context in (pod["spec"]["securityContext"], pod["spec"]["containers"][0]["securityContext"]):
        context.pop(change, None)
    assert charting.not_restricted(pod) == [change]


@pytest.mark.parametrize("name", SETS)
def test_no_credential_is_in_a_variable_an_argument_or_the_configuration(name: str) -> None:
    for _, pod in charting.pods(golden(name)):
        for key, value in variables(pod["spec"]["containers"][0]).items():
            secret = re.search("PASSWORD|PASSPHRASE|SECRET_KEY$|ACCESS_KEY$|SESSION_TOKEN|TOKEN$", key)
            assert not secret or isinstance(value, dict), key
    assert of_kind(golden(name), "Secret") == {}
    text = generate.golden(SETS[name]).read_text()
    assert re.findall(r"://[^/\s:\"]*:(?!sealed:)[^/\s\"]*@", text) == []


@pytest.mark.usefixtures("all_marts")
@pytest.mark.parametrize("name", SETS)
def test_the_program_reads_the_rendered_configuration(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "retail" if name == "accounts" else "martwright"
    charting.write_config(golden(name), tmp_path, prefix)
    for _, pod in charting.pods_of_jobs(golden(name)):
        for key, value in variables(pod["spec"]["containers"][0]).items():
            if key.startswith("MARTS_"):
                monkeypatch.setenv(key, value.replace("/etc/martwright", str(tmp_path)))
    read = load(None, {}, places=False)
    given = yaml.safe_load(SETS[name].read_text())
    assert (read.source, read.target) == (given["source"], given["target"])
    assert read.state_uri == given.get("state", "s3://drops/retail/_marts")
    policy = load_policy(read)
    if name == "everything-on":
        assert (read.reports_url, read.lock_timeout, read.mysql.loaders) == (given["reportsUrl"], 60, 4)
        assert (read.limits.max_inflated_bytes, read.limits.settle_seconds) == (68719476736, 2.5)
        assert read.notify.on == ("failed", "held", "recovered")
        assert str(read.s3.secret_key) == "Secret(sealed:s3.other)"
        own = dict(policy.own)
        assert (str(own["incentive_rate"]), own["inactive_after_days"]) == ("0.015", 90)
        assert own["segments"] == (
            ("Best", 1_000_000, Decimal("50000.25"), None),
            ('Others, and "the rest"', None, None, None),
        )


def test_every_number_of_settings_and_policy_survives(tmp_path: Path) -> None:
    # Helm reads all numbers as floats, and would write 30 as 30.0 and a million as 1e+06.
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    policy = json.loads((CHART / "values.schema.json").read_text())["then"]["properties"]["policy"]
    whole = {"settings": defaults(schema["settings"]), "policy": defaults(policy)}
    objects = rendered(*(f"{key}={json.dumps(value)}" for key, value in whole.items()))
    config = charting.write_config(objects, tmp_path)
    read = load(str(config), {"policy": str(tmp_path / "policy.toml")}, places=False)
    same = {"source": read.source, "target": read.target, "state": read.state, "policy": read.policy}
    assert read == load(None, same, places=False)
    assert load_policy(read) == Policy()
    assert "max_inflated_bytes = 68719476736\n" in config.read_text()
    for name in ("marts.toml", "policy.toml"):
        text = (tmp_path / name).read_text()
        assert tomllib.loads(text)
        assert re.findall(r"\b\d+\.0\b(?!\.)|\d[eE][+-]?\d", text) == [], name


def defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Return every default that the schema knows."""
    known = {key: about for key, about in schema["properties"].items() if "default" in about and key != "true"}
    return {key: defaults(about) if about.get("properties") else about["default"] for key, about in known.items()}


def test_a_rayjob_is_what_kuberay_needs_and_the_launcher_completes() -> None:
    spec = rayjobs(golden("minimal"))["daily"]["spec"]
    cluster = spec.pop("rayClusterSpec")
    assert spec == {
        "submissionMode": "HTTPMode",
        "entrypoint": "marts build",
        "backoffLimit": 1,
        "activeDeadlineSeconds": 10800,
        "preRunningDeadlineSeconds": 900,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 180,
    }
    assert "name" not in rayjobs(golden("minimal"))["daily"]["metadata"]
    assert cluster["rayVersion"] == "2.60.0"
    assert cluster["authOptions"] == {"mode": "token", "secretName": "martwright"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    [head], [worker] = (
        group["template"]["spec"]["containers"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    )
    assert head["resources"]["limits"]["memory"] == "4Gi"
    for container in (head, worker):
        given = variables(container)
        assert given["RAY_num_workers_soft_limit"] == "8"
        assert given["RAY_idle_worker_killing_time_threshold_ms"] == "600000"
        assert (given["RAY_task_oom_retries"], given["RAY_USAGE_STATS_ENABLED"]) == ("3", "0")
        # KubeRay mounts /dev/shm, as large as the limit of memory.
        assert [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"] == []


def test_ray_has_its_object_store_in_memory_whatever_the_limit() -> None:
    """Ray takes 30 % of the memory for it, and puts it on disk where /dev/shm is smaller."""
    [mistake] = charting.mistakes("ray.shmSize=3Gi", "ray.worker.resources.limits.memory=12Gi")
    assert mistake.startswith("ray.shmSize is 3Gi, and must be 30 % to 100 % of ray.worker.resources.limits.memory")
    assert "above, the pod is OOM-killed" in charting.mistakes("ray.shmSize=5Gi")[0]
    assert charting.mistakes("mode=local", "ray.shmSize=2Gi")[0].count("local.resources.limits.memory (8Gi)") == 1
    cluster = rayjobs(rendered("ray.shmSize=4Gi"))["daily"]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        assert {"name": "shm", "mountPath": "/dev/shm"} in spec["containers"][0]["volumeMounts"]
        assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}} in spec["volumes"]


@pytest.mark.parametrize(("cpus", "workers"), [("500m", 8), ("2", 8), ("4500m", 10), ("32", 64), ("6.5", 14)])
def test_idle_workers_that_stay_warm_are_twice_the_cpus_of_a_node(cpus: str, workers: int) -> None:
    limit, request = f"ray.worker.resources.limits.cpu={cpus}", f"ray.worker.resources.requests.cpu={cpus}"
    group = rayjobs(rendered(limit, request))["daily"]["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    given = variables(group["template"]["spec"]["containers"][0])
    assert given["RAY_num_workers_soft_limit"] == str(workers)
    local = [f"local.resources.{what}.cpu={cpus}" for what in ("limits", "requests")]
    pod = pod_of(rendered("mode=local", *local), "martwright-daily")
    assert variables(pod["spec"]["containers"][0])["RAY_num_workers_soft_limit"] == str(workers)


@pytest.mark.parametrize("name", SETS)
def test_a_quota_of_a_namespace_finds_a_limit_of_everything_it_counts(name: str) -> None:
    """A ResourceQuota on limits.cpu refuses each pod that has none."""
    own = [job["name"] for job in yaml.safe_load(SETS[name].read_text()).get("jobs", ()) if "resources" in job]
    for where, pod in charting.pods(golden(name)):
        if any(f"-{job}:" in where for job in own):
            continue
        for container in pod["spec"]["containers"]:
            assert {*container["resources"]["limits"]} >= {"cpu", "memory"}, where
            assert {*container["resources"]["requests"]} >= {"cpu", "memory"}, where


def test_the_page_reports_how_much_a_night_needs() -> None:
    """Launcher, head, one worker and watchdog, as the values are."""
    units = {"": 1.0, "m": 0.001, "Mi": 1 / 1024, "Gi": 1.0}
    total = {(what, of): 0.0 for what in ("limits", "requests") for of in ("cpu", "memory")}
    for where, pod in charting.pods(golden("minimal")):
        [container] = pod["spec"]["containers"]
        if not re.search("vacuum|one-off|^Pod ", where):
            for what, of in total:
                number, unit = re.fullmatch(r"([0-9.]+)(\w*)", container["resources"][what][of]).groups()  # type: ignore[union-attr]
                total[what, of] += float(number) * units[unit]
    sentence = " and ".join(
        f"{what} of {total[what, 'cpu']:g} CPUs and {total[what, 'memory']:g} GiB" for what in ("limits", "requests")
    )
    assert sentence in " ".join((CHART / "README.md").read_text().split())


def test_an_entrypoint_is_read_by_bash_as_it_was_written() -> None:
    import shlex

    entrypoint = rayjobs(golden("marts"))["sales-team"]["spec"]["entrypoint"]
    assert shlex.split(entrypoint) == ["marts", "build", "--mart", "sales_team", "--rescan", "a b", "it's", ""]
    hostile = ["$(id)", "`id`", "a;b", "x'y\"z", "{}", "\\", "é"]
    job = [{"name": "x", "command": "build", "schedule": "@daily", "args": hostile}]
    objects = rendered(f"jobs={json.dumps(job)}")
    assert shlex.split(rayjobs(objects)["x"]["spec"]["entrypoint"]) == ["marts", "build", *hostile]
    # Without a shell, Kubernetes is the one that reads $(…).
    args = command(rendered("mode=local", f"jobs={json.dumps(job)}"), "martwright-x")[4:]
    assert args == ["$$(id)", *hostile[1:]]


def test_each_mode_runs_its_launcher() -> None:
    assert command(golden("minimal"), "martwright-daily") == [
        *("marts", "launch", "rayjob", "--template", "/etc/martwright/rayjobs/daily.yaml")
    ]
    assert "rayjobs/daily.yaml" in charting.mounted(pod_of(golden("minimal"), "martwright-daily"))
    assert "rayjobs/daily.yaml" not in charting.mounted(pod_of(golden("minimal"), "martwright-vacuum"))
    assert command(golden("submit"), "martwright-daily") == [
        *("marts", "launch", "submit", "--address", "http://martwright-head-svc:8265", "--")
    ]
    assert command(golden("submit-elsewhere"), "martwright-weekdays") == [
        *("marts", "launch", "submit", "--address", "http://raycluster-head-svc.ray:8265"),
        *("--", "--rescan", "--expectations", "it's $HOME"),
    ]
    local = ["marts", "launch", "local", "--", "--mart", "customers"]
    assert command(golden("local"), "martwright-build") == local
    assert command(golden("minimal"), "martwright-vacuum") == ["marts", "vacuum"]
    assert command(golden("marts"), "martwright-monthly") == ["marts", "monthly", "--mail"]
    selector = "app.kubernetes.io/name=martwright,app.kubernetes.io/instance=martwright"
    assert command(golden("minimal"), "martwright-watchdog") == ["marts", "watchdog", "--selector", selector]


@pytest.mark.parametrize("name", BUILDS)
def test_launchers_know_who_they_are_and_the_token_of_ray(name: str) -> None:
    pod = pod_of(golden(name), BUILDS[name])
    given = variables(pod["spec"]["containers"][0])
    assert given["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert given["POD_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert given["JOB_NAME"] == {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    assert (given["RAY_AUTH_MODE"], given["RAY_AUTH_TOKEN_PATH"]) == ("token", "/etc/martwright/secrets/auth_token")
    assert pod["spec"]["terminationGracePeriodSeconds"] == 60
    assert ("RAY_idle_worker_killing_time_threshold_ms" in given) == (name == "local")
    shared = [each for each in pod["spec"]["volumes"] if each["name"] == "shm"]
    assert [each["emptyDir"]["medium"] for each in shared] == (["Memory"] if name == "local" else [])


def test_a_watchdog_knows_who_it_is_and_a_vacuum_needs_not() -> None:
    watchdog, vacuum = (
        variables(pod_of(golden("minimal"), f"martwright-{job}")["spec"]["containers"][0])
        for job in ("watchdog", "vacuum")
    )
    assert {"POD_NAME", "POD_NAMESPACE"} <= set(watchdog)
    assert {"POD_NAME", "POD_NAMESPACE", "RAY_AUTH_MODE"} & set(vacuum) == set()
    assert "RAY_AUTH_MODE" not in watchdog


def test_a_cronjob_is_made_for_bad_days() -> None:
    cronjob = object_named(golden("minimal"), "CronJob", "martwright-daily")
    assert cronjob["metadata"]["labels"]["martwright.io/command"] == "build"
    assert cronjob["metadata"]["annotations"] == {"martwright.io/max-age-seconds": "93600"}
    spec = cronjob["spec"]
    template = spec.pop("jobTemplate")
    assert spec == {
        "schedule": "0 3 * * *",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 43200,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
    }
    pod = template["spec"].pop("template")
    assert template["spec"] == {
        "backoffLimit": 2,
        "activeDeadlineSeconds": 2 * 10800 + 900,
        "ttlSecondsAfterFinished": 259200,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "marts", "operator": "In", "values": [2, 65, 70]},
                },
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
    }
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    for labelled in (cronjob, template, pod):
        assert labelled["metadata"]["labels"]["martwright.io/command"] == "build"
    assert pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_a_job_may_set_everything_itself() -> None:
    job_values = yaml.safe_load(SETS["marts"].read_text())["jobs"][0]
    cronjob = object_named(golden("marts"), "CronJob", "martwright-customers")["spec"]
    job = cronjob["jobTemplate"]["spec"]
    kept = {"schedule", "timeZone", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"}
    assert {key: cronjob[key] for key in kept} == {key: job_values[key] for key in kept}
    limits = {"activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"}
    assert {key: job[key] for key in limits} == {key: job_values[key] for key in limits}
    assert job["template"]["spec"]["containers"][0]["resources"] == job_values["resources"]


def test_suspend_is_rendered_only_when_it_is_true() -> None:
    suspended = {name: each["spec"].get("suspend") for name, each in of_kind(golden("marts"), "CronJob").items()}
    assert {name for name, is_suspended in suspended.items() if is_suspended is not None} == {"martwright-sales-team"}
    assert len(suspended) == 4


def test_a_job_begins_late_by_less_than_its_period() -> None:
    schedules = {"*/10 * * * *": 300, "5 * * * *": 1800, "0 */6 * * *": 3600, "0 5 * * 0": 3600, "1,2 3 1 * *": 3600}
    jobs = [{"name": f"j{n}", "command": "vacuum", "schedule": each} for n, each in enumerate(schedules)]
    cronjobs = of_kind(rendered(f"jobs={json.dumps(jobs)}"), "CronJob").values()
    assert {each["spec"]["schedule"]: each["spec"]["startingDeadlineSeconds"] for each in cronjobs} == schedules


def test_rights_are_what_is_needed_and_no_more() -> None:
    roles = {name: rights(role) for name, role in of_kind(golden("minimal"), "Role").items()}
    assert roles == {
        "martwright-launcher": {
            "ray.io/rayjobs": "get create delete",
            "/pods": "get list",
            "/pods/log": "get",
            "/events": "list",
        },
        "martwright-watchdog": {
            "batch/jobs": "list patch",
            "batch/cronjobs": "list",
            "/pods": "list",
            "/events": "list",
        },
    }
    launcher = rights(object_named(golden("submit"), "Role", "martwright-launcher"))
    assert launcher == {"/pods": "get"}
    assert set(of_kind(golden("local"), "Role")) == {"martwright-watchdog"}
    assert set(of_kind(golden("local"), "ServiceAccount")) == {"martwright-watchdog", "martwright-builder"}
    bound = of_kind(golden("minimal"), "RoleBinding")
    assert {name: each["subjects"][0]["name"] for name, each in bound.items()} == {name: name for name in roles}
    assert {each["kind"] for each in golden("everything-on")} & {"ClusterRole", "ClusterRoleBinding"} == set()
    accounts = {where: pod["spec"]["serviceAccountName"] for where, pod in charting.pods(golden("minimal"))}
    builders = {where for where, account in accounts.items() if account == "martwright-builder"}
    assert {where.rpartition(": ")[0].split()[0] for where in builders} == {"CronJob", "Job", "Pod", "RayJob"}
    assert [where for where in accounts if accounts[where] == "martwright-launcher"] == [
        "CronJob martwright-daily: marts"
    ]


def rights(role: dict[str, Any]) -> dict[str, str]:
    return {f"{rule['apiGroups'][0]}/{rule['resources'][0]}": " ".join(rule["verbs"]) for rule in role["rules"]}


@pytest.mark.parametrize("name", ["minimal", "submit"])
def test_helm_test_tries_the_pods_that_a_build_needs(name: str) -> None:
    pods = of_kind(golden(name), "Pod")
    spec = [*rayjobs(golden(name)).values(), *of_kind(golden(name), "RayCluster").values()][0]["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    templates = {"head": cluster["headGroupSpec"], "worker": cluster["workerGroupSpecs"][0]}
    for node, group in templates.items():
        pod, wanted = pods[f"martwright-ray-{node}"], group["template"]["spec"]
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        # It is none of a cluster: neither a PodMonitor nor a disruption budget counts it.
        assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == f"ray-{node}-check"
        (container,), (like,) = pod["spec"].pop("containers"), wanted.pop("containers")
        assert container.pop("command") == ["true"]
        assert pod["spec"].pop("restartPolicy") == "Never"
        like.pop("ports")
        assert (container, pod["spec"]) == (like, wanted)
    assert set(of_kind(golden("local"), "Pod")) == {"martwright-doctor"}


def test_helm_test_tries_each_group_of_workers_and_the_autoscaler() -> None:
    pods = of_kind(golden("autoscaled"), "Pod")
    assert set(pods) == {f"martwright-{name}" for name in ("doctor", "ray-head", "ray-worker", "ray-spot")}
    cpus = {
        name: [each["resources"]["limits"]["cpu"] for each in pod["spec"]["containers"]] for name, pod in pods.items()
    }
    assert (cpus["martwright-ray-head"], cpus["martwright-ray-spot"]) == (["2", "500m"], ["4"])
    assert all(each["command"] == ["true"] for each in pods["martwright-ray-head"]["spec"]["containers"])


def test_builds_know_how_far_their_cluster_may_grow() -> None:
    """Ray's autoscaler does nothing at all if it is asked for more."""

    def most(objects: list[dict[str, Any]]) -> Any:
        config = object_named(objects, "ConfigMap", "martwright-config")["data"]["marts.toml"]
        return tomllib.loads(config).get("ray", {}).get("most_cpus")

    assert most(golden("autoscaled")) == 8 * 2 + 20 * 4
    assert most(rendered("ray.worker.maxReplicas=3", "ray.worker.resources.limits.cpu=2500m")) == 9
    assert [most(golden(name)) for name in ("minimal", "submit", "local")] == [None, None, None]
    assert most(rendered("mode=submit", "ray.worker.maxReplicas=3", "submit.address=http://ray:8265")) is None


def test_the_cluster_may_give_user_and_groups_itself() -> None:
    """OpenShift does: a user of the chart would be refused."""
    unset = [f"podSecurityContext.{name}=null" for name in ("runAsUser", "runAsGroup", "fsGroup")]
    for where, pod in charting.pods(rendered(*unset)):
        assert pod["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert charting.not_restricted(pod) == [], where


def test_labels_of_the_company_are_on_every_object_and_change_none_of_the_chart() -> None:
    objects = [each for each in golden("everything-on") if each["metadata"]["name"] != "martwright-more"]
    assert len(objects) > 15
    for each in [*objects, *rayjobs(objects).values(), *(pod for _, pod in charting.pods(objects))]:
        labels = each["metadata"]["labels"]
        if "app.kubernetes.io/part-of" not in labels:  # a one-off Job is none of the watchdog's
            assert (labels["cost-center"], labels["app.kubernetes.io/name"]) == ("4711", "martwright"), each
    selectors = [object_named(objects, "NetworkPolicy", "martwright")["spec"]["podSelector"]["matchLabels"]]
    selectors.append(object_named(objects, "PodMonitor", "martwright")["spec"]["selector"]["matchLabels"])
    for selector in selectors:
        assert set(selector) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}


def test_a_queue_and_a_scheduler_find_their_labels() -> None:
    rayjob = rayjobs(golden("everything-on"))["daily"]["metadata"]
    assert rayjob["labels"]["kueue.x-k8s.io/queue-name"] == "nightly"
    assert rayjob["annotations"] == {"example.com/owner": "data"}
    cluster = object_named(golden("submit"), "RayCluster", "martwright")["metadata"]
    assert cluster["labels"]["ray.io/scheduler-name"] == "volcano"
    assert cluster["annotations"] == {"example.com/owner": "data"}


def test_sidecars_do_not_keep_a_job_from_its_end() -> None:
    for where, pod in charting.pods_of_jobs(golden("everything-on")):
        proxy, wait = pod["spec"]["initContainers"]
        assert (proxy["name"], proxy["restartPolicy"]) == ("proxy", "Always"), where
        assert "restartPolicy" not in wait
        assert pod["spec"]["containers"][0]["envFrom"] == [{"configMapRef": {"name": "proxy"}}]


def test_a_part_may_run_elsewhere_than_the_rest() -> None:
    for where, pod in charting.pods(golden("everything-on")):
        spec, launcher = pod["spec"], "martwright-daily: marts" in where
        assert spec["topologySpreadConstraints"][0]["topologyKey"] == "zone"
        assert spec.get("nodeSelector") == ({"pool": "small"} if launcher else None), where
        assert ("affinity" in spec, spec.get("priorityClassName")) == ((True, "high") if launcher else (False, None))


def test_the_head_of_a_cluster_that_stays_is_guarded_if_somebody_wants_it() -> None:
    budget = object_named(golden("submit"), "PodDisruptionBudget", "martwright-head")["spec"]
    assert budget["maxUnavailable"] == 0
    cluster = object_named(golden("submit"), "RayCluster", "martwright")["spec"]
    head, (worker,) = cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"]
    wanted = budget["selector"]["matchLabels"].items()
    assert wanted <= head["metadata"]["labels"].items()
    assert not wanted <= worker["template"]["metadata"]["labels"].items()
    assert of_kind(golden("minimal"), "PodDisruptionBudget") == {}


def test_the_token_of_an_autoscaler_is_mounted_in_it_alone() -> None:
    """KubeRay makes a container of autoscalerOptions, in the head's pod: the driver is there, too, and has no token."""
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    with kube_api() as api, FakeOperator(api):
        api.put({**rayjobs(golden("autoscaled"))["daily"], "metadata": {"name": "daily", "namespace": "marts"}})
        api.settle()
        pods = {pod["metadata"]["labels"]["ray.io/group"]: pod["spec"] for pod in api.objects("Pod")}
    assert set(pods) == {"headgroup", "worker"}, "the other group is empty at the start"
    assert not any(pod["automountServiceAccountToken"] for pod in pods.values())
    mounted = {
        (group, each["name"]): token in [mount["mountPath"] for mount in each["volumeMounts"]]
        for group, pod in pods.items()
        for each in pod["containers"]
    }
    assert mounted == {
        ("headgroup", "ray-head"): False,
        ("headgroup", "autoscaler"): True,
        ("worker", "ray-worker"): False,
    }
    head = pods["headgroup"]
    driver, autoscaler = head["containers"]
    assert autoscaler["securityContext"] == driver["securityContext"]
    assert set(autoscaler["resources"]) == {"requests", "limits"}
    assert {mount["name"] for mount in autoscaler["volumeMounts"]} <= {volume["name"] for volume in head["volumes"]}
    assert [volume["name"] for volume in pods["worker"]["volumes"] if volume["name"] == "kubernetes"] == []


def test_there_is_an_autoscaler_only_where_a_group_may_grow() -> None:
    for objects in (golden("minimal"), golden("everything-on"), rendered("ray.worker.replicas=3")):
        cluster = rayjobs(objects)["daily"]["spec"]["rayClusterSpec"]
        assert {"enableInTreeAutoscaling", "autoscalerOptions"}.isdisjoint(cluster)
        assert "kubernetes" not in [
            volume["name"] for volume in cluster["headGroupSpec"]["template"]["spec"]["volumes"]
        ]
    cluster = rayjobs(golden("autoscaled"))["daily"]["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] == 120
    shrinks = object_named(rendered("mode=submit", "ray.worker.minReplicas=0"), "RayCluster", "martwright")["spec"]
    assert shrinks["enableInTreeAutoscaling"] is True


def test_groups_of_workers_have_numbers_resources_and_nodes_of_their_own() -> None:
    groups = {
        group["groupName"]: group
        for group in rayjobs(golden("autoscaled"))["daily"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    }
    numbers = {name: [group[f"{n}eplicas"] for n in ("minR", "r", "maxR")] for name, group in groups.items()}
    assert numbers == {"worker": [1, 1, 8], "spot": [0, 0, 20]}
    spot, worker = (groups[name]["template"]["spec"] for name in ("spot", "worker"))
    assert (spot["tolerations"], "tolerations" in worker) == ([{"key": "spot", "operator": "Exists"}], False)
    limits = [pod["containers"][0]["resources"]["limits"]["cpu"] for pod in (spot, worker)]
    assert limits == ["4", "2"]


def test_what_pods_connect_to_is_restricted_only_by_who_knows_it() -> None:
    policy = object_named(golden("everything-on"), "NetworkPolicy", "martwright")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"][-1] == {"from": [{"podSelector": {"matchLabels": {"app": "debug"}}}]}
    own_pods, names, external = policy["egress"]
    assert own_pods["to"] == [{"podSelector": {"matchLabels": policy["podSelector"]["matchLabels"]}}]
    assert {(each["port"], each["protocol"]) for each in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert external["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert "egress" not in object_named(golden("minimal"), "NetworkPolicy", "martwright")["spec"]


def test_objects_of_the_company_may_use_the_charts_names() -> None:
    assert object_named(golden("everything-on"), "ConfigMap", "martwright-more")["data"] == {"port": "3306"}


def test_accounts_of_somebody_else_are_used_as_they_are() -> None:
    objects = golden("accounts")
    assert set(of_kind(objects, "ServiceAccount")) == {"retail-builder"}
    assert of_kind(objects, "Role") == of_kind(objects, "RoleBinding") == {}
    assert pod_of(objects, "retail-daily")["spec"]["serviceAccountName"] == "theirs-launcher"
    assert pod_of(objects, "retail-watchdog")["spec"]["serviceAccountName"] == "theirs-watchdog"
    role = "arn:aws:iam::123456789012:role/marts"
    account = object_named(objects, "ServiceAccount", "retail-builder")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": role}


def test_what_a_cluster_asks_of_pods_reaches_every_pod() -> None:
    for where, pod in charting.pods(golden("accounts")):
        spec = pod["spec"]
        [container] = spec["containers"]
        worker = "ray-worker" in where
        assert variables(container)["TZ"] == "UTC"
        assert {"name": "ca", "secret": {"secretName": "ca"}} in spec["volumes"]
        assert {"name": "ca", "mountPath": "/etc/ca", "readOnly": True} in container["volumeMounts"]
        assert spec["nodeSelector"] == {"pool": "large" if worker else "batch"}
        assert [each["key"] for each in spec["tolerations"]] == (["batch", "large"] if worker else ["batch"])
        assert "nodeAffinity" in spec["affinity"]
        assert spec["priorityClassName"] == "batch"
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
        assert pod["metadata"]["labels"]["team"] == "data"
        assert pod["metadata"]["annotations"]["example.com/owner"] == "data"
        # What we rely on nobody changes by the way.
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "martwright"
        evict = pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"]
        assert evict == ("true" if worker else "false")


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ((), f"example/martwright:{marts.__version__}"),
        (("image.tag=7",), "example/martwright:7"),
        (("image.tag=7", f"image.digest=sha256:{'a' * 64}"), f"example/martwright@sha256:{'a' * 64}"),
    ],
)
def test_the_digest_of_an_image_wins_over_its_tag(given: tuple[str, ...], image: str) -> None:
    more = [part for each in given for part in ("--set-string", each)]
    objects = charting.parsed(helm.render(CHART, [MINIMAL], *more))
    assert {pod["spec"]["containers"][0]["image"] for _, pod in charting.pods(objects)} == {image}


def test_only_our_own_pods_the_operator_and_prometheus_are_let_in() -> None:
    policy = object_named(golden("minimal"), "NetworkPolicy", "martwright")["spec"]
    own_labels = {"app.kubernetes.io/name": "martwright", "app.kubernetes.io/instance": "martwright"}
    assert policy["podSelector"]["matchLabels"] == own_labels
    assert policy["policyTypes"] == ["Ingress"]
    own, operator, prometheus = policy["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": own_labels}}]}
    assert [port["port"] for port in operator["ports"]] == [8265, 52365]
    assert operator["from"][0]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}
    assert [port["port"] for port in prometheus["ports"]] == [8080]
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    assert prometheus["from"][0]["namespaceSelector"] == namespace
    for _, pod in charting.pods(golden("minimal")):
        assert own_labels.items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("switch", "kind", "name"),
    [
        ("networkPolicy.enabled", "NetworkPolicy", "martwright"),
        ("podMonitor.enabled", "PodMonitor", "martwright"),
        ("prometheusRule.enabled", "PrometheusRule", "martwright"),
        ("dashboard.enabled", "ConfigMap", "martwright-dashboard"),
        ("serviceAccount.builder.create", "ServiceAccount", "martwright-builder"),
        ("serviceAccount.launcher.create", "Role", "martwright-launcher"),
        ("serviceAccount.watchdog.create", "Role", "martwright-watchdog"),
    ],
)
def test_a_switch_makes_its_object_and_nothing_else(switch: str, kind: str, name: str) -> None:
    named = [f"{switch.removesuffix('create')}name={name}"] if switch.endswith("create") else []
    on, off = (identities(rendered(f"{switch}={state}", *named)) for state in ("true", "false"))
    more = {"Role": {("RoleBinding", name), ("ServiceAccount", name)}}.get(kind, set())
    assert (on - off, off - on) == ({(kind, name), *more}, set())


def identities(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in objects}


def test_nothing_of_a_monitoring_stack_is_needed_by_default() -> None:
    assert {each["kind"] for each in golden("minimal")} & charting.FOREIGN == set()


def test_rules_and_dashboard_are_those_that_the_tests_of_metrics_prove() -> None:
    objects = golden("everything-on")
    rules = object_named(objects, "PrometheusRule", "martwright")
    assert rules["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    dashboard = object_named(objects, "ConfigMap", "martwright-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["metadata"]["annotations"] == {"grafana_folder": "Marts"}
    text = (CHART / "files" / "dashboard.json").read_text()
    assert json.loads(dashboard["data"]["martwright.json"]) == json.loads(text)


def test_prometheus_reads_the_nodes_of_every_cluster() -> None:
    spec = object_named(golden("everything-on"), "PodMonitor", "martwright")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert (endpoint.pop("port"), endpoint.pop("interval")) == ("metrics", "15s")
    assert endpoint == {
        "relabelings": [{"targetLabel": "cluster", "replacement": "eu-1"}],
        "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "ray_(grpc|gcs)_.*", "action": "drop"}],
    }
    [condition] = spec["selector"]["matchExpressions"]
    ports = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["spec"]["containers"][0].get("ports", [])
        for _, pod in charting.pods(golden("everything-on"))
    }
    nodes = {component for component in ports if component in condition["values"]}
    assert nodes == {"ray-head", "ray-worker"}
    for component in nodes:
        assert {"name": "metrics", "containerPort": 8080} in ports[component]


def test_a_long_lived_cluster_is_made_in_mode_submit_only() -> None:
    cluster = object_named(golden("submit"), "RayCluster", "martwright")["spec"]
    assert cluster["upgradeStrategy"] == {"type": "None"}
    [workers] = cluster["workerGroupSpecs"]
    assert {workers[key] for key in ("replicas", "minReplicas", "maxReplicas")} == {3}
    for name in ("minimal", "submit-elsewhere", "local"):
        assert of_kind(golden(name), "RayCluster") == {}
    named = ("mode=submit", "submit.address=http://ray:8265")
    for create in ("true", "false"):
        assert of_kind(rendered(*named, f"rayCluster.create={create}"), "RayCluster") == {}
    assert [name for name in SETS if rayjobs(golden(name))] == [
        "accounts",
        "autoscaled",
        "everything-on",
        "marts",
        "minimal",
        "own-pack",
        "pages",
    ]


@pytest.mark.usefixtures("all_marts")
def test_a_pack_of_ones_own_is_a_folder_that_every_pod_finds(tmp_path: Path) -> None:
    given = yaml.safe_load(SETS["own-pack"].read_text())["pack"]
    objects = golden("own-pack")
    assert object_named(objects, "ConfigMap", "martwright-pack")["data"] == given
    for where, pod in charting.pods(objects):
        assert {f"pack/{name}" for name in given} <= set(charting.mounted(pod)), where
        assert variables(pod["spec"]["containers"][0])["MARTS_PACK"] == "/etc/martwright/pack"
    config = charting.write_config(objects, tmp_path)
    places = {"policy": str(tmp_path / "policy.toml"), "pack": str(tmp_path / "pack")}
    policy = load_policy(load(str(config), places, places=False))
    assert (dict(policy.own), policy.max_bad_rows) == ({"busy_from": 20}, 3)
    assert kit.marts("pack", "check", str(tmp_path / "pack")).exit_code == 0
    assert "martwright-pack" not in of_kind(golden("minimal"), "ConfigMap")


def test_suites_are_files_that_every_pod_finds() -> None:
    given = yaml.safe_load(SETS["everything-on"].read_text())["expectations"]
    assert object_named(golden("everything-on"), "ConfigMap", "martwright-expectations")["data"] == given
    for name in ("everything-on", "minimal"):
        for where, pod in charting.pods_of_jobs(golden(name)):
            assert ("expectations/stores.json" in charting.mounted(pod)) == (name == "everything-on"), where
    assert "martwright-expectations" not in of_kind(golden("minimal"), "ConfigMap")


def test_helm_test_runs_the_doctor_with_memory_for_ray() -> None:
    pod = object_named(golden("minimal"), "Pod", "martwright-doctor")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    [container] = pod["spec"]["containers"]
    assert container["command"] + container["args"] == ["marts", "doctor"]
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]


@pytest.mark.parametrize("name", SETS)
def test_the_notes_list_the_next_three_commands(name: str) -> None:
    done = helm.run("install", "martwright", str(CHART), "-n", "x", "--dry-run=client", "--values", str(SETS[name]))
    notes = done.stdout.partition("NOTES:")[2]
    commands = [line.strip() for line in notes.splitlines() if line.startswith("   ")]
    job = re.search(r"cronjob/([a-z-]+) ([a-z-]+)-\$", commands[1])
    dashboard = ["kubectl"] if name in ("everything-on", "pages") else []
    assert [line.split()[0] for line in commands] == ["helm", "kubectl", "kubectl", *dashboard]
    assert job
    assert job[1] == job[2]
    assert "build" in pod_of(golden(name), job[1])["metadata"]["labels"]["martwright.io/command"]


def test_the_notes_know_when_no_job_builds() -> None:
    jobs = json.dumps([{"name": "vacuum", "command": "vacuum", "schedule": "@daily"}])
    done = helm.run(
        "install", "m", str(CHART), "--dry-run=client", "--values", str(MINIMAL), "--set-json", f"jobs={jobs}"
    )
    assert "No job builds" in done.stdout


def test_names_follow_the_release() -> None:
    objects = charting.parsed(helm.run("template", "retail", str(CHART), "-n", "shop", "--values", str(MINIMAL)).stdout)
    assert "retail-martwright-daily" in of_kind(objects, "CronJob")
    assert {each["metadata"]["namespace"] for each in objects} == {"shop"}
    subjects = [each["subjects"][0]["namespace"] for each in of_kind(objects, "RoleBinding").values()]
    assert set(subjects) == {"shop"}
    assert command(objects, "retail-martwright-watchdog")[-1].endswith("instance=retail")


def test_plain_manifests_mark_what_is_to_be_edited() -> None:
    text = generate.PLAIN.read_text()
    objects = charting.parsed(text)
    assert [charting.invalid(objects, version) for version in (VERSIONS[0], VERSIONS[-1])] == [[], []]
    places = {"EDIT/MARTWRIGHT", "s3://BUCKET/PREFIX", "mysql://USER@HOST:3306/DATABASE"}
    assert {place for place in places if place in text} == places
    assert "Helm" not in {each["metadata"]["labels"]["app.kubernetes.io/managed-by"] for each in objects}
    assert "helm.sh/" not in text
