"""What the chart refuses, and how it reports it: mistakes all at once by the template, typing errors by the schema."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support import charting
from support.charting import CHART, MINIMAL, SETS, mistakes, refused, rendered

from k8s import generate, helm, schema

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
PARTS = ("local", "launcher", "vacuum", "monthly", "watchdog", "oneOff", "doctor", "pages")
LONG = "a-name-of-a-job-that-is-too-long"


def job(**more: Any) -> str:
    """Return a list of one job as --set-json takes it."""
    return "jobs=" + json.dumps([{"name": "x", "command": "build", "schedule": "0 3 * * *", **more}])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("image.repository=", "image.repository is missing: the repository that you pushed the image to"),
        ("source=", "source is missing: s3://bucket/prefix with sales/, customers/, …"),
        ("target=", "target is missing: mysql://user@host:port/database"),
        ("existingSecret=", "existingSecret is missing: the Secret that `marts secrets export-k8s` writes"),
        (
            "source=/data",
            "state is missing: it has no default for a source outside S3; set s3://bucket/prefix",
        ),
        ("target=duckdb:////x.duckdb", "target is a DuckDB file: only mode local can write one, on a volume from ext"),
        ("target=mysql://marts:pw@db/marts", "target contains a password: seal it"),
        ("target=postgres://db/marts", "target must be mysql://user@host:port/database"),
        ("state=s3://key:pw@bucket", "state contains a password: seal it"),
        ("target=mysql://marts@db/marts?password=pw", "target contains a password: seal it"),
        ("settings.s3.endpoint=http://u:pw@s3:9000", "settings.s3.endpoint contains a password: seal it"),
        (
            'jobs=[{"name":"a","command":"build","schedule":"0 3 * * *","args":["--target","mysql://m:pw@db/m"]}]',
            "job a: argument 2 contains a password: seal it",
        ),
        ('settings={"dimensions":{"stores":"mysql://a:b@erp/x/y"}}', "settings.dimensions.stores contains a password"),
        ('extraEnv=[{"name":"DB_PASSWORD","value":"x"}]', "extraEnv has DB_PASSWORD in plain text: seal it"),
        *(
            (f'extraEnv=[{{"name":"{name}","value":"x"}}]', f"extraEnv has {name} in plain text: seal it")
            for name in (
                "MYSQL_PWD",
                "GITHUB_TOKEN",
                "API_KEY",
                "db_pass",
                "AWS_SECRET_ACCESS_KEY",
                "SLACK_WEBHOOK_URL",
            )
        ),
        ('extraEnv=[{"name":"PROXY","value":"http://me:pw@proxy:3128"}]', "extraEnv has PROXY in plain text: seal it"),
        ("ray.worker.resources.requests.cpu=3", "ray.worker.resources.requests.cpu (3) is above its limit (2)"),
        ("ray.head.resources.requests.memory=4.5Gi", "ray.head.resources.requests.memory (4.5Gi) is above its limit"),
        ("watchdog.resources.requests.memory=1G", "watchdog.resources.requests.memory (1G) is above its limit (512Mi)"),
        ("ray.worker.minReplicas=2", "workers worker: minReplicas (2), replicas (1), maxReplicas (1) must be in "),
        (
            'ray.workerGroups=[{"name":"a","minReplicas":1}]',
            "workers a: minReplicas (1), replicas (0), maxReplicas (0)",
        ),
        ('ray.workerGroups=[{"name":"worker","replicas":1}]', "ray.workerGroups has worker twice"),
        ('ray.workerGroups=[{"name":"headgroup"}]', "ray.workerGroups has headgroup twice, or it is reserved"),
        (
            'ray.workerGroups=[{"name":"a","replicas":1,"resources":{"requests":{"cpu":4},"limits":{"cpu":2}}}]',
            "ray.workerGroups a: resources.requests.cpu (4) is above its limit (2)",
        ),
        (
            job(resources={"requests": {"cpu": "1500m"}, "limits": {"cpu": 1}}),
            "job x: resources.requests.cpu (1500m) is above its limit (1): Kubernetes would reject each pod",
        ),
        ('extraEnv=[{"name":"MARTS_CONFIG","value":"x"}]', "extraEnv has MARTS_CONFIG, which the chart sets"),
        ("submit.address=http://ray:8265", "submit.address has no effect in mode rayjob"),
        ("serviceAccount.builder.create=false", "serviceAccount.builder.name is missing: with create: false, name an"),
        (
            'ray.head.resources={"requests":{"memory":"2Gi"},"limits":{"memory":"2Gi"}}',
            'ray.head.resources.limits.memory is "2Gi": at least 4Gi',
        ),
        ("rayJob.preRunningDeadlineSeconds=10800", "rayJob.preRunningDeadlineSeconds must be below rayJob.activeDeadl"),
        ("rayJob.ttlSecondsAfterFinished=120", "rayJob.ttlSecondsAfterFinished must be above the 120 seconds that met"),
        (job(name=LONG), f"job {LONG}: its CronJob's name martwright-{LONG} has 43 characters, and KubeRay's"),
        (job(activeDeadlineSeconds=21600), "job x: activeDeadlineSeconds (21600) must be above the 21600 of all att"),
        (job(startingDeadlineSeconds=86400), "job x: startingDeadlineSeconds (86400) must be below its period (86400)"),
        (job(maxAge=86400), "job x: maxAge (86400) must be above its period (86400)"),
        (job(command="vacuum", mart="customers"), "job x: mart needs the command build"),
        (job(args=["--as-of=2025-01-01"]), "a job's args have --as-of: set its asOf; by default it is the"),
        (job(command="vacuum", asOf="monday"), "job x: asOf needs the command build"),
        ('pages.extraEnv=[{"name":"DB_PASSWORD","value":"x"}]', "pages.extraEnv has DB_PASSWORD in plain text: seal"),
        ("pages.resources.requests.memory=1Gi", "pages.resources.requests.memory (1Gi) is above its limit (768Mi)"),
        ("serviceAccount.pages.create=false", "serviceAccount.pages.name is missing: with create: false, name an exi"),
    ],
)
def test_a_mistake_is_reported_with_what_to_do(given: str, message: str) -> None:
    [mistake] = mistakes(given)
    assert mistake.startswith(message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "pages.auth=",
            "pages.auth is missing: token (pages.token in the sealed file), proxy (with pages.proxies), or",
        ),
        (
            "pages.auth=proxy",
            "pages.proxies is missing: the addresses of the reverse proxy, which alone may name a user",
        ),
        (
            "pages.existingSecret=",
            "pages.existingSecret is missing: the Secret of a sealed file with the password of pag",
        ),
        ("pages.existingSecret=martwright", "pages.existingSecret is existingSecret: the dashboard would have the cre"),
        (
            "pages.database.user=marts",
            "pages.database.user is marts, the user of target: give the dashboard one who may",
        ),
        ("pages.ingress.enabled=true", "pages.ingress.host is missing: the host name of the dashboard"),
        ('pack={"pack.toml": "name = 1"}', "pack has no dashboard.toml, which says what the dashboard shows"),
    ],
)
def test_a_mistake_in_the_values_of_the_dashboard_is_reported_if_it_is_on(given: str, message: str) -> None:
    [mistake] = mistakes(given, values=SETS["pages"])
    assert mistake.startswith(message)
    assert rendered(given)


def test_a_dashboard_needs_a_database_and_the_certificate_of_its_authority() -> None:
    local = ("mode=local", "target=duckdb:////data/marts.duckdb")
    [mistake] = mistakes(*local, values=SETS["pages"])
    assert mistake.startswith("pages.enabled needs a MySQL or MariaDB target")
    ca, mount = "settings.mysql.ssl_ca=/etc/ca/ca.pem", '[{"name":"ca","mountPath":"/etc/ca"}]'
    [mistake] = mistakes(ca, f"extraVolumeMounts={mount}", values=SETS["pages"])
    assert mistake.startswith(
        "settings.mysql.ssl_ca is /etc/ca/ca.pem, which the dashboard has not: mount it by pages."
    )
    assert rendered(ca, f"extraVolumeMounts={mount}", f"pages.extraVolumeMounts={mount}", values=SETS["pages"])
    assert rendered(ca, values=SETS["pages"])  # a file of the image


def test_a_duplicate_name_is_reported() -> None:
    duplicates = [{"name": "x", "command": "build", "schedule": "@daily"}] * 2
    assert mistakes(f"jobs={json.dumps(duplicates)}") == ["job x is defined twice"]


def test_unknown_modes_are_reported_even_without_the_schema() -> None:
    assert mistakes("mode=cron", schema=False) == ['mode is "cron": it must be rayjob, submit or local']


@pytest.mark.parametrize("release", ["2nd-martwright", "my.martwright"])
def test_a_release_whose_name_kuberay_refuses_is_reported(release: str) -> None:
    output = helm.run("template", release, str(CHART), "--values", str(MINIMAL)).stderr
    assert f"the name {release} must begin with a letter and contain no dot" in output
    named = helm.run("template", release, str(CHART), "--values", str(MINIMAL), "--set", "fullnameOverride=marts")
    assert named.returncode == 0


def test_mode_submit_needs_a_cluster() -> None:
    problems = mistakes("mode=submit", "rayCluster.create=false")
    assert problems == ["mode submit needs a cluster: rayCluster.create, or submit.address"]


def test_metrics_are_scraped_before_their_cluster_is_gone() -> None:
    given = ("podMonitor.enabled=true", "podMonitor.interval=60s", 'settings={"metrics":{"ray":0}}')
    problems = mistakes(*given, "rayJob.ttlSecondsAfterFinished=60")
    assert problems == ["rayJob.ttlSecondsAfterFinished must be above podMonitor.interval"]


def test_all_mistakes_are_reported_at_once() -> None:
    jobs = [{"name": "x", "command": "vacuum", "schedule": "*/5 * * * *", "startingDeadlineSeconds": 400}] * 2
    problems = mistakes(f"jobs={json.dumps(jobs)}", "ray.head.resources.limits.memory=1Gi", values=None)
    assert [each.split()[0] for each in problems[:4]] == ["image.repository", "source", "target", "existingSecret"]
    assert len(problems) == 8
    assert "The values have 8 mistake(s)" in refused(
        f"jobs={json.dumps(jobs)}", "ray.head.resources.limits.memory=1Gi", values=None
    )


@pytest.mark.parametrize(
    "given",
    [
        "target=mysql://marts@db:3306/marts",
        "target=mysql://marts:sealed:warehouse@db:3306/marts",
        "source=s3://a/b@c:d",
        "ray.head.resources.limits.memory=4096Mi",
        "ray.head.resources.limits.memory=16Gi",
        'extraEnv=[{"name":"TOKENIZERS","value":"1"},{"name":"SSL_KEY_FILE","value":"/x"},{"name":"BYPASS","value":"1"}]',
        "ray.worker.resources.requests.cpu=2000m",
        "launcher.resources.requests.memory=1024Mi",
        job(resources={"requests": {"cpu": 1}, "limits": {"cpu": "1000m"}}),
        "ray.shmSize=2.5Gi",
        'extraEnv=[{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"a","key":"b"}}}]',
        job(schedule="0 3 * * 1-5", startingDeadlineSeconds=90000),
        job(name="x" * 25),
        job(asOf="2025-12-31"),
        job(asOf=""),
        job(activeDeadlineSeconds=21601),
        'settings={"notify":{"to":{"mail":"sealed:notify.to.mail","hook":"jsons://hooks.example.com/x"}}}',
        'settings={"s3":{"secret_key":"sealed:s3.secret_key"}}',
        'settings={"pack":"banking","notify":{"on":["failed","fraud"],"only":{"desk":["ledger","alert"]}}}',
        'global={"imageRegistry":"x"}',
        "jobs=[]",
    ],
)
def test_what_is_right_is_not_refused(given: str) -> None:
    assert rendered(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("imag.repository=x", "'imag' not allowed"),
        ("image.repo=x", "'repo' not allowed"),
        ("rayjob.backoffLimit=1", "'rayjob' not allowed"),
        ("settings.s3.endpiont=x", "'endpiont' not allowed"),
        ("policy.incentive=1", "'incentive' not allowed"),
        ("settings.source=s3://x", "'source' not allowed"),
        ('pack={"sites.sql": "SELECT 1"}', "pack.toml"),
        ('pack={"pack.toml": "", "a/b.sql": ""}', "'a/b.sql' not allowed"),
        (job(cron="x"), "'cron' not allowed"),
        ("mode=RayJob", "'rayjob', 'submit', 'local'"),
        (job(command="builds"), "'build', 'vacuum', 'monthly', 'watchdog'"),
        (job(schedule="every day"), "does not match pattern"),
        (job(schedule="CRON_TZ=UTC 0 3 * * *"), "does not match pattern"),
        (job(name="Daily"), "does not match pattern"),
        (job(args=[1]), "got number, want string"),
        (job(asOf="friday"), "does not match pattern"),
        (job(asOf="31.12.2025"), "does not match pattern"),
        ("image.digest=sha256:abc", "does not match pattern"),
        ("settings.lock_timeout=soon", "got string, want integer"),
        ("settings.mysql.loaders=17", "maximum: got 17, want 16"),
        ("settings.s3.secret_key=hunter2", "does not match pattern"),
        ("settings.mysql.password=hunter2", "does not match pattern"),
        ("settings.notify.to.chat=slack://token/token/token", "does not match pattern"),
        ("settings.notify.to.mail=mailtos://me:pw@mail", "does not match pattern"),
        ('settings={"notify":{"on":["fraud"]}}', "must be one of"),
        ('settings={"notify":{"only":{"desk":["failure"]}}}', "must be one of"),
        ('settings={"pack":"banking","notify":{"on":["Fraud"]}}', "does not match pattern"),
        ("settings.notify.heartbeat=https://hc.example/x", "does not match pattern"),
        ("podMonitor.interval=90s", "does not match pattern"),
        ("ray.worker.replicas=0", "minimum: got 0, want 1"),
        ("pages.auth=oidc", "must be one of"),
        ("pages.replicas=0", "minimum: got 0, want 1"),
        ("pages.database.user=a@b", "does not match pattern"),
        ('pages.embed=["*"]', "does not match pattern"),
        ("settings.pages.auth=none", "'pages' not allowed"),
    ],
)
def test_a_typing_error_is_refused_by_the_schema(given: str, message: str) -> None:
    assert message in refused(given)


def test_the_schema_describes_every_value_and_knows_its_default() -> None:
    for path, about, needed in values("", SCHEMA):
        assert about.get("description"), path
        unset = "default" in about["description"]
        assert "default" in about or needed or unset, path


def test_the_schema_allows_nothing_that_it_does_not_name() -> None:
    parts = {path: about for path, about, _ in values("", SCHEMA) if about.get("type") == "object"}
    free = {path for path, about in parts.items() if about.get("additionalProperties", True) is True}
    # What Kubernetes defines, and what a parent chart hands down.
    kubernetes = {
        "affinity",
        "extraEnv[].valueFrom",
        "pages.extraEnv[].valueFrom",
        "podSecurityContext",
        "securityContext",
    }
    kubernetes |= {f"{part}.placement.affinity" for part in (*PARTS, "ray.head", "ray.worker")}
    # The numbers of another pack are those that it declares; of the shipped one, no other is allowed.
    assert free == {"global", "policy", "ray.workerGroups[].placement.affinity", *kubernetes}
    assert SCHEMA["then"]["properties"]["policy"]["additionalProperties"] is False
    assert SCHEMA["additionalProperties"] is False


def values(path: str, about: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Return each value below one: where it is, its schema, and whether it is needed."""
    for key, inner in about.get("properties", {}).items():
        where = f"{path}.{key}".lstrip(".")
        yield where, inner, key in about.get("required", ())
        yield from values(where, inner)
        yield from values(f"{where}[]", inner.get("items", {}))


