"""The dashboard of the chart: what it renders, what its pods can reach, and that it works with the database only."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml
from support import charting
from support.charting import CHART, SETS, golden, object_named, of_kind, rendered, variables
from support.dashboards import BOARD, company
from support.servers import PASSWORD, SqlServer, free_port

from jobs.adapters.warehouse.open import open_warehouse
from jobs.adapters.web import HEALTH
from jobs.config.load import load
from jobs.operations.doctor import examine_pages
from jobs.pages.live import Live
from jobs.pages.site import Site
from k8s import generate
from marts.packs import shipped

NAME = "martwright-pages"
OWN = {"app.kubernetes.io/name": "martwright", "app.kubernetes.io/instance": "martwright"}
DASHBOARD = {**OWN, "app.kubernetes.io/component": "pages"}
MARTS = str(Path(sys.executable).parent / "marts")


def rendered_pages(*settings: str) -> list[dict[str, Any]]:
    return rendered(*settings, values=SETS["pages"])


def pod_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = object_named(objects, "Deployment", NAME)["spec"]["template"]
    return pod


def container_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (container,) = pod_of(objects)["spec"]["containers"]
    return dict(container)


def policy_of(objects: list[dict[str, Any]], name: str = NAME) -> dict[str, Any]:
    spec: dict[str, Any] = object_named(objects, "NetworkPolicy", name)["spec"]
    return spec


def names(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in objects}


def test_it_is_off_by_default_and_changes_nothing_else_when_it_is_on() -> None:
    off, on = golden("minimal"), golden("pages")
    kinds = {"ConfigMap", "Deployment", "Service", "NetworkPolicy", "ServiceAccount"}
    tests = {("Service", f"{NAME}-test"), ("Pod", f"{NAME}-test")}
    assert names(on) - names(off) == {(kind, NAME) for kind in kinds} | tests
    assert names(off) <= names(on)
    changed = [each["metadata"]["name"] for each in off if each not in on]
    assert changed == ["martwright"], "the NetworkPolicy of jobs leaves the pods of the dashboard to their own"
    assert ("NetworkPolicy", NAME) not in names(rendered_pages("networkPolicy.enabled=false"))


@pytest.mark.parametrize("name", ["pages", "everything-on"])
def test_its_pods_are_restricted_and_ask_no_api(name: str) -> None:
    pods = [(where, pod) for where, pod in charting.pods(golden(name)) if charting.component(pod).startswith("pages")]
    assert [where for where, _ in pods] == [f"Deployment {NAME}: marts", f"Pod {NAME}-test: marts"]
    for _, pod in pods:
        spec = pod["spec"]
        assert charting.not_restricted({"spec": {"volumes": [], **spec}}) == []
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert spec["serviceAccountName"] == NAME
    account = object_named(golden(name), "ServiceAccount", NAME)
    assert account["automountServiceAccountToken"] is False
    subjects = [each["subjects"][0]["name"] for each in of_kind(golden(name), "RoleBinding").values()]
    assert NAME not in subjects


def test_a_pod_serves_and_is_started_again() -> None:
    pod = pod_of(golden("pages"))
    container = container_of(golden("pages"))
    assert container["command"] + container["args"] == ["marts", "serve"]
    assert (pod["spec"]["restartPolicy"], container["ports"]) == ("Always", [{"name": "http", "containerPort": 8700}])
    assert container["resources"]["requests"]["memory"] == "384Mi"
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {paths["tmp"], paths["home"]} == {"/tmp", variables(container)["HOME"]}
    assert "cluster-autoscaler.kubernetes.io/safe-to-evict" not in pod["metadata"]["annotations"]
    rolling = object_named(golden("pages"), "Deployment", NAME)["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": 0, "maxSurge": 1}


def test_probes_ask_for_addresses_that_the_server_has() -> None:
    def never() -> Any:
        raise AssertionError("a probe opens no database")

    site = Site(Live(shipped("retail"), BOARD, never, now), now, 60)
    container = container_of(golden("pages"))
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    (fetched,) = object_named(golden("pages"), "Pod", f"{NAME}-test")["spec"]["containers"][0]["args"]
    for path in (*(probe["path"] for probe in probes.values()), fetched.removeprefix(f"http://{NAME}-test:8700")):
        assert path in HEALTH, "others need a token"
        assert site.respond(path, "").status == (200 if path == "/healthz" else 503)
    assert site.respond("/another", "").status == 404
    assert {probe["port"] for probe in probes.values()} == {container["ports"][0]["name"]}


def test_it_has_its_own_sealed_file_and_nothing_of_the_builds() -> None:
    secrets = '{"name":"keys","secret":{"secretName":"s3-keys"}}'
    for_jobs = [
        'extraEnv=[{"name":"AWS_SECRET_ACCESS_KEY","valueFrom":{"secretKeyRef":{"name":"s3-keys","key":"k"}}}]',
        'envFrom=[{"secretRef":{"name":"s3-keys"}}]',
        f"extraVolumes=[{secrets}]",
        'extraVolumeMounts=[{"name":"keys","mountPath":"/keys"}]',
        'initContainers=[{"name":"init","image":"x","volumeMounts":[{"name":"keys","mountPath":"/keys"}]}]',
        'settings.s3={"endpoint":"https://minio:9000","secret_key":"sealed:s3.other"}',
        'settings.mysql={"password":"sealed:writer","option_file":"/keys/my.cnf","ssl_cert":"/keys/c","ssl_ca":"/ca.pem"}',
    ]
    for objects in (golden("pages"), rendered_pages(*for_jobs)):
        pod = pod_of(objects)
        assert set(re.findall(r'"(?:secretName|secret)": [^}]*?"name": "([^"]+)"', json.dumps(pod))) == {NAME}
        assert "s3" not in json.dumps(pod)
        (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "martwright"]
        assert [item for source in volume["projected"]["sources"] for item in source] == ["configMap", "secret"]
        assert charting.mounted(pod) == {"secrets/credentials.json", "secrets/key.pem"}
        assert volume["projected"]["defaultMode"] == 0o440
        assert [value for value in variables(container_of(objects)).values() if not isinstance(value, str)] == []
    config = object_named(objects, "ConfigMap", NAME)["data"]["marts.toml"]
    assert re.findall("s3|state|source|writer|my.cnf|ssl_cert", config) == []
    assert 'ssl_ca = "/ca.pem"' in config
    test = object_named(golden("pages"), "Pod", f"{NAME}-test")["spec"]
    assert {"volumes", "initContainers"} & set(test) == set()
    assert {"env", "envFrom", "volumeMounts"} & set(test["containers"][0]) == set()


def test_what_it_has_of_its_own_reaches_its_pods() -> None:
    spec = pod_of(golden("everything-on"))["spec"]
    (container,) = spec["containers"]
    assert variables(container)["TZ"] == "UTC"
    assert {"name": "ca", "configMap": {"name": "database-ca"}} in spec["volumes"]
    assert {"name": "ca", "mountPath": "/etc/ca", "readOnly": True} in container["volumeMounts"]
    assert [(each["name"], each["restartPolicy"]) for each in spec["initContainers"]] == [("tunnel", "Always")]
    assert spec["tolerations"] == [{"key": "web", "operator": "Exists"}]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "600Mi"}


@pytest.mark.usefixtures("all_marts")
@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("mysql://marts@db:3306/marts", "mysql://reader@db:3306/marts"),
        ("mysql://marts:sealed:warehouse@db/marts", "mysql://reader@db/marts"),
        ("mysql://db:3307/marts", "mysql://reader@db:3307/marts"),
        ("mysql://marts@[fd00::5]:3307/marts", "mysql://reader@[fd00::5]:3307/marts"),
    ],
)
def test_the_program_reads_its_configuration(target: str, reached: str, tmp_path: Path) -> None:
    settings = {"ids": "text", "leave_out": ["customers"], "mysql": {"deadline": 30}, "lock_timeout": 5}
    own = ["pages.auth=proxy", 'pages.proxies=["10.0.0.0/8"]', "pages.database.user=reader", "pages.pollSeconds=20"]
    objects = rendered_pages(f"target={target}", f"settings={json.dumps(settings)}", *own)
    read = load(str(charting.write_config(objects, tmp_path, part="pages")), {}, places=False)
    assert (read.target, read.source, read.state) == (reached, None, None)
    assert (read.ids, read.leave_out, read.mysql.deadline) == ("text", ("customers",), 30)
    assert (read.pages.bind, read.pages.port, read.pages.poll_seconds) == ("0.0.0.0", 8700, 20)
    assert (read.pages.auth, read.pages.proxies) == ("proxy", ("10.0.0.0/8",))
    out = policy_of(objects)["egress"]
    assert out[1]["ports"] == [{"port": 3307 if "3307" in target else 3306, "protocol": "TCP"}]


def test_a_pack_of_ones_own_has_its_dashboard_in_the_pods() -> None:
    pack = {"pack.toml": "", "a.sql": "", "dashboard.toml": ""}
    objects = rendered_pages(f"pack={json.dumps(pack)}")
    assert {f"pack/{name}" for name in pack} <= charting.mounted(pod_of(objects))
    assert variables(container_of(objects))["MARTS_PACK"] == "/etc/martwright/pack"


def test_pods_are_replaced_when_what_they_read_at_the_start_changes() -> None:
    def checksum(*settings: str) -> str:
        return str(pod_of(rendered_pages(*settings))["metadata"]["annotations"]["checksum/config"])

    before = checksum()
    assert (
        len({before, checksum("pages.auth=none"), checksum('settings={"ids":"text"}'), checksum("target=mysql://x/y")})
        == 4
    )
    assert checksum('settings={"lock_timeout":5}', "source=s3://other") == before
    packs = [f"pack={json.dumps({'pack.toml': '', 'dashboard.toml': text})}" for text in "ab"]
    assert len({checksum(pack) for pack in packs}) == 2


def test_only_the_ingress_controller_helm_test_and_prometheus_come_in_and_only_the_database_is_reached() -> None:
    policy = policy_of(golden("pages"))
    assert policy["podSelector"] == {"matchLabels": DASHBOARD}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    rule, scrape = policy["ingress"]
    controller, test = rule["from"]
    (prometheus,) = scrape["from"]
    assert prometheus["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    assert scrape["ports"] == rule["ports"]
    assert controller["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}
    tests = object_named(golden("pages"), "Pod", f"{NAME}-test")["metadata"]["labels"]
    assert test["podSelector"]["matchLabels"].items() <= tests.items()
    assert rule["ports"] == [{"port": 8700, "protocol": "TCP"}]
    assert [[port["port"] for port in out["ports"]] for out in policy["egress"]] == [[53, 53], [3306]]
    policy = policy_of(golden("everything-on"))
    dns, database, more = policy["egress"]
    assert "to" not in dns
    assert database["to"] == [{"ipBlock": {"cidr": "10.0.0.5/32"}}]
    assert more["ports"] == [{"port": 443}]
    assert policy["ingress"][2] == {"from": [{"podSelector": {"matchLabels": {"app": "debug"}}}]}


def test_prometheus_scrapes_the_port_of_its_pods() -> None:
    monitors = of_kind(golden("everything-on"), "PodMonitor")
    spec = monitors[NAME]["spec"]
    assert spec["selector"] == {"matchLabels": DASHBOARD}
    (endpoint,) = spec["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    (container,) = [each for each in pod_of(golden("everything-on"))["spec"]["containers"] if "ports" in each]
    assert [port["name"] for port in container["ports"]] == ["http"]


@pytest.mark.parametrize("name", ["pages", "everything-on"])
def test_no_policy_of_jobs_lets_it_reach_s3_or_ray(name: str) -> None:
    """Policies add up: what any of them allows is allowed."""
    labels = pod_of(golden(name))["metadata"]["labels"]
    of_jobs = policy_of(golden(name), "martwright")
    assert not selects(of_jobs["podSelector"], labels)
    own, *_ = of_jobs["ingress"]
    assert not selects(own["from"][0]["podSelector"], labels)
    for _, pod in charting.pods_of_jobs(golden(name)):
        assert selects(of_jobs["podSelector"], pod["metadata"]["labels"])
    assert selects(of_jobs["podSelector"], object_named(golden(name), "Pod", f"{NAME}-test")["metadata"]["labels"])
    if name == "everything-on":
        assert selects(of_jobs["egress"][0]["to"][0]["podSelector"], labels), "helm test reaches the dashboard"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a selector selects a pod."""
    left_out = [labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ())]
    assert {each["operator"] for each in selector.get("matchExpressions", ())} <= {"NotIn"}
    return selector["matchLabels"].items() <= labels.items() and not any(left_out)


def test_services_find_its_pods_that_are_ready_and_those_of_the_test_all() -> None:
    services = of_kind(golden("pages"), "Service")
    labels = pod_of(golden("pages"))["metadata"]["labels"]
    assert set(services) == {NAME, f"{NAME}-test"}
    for name, service in services.items():
        assert service["spec"]["type"] == "ClusterIP"
        assert service["spec"]["selector"] == DASHBOARD
        assert DASHBOARD.items() <= labels.items()
        assert service["spec"].get("publishNotReadyAddresses", False) is (name != NAME)
    hook = services[f"{NAME}-test"]["metadata"]["annotations"]
    assert (hook["helm.sh/hook"], int(hook["helm.sh/hook-weight"]) < 0) == ("test", True)
    assert "hook-succeeded" in hook["helm.sh/hook-delete-policy"], "nothing stays that the dashboard can be reached by"


def test_an_ingress_is_made_when_it_is_asked_for() -> None:
    assert of_kind(golden("pages"), "Ingress") == {}
    ingress = object_named(golden("everything-on"), "Ingress", NAME)
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": "letsencrypt"}
    spec = ingress["spec"]
    assert (spec["ingressClassName"], spec["tls"]) == (
        "nginx",
        [{"hosts": ["retail.example.com"], "secretName": "retail-tls"}],
    )
    (rule,) = spec["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == ("retail.example.com", "/", "Prefix")
    assert path["backend"] == {"service": {"name": NAME, "port": {"name": "http"}}}
    plain = object_named(rendered_pages("pages.ingress.enabled=true", "pages.ingress.host=a.b"), "Ingress", NAME)
    assert {"tls", "ingressClassName"} & set(plain["spec"]) == set()


def test_a_second_pod_is_protected_from_an_eviction_of_both() -> None:
    assert of_kind(golden("pages"), "PodDisruptionBudget") == {}
    budget = object_named(golden("everything-on"), "PodDisruptionBudget", NAME)["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": DASHBOARD}}
    assert object_named(golden("everything-on"), "Deployment", NAME)["spec"]["replicas"] == 2