def test_defaults_of_the_schema_are_those_of_the_values() -> None:
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    below_a_shape = re.compile("|".join(f"{re.escape(shape)}(\\[|[.])" for shape in schema.SHAPES))
    for path, about, _ in values("", SCHEMA):
        if path != "global" and "properties" not in about and not below_a_shape.match(path):
            assert about["default"] == at(given, path), path


def at(values: Any, path: str) -> Any:
    for step in path.split("."):
        values = values[step]
    return values


def test_a_value_without_a_comment_and_a_shape_without_a_value_are_defects(tmp_path: Any) -> None:
    text = (CHART / "values.yaml").read_text()
    silent = tmp_path / "values.yaml"
    silent.write_text(text + "\nmore: 1\n")
    with pytest.raises(ValueError, match="describes more"):
        schema.build(silent)
    silent.write_text(re.sub(r"# -- Affinity.*\naffinity: \{\}\n", "", text))
    with pytest.raises(ValueError, match="has no affinity"):
        schema.build(silent)


def test_bare_on_in_yaml_means_the_word() -> None:
    text = SETS["everything-on"].read_text()
    assert yaml.safe_load(text)["settings"]["notify"][True] == ["failed", "held", "recovered"]
    quoted = rendered('settings={"notify":{"on":["failed"]}}')
    assert 'on = ["failed"]' in charting.object_named(quoted, "ConfigMap", "martwright-config")["data"]["marts.toml"]


def test_what_has_drifted_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    goldens = {generate.PLAIN: "another", generate.golden(MINIMAL): generate.golden(MINIMAL).read_text()}
    monkeypatch.setattr(generate, "written", lambda: goldens)
    monkeypatch.setattr("sys.argv", ["generate", "--check"])
    assert generate.main() == 1
    messages = capsys.readouterr().err.splitlines()
    # And goldens of sets that are gone.
    assert "k8s/martwright.yaml is not up to date: run `make charts`" in messages
    assert "tests/golden/chart/local.yaml is not up to date: run `make charts`" in messages
    assert len(messages) == len(SETS)


def test_the_table_in_the_readme_has_every_value() -> None:
    rows = set(re.findall(r"^\| `([^`]+)` \|", generate.table(SCHEMA), re.MULTILINE))
    assert {"image.repository", "jobs[].maxAge", "settings", "networkPolicy.operator.podSelector"} <= rows
    assert generate.table(SCHEMA) in (CHART / "README.md").read_text()