def test_an_account_of_somebody_else_is_used_as_it_is() -> None:
    objects = rendered_pages("serviceAccount.pages.create=false", "serviceAccount.pages.name=theirs")
    assert NAME not in of_kind(objects, "ServiceAccount")
    assert pod_of(objects)["spec"]["serviceAccountName"] == "theirs"


def make_reader(folder: Path, server: SqlServer, database: str) -> list[str]:
    """Build marts into a database, and create the user of docs/pages.md; return its grants."""
    assert company(folder / "company", target=server.make_database(database)).build().error is None
    page = (generate.ROOT / "docs" / "pages.md").read_text()
    (block,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    user, *grants = [
        text for text in block.replace("ON marts.", f"ON {database}.").replace("…", PASSWORD).split(";\n") if text
    ]
    server.run("DROP USER IF EXISTS 'marts_pages'@'%'", user, *grants)
    return grants


@pytest.mark.database
@pytest.mark.usefixtures("all_marts")
def test_each_right_of_its_user_is_needed_and_missed_if_it_is_not_there(tmp_path: Path, mariadb: SqlServer) -> None:
    grants = make_reader(tmp_path, mariadb, "rights")
    address = f"mysql://marts_pages:{quote(PASSWORD, safe='')}@127.0.0.1:{mariadb.port}/rights"
    settings = load(None, {"target": address})
    assert [check.exit_code for check in examine_pages(settings)] == [0, 0, 0, 0]
    for grant in grants:
        mariadb.run(grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
        table = grant.partition("ON rights.")[2].partition(" ")[0]
        hidden = table in ("marts_publications", "marts_generations")
        expected = "is not published yet" if hidden else table
        (denied,) = [check for check in examine_pages(settings) if not check.ok]
        assert (denied.what, expected in denied.text) == ("tables" if hidden else "target", True), denied
        live = Live(shipped("retail"), BOARD, partial(open_warehouse, address, settings.mysql, shipped("retail")), now)
        trouble = live.look().trouble
        assert trouble
        assert expected in trouble.what
        mariadb.run(grant)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def pod(tmp_path: Path, mariadb: SqlServer) -> tuple[list[str], dict[str, str], SqlServer]:
    """The command line and the variables of a pod, with its files, as docs/kubernetes.md sets it up."""
    make_reader(tmp_path, mariadb, "served")
    objects = rendered_pages(f"target=mysql://builds@127.0.0.1:{mariadb.port}/served")
    mounted, home = tmp_path / "etc", tmp_path / "home"
    (mounted / "secrets").mkdir(parents=True)
    home.mkdir()
    charting.write_config(objects, mounted, part="pages")
    for key, text in sealed(tmp_path).items():
        (mounted / "secrets" / key).write_bytes(base64.b64decode(text))
        (mounted / "secrets" / key).chmod(0o400)
    container = container_of(objects)
    given = variables(container) | {"MARTS_PAGES__PORT": str(free_port()), "TMPDIR": str(home)}
    places = {"/etc/martwright": str(mounted), "/home/marts": str(home)}
    for inside, outside in places.items():
        given = {name: value.replace(inside, outside) for name, value in given.items()}
    keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    line = [MARTS if word == "marts" else word for word in container["command"] + container["args"]]
    return line, keep | given, mariadb


def sealed(folder: Path) -> dict[str, str]:
    """Return the data of the Secret that the commands of docs/kubernetes.md create."""
    page = (generate.ROOT / "docs" / "kubernetes.md").read_text()
    (script,) = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "secrets/pages.json" in block]
    script = script.partition("helm upgrade")[0].replace("kubectl apply -f -", "cat > secret.yaml")
    where = {**os.environ, "HOME": str(folder), "PATH": f"{Path(MARTS).parent}{os.pathsep}{os.environ['PATH']}"}
    given = {"input": PASSWORD, "text": True, "capture_output": True, "timeout": 120}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=where, check=False, **given)
    assert done.returncode == 0, done.stderr
    secret = yaml.safe_load((folder / "secret.yaml").read_text())
    assert secret["metadata"] == {"name": NAME, "namespace": "marts"}
    listed = [MARTS, "secrets", "list", "--file", str(folder / "secrets/pages.json"), "--json"]
    held = json.loads(subprocess.run(listed, env=where, check=True, capture_output=True).stdout)["values"]
    assert held == ["mysql.password", "pages.token"]
    return {key: value for key, value in secret["data"].items() if key != "auth_token"}


@pytest.mark.database
@pytest.mark.usefixtures("all_marts")
def test_it_works_with_the_database_only(pod: tuple[list[str], dict[str, str], SqlServer], tmp_path: Path) -> None:
    line, environment, server = pod
    doctor = subprocess.run(
        [MARTS, "doctor", "--serve", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert {check["what"]: check["text"] for check in json.loads(doctor.stdout)}["rights"] == "may only read"
    assert doctor.returncode == 0
    address = f"http://127.0.0.1:{environment['MARTS_PAGES__PORT']}"
    token = subprocess.run(
        [MARTS, "secrets", "show", "pages.token", "--reveal"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    before = sorted(path for path in (tmp_path / "etc").rglob("*"))
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(line, env=environment, cwd=tmp_path / "home", stdout=log, stderr=log) as process,
    ):
        try:
            fetched = fetch(f"{address}/healthz")
            assert fetched.stdout == f"{address}/healthz answers 200\n", (tmp_path / "log").read_text()
            assert requests.get(f"{address}/readyz", timeout=20).text == "ready\n"
            assert requests.get(f"{address}/retail", timeout=20).status_code == 401
            page = requests.get(f"{address}/retail", headers={"Authorization": f"Bearer {token}"}, timeout=60)
            assert (page.status_code, "as of <strong>2024-03-31</strong>" in page.text) == (200, True)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    written = (tmp_path / "log").read_text()
    assert token not in written
    assert sorted(path for path in (tmp_path / "etc").rglob("*")) == before
    denied = [f"SELECT * FROM served.{table}" for table in ("customers_data_mart", "marts_notices", "marts_audit")]
    for statement in denied:
        assert "denied" in as_reader(server, statement)


def fetch(address: str) -> "subprocess.CompletedProcess[str]":
    """Run what `helm test` runs."""
    container = object_named(golden("pages"), "Pod", f"{NAME}-test")["spec"]["containers"][0]
    python, *arguments = container["command"]
    assert python == "python"
    assert arguments[1] == textwrap.dedent((CHART / "files" / "fetch.py").read_text())
    return subprocess.run(
        [sys.executable, *arguments, address], capture_output=True, text=True, timeout=150, check=False
    )


def as_reader(server: SqlServer, statement: str) -> str:
    """Return why the database refuses a statement of the user of the dashboard."""
    import mysql.connector

    with (
        mysql.connector.connect(
            host="127.0.0.1", port=server.port, user="marts_pages", password=PASSWORD, use_pure=True
        ) as connection,
        connection.cursor() as cursor,
        pytest.raises(mysql.connector.Error) as refused,
    ):
        cursor.execute(statement)
    return str(refused.value)
