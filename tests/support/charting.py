"""What the chart renders, as objects; what Kubernetes and KubeRay would answer; every pod in them."""

import copy
import functools
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from k8s import generate, helm

Object = dict[str, Any]
CHART = generate.CHART
MINIMAL = CHART / "ci" / "minimal-values.yaml"
SETS = {path.name.removesuffix("-values.yaml"): path for path in generate.SETS}
VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
FOREIGN = {"RayJob", "RayCluster", "PodMonitor", "PrometheusRule"}
"""Kinds that Kubernetes itself does not know."""


def parsed(text: str) -> list[Object]:
    """Return the objects of a YAML text."""
    return [each for each in yaml.safe_load_all(text) if each]


def golden(name: str) -> list[Object]:
    """Return what a set of values renders to. One test compares the golden files with helm, the rest reads them."""
    return copy.deepcopy(_golden(name))


@functools.cache
def _golden(name: str) -> list[Object]:
    return parsed(generate.golden(SETS[name]).read_text())


def rendered(*settings: str, values: Path = MINIMAL) -> list[Object]:
    """Render one more time, with ``--set`` or ``--set-json`` for what holds brackets."""
    return parsed(helm.render(CHART, [values], *_flags(settings)))


def refused(*settings: str, values: Path | None = MINIMAL, schema: bool = True) -> str:
    """Return the errors of helm against the values."""
    more = () if schema else ("--skip-schema-validation",)
    with pytest.raises(ValueError, match="Error") as error:
        helm.render(CHART, [values] if values else [], *_flags(settings), *more)
    return str(error.value)


def mistakes(*settings: str, values: Path | None = MINIMAL, schema: bool = True) -> list[str]:
    """Return the mistakes that the chart found in the values."""
    output = refused(*settings, values=values, schema=schema)
    return [line[4:] for line in output.splitlines() if line.startswith("  - ")]


def _flags(settings: tuple[str, ...]) -> Iterator[str]:
    for setting in settings:
        yield "--set-json" if setting.partition("=")[2][:1] in ("[", "{") else "--set"
        yield setting


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Return the objects of a kind by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def object_named(objects: list[Object], kind: str, name: str) -> Object:
    """Return an object."""
    return of_kind(objects, kind)[name]


def rayjobs(objects: list[Object]) -> dict[str, Object]:
    """Return the templates of RayJobs by the names of their jobs."""
    maps = [each for name, each in of_kind(objects, "ConfigMap").items() if name.endswith("-rayjobs")]
    texts = maps[0]["data"] if maps else {}
    return {key.removesuffix(".yaml"): yaml.safe_load(text) for key, text in texts.items()}


def one_off(objects: list[Object]) -> Object:
    """Return the template of one-off Jobs."""
    (config_map,) = [each for name, each in of_kind(objects, "ConfigMap").items() if name.endswith("-one-off")]
    template: Object = yaml.safe_load(config_map["data"]["job.yaml"])
    return template


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Return every pod and pod template, wherever it is: its place, and the object with its metadata and spec."""
    for each in [*objects, *rayjobs(objects).values(), one_off(objects)]:
        name = each["metadata"].get("name", each["spec"].get("entrypoint") if each["kind"] == "RayJob" else "one-off")
        yield from _pods(f"{each['kind']} {name}", each)


def pods_of_jobs(objects: list[Object]) -> list[tuple[str, Object]]:
    """Return every pod but those of the dashboard, whose Secret, settings, variables and volumes are their own."""
    return [(where, pod) for where, pod in pods(objects) if not component(pod).startswith("pages")]


def component(pod: Object) -> str:
    """Return what a pod is a part of."""
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def _pods(where: str, node: Any) -> Iterator[tuple[str, Object]]:
    if isinstance(node, dict):
        spec = node.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            yield f"{where}: {spec['containers'][0]['name']}", node
        for inner in node.values():
            yield from _pods(where, inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _pods(where, inner)


def rights(name: str, who: str) -> set[tuple[str, str]]:
    """Return the verbs and resources of an account that the chart makes; of one of somebody else's what it needs."""
    roles = [role for key, role in of_kind(golden(name), "Role").items() if key.endswith(f"-{who}")]
    if not roles:
        return rights("minimal", who)
    return {(v, r) for rule in roles[0]["rules"] for r in rule["resources"] for v in rule["verbs"]}


def command(objects: list[Object], job: str) -> list[str]:
    """Return the whole command line of a CronJob."""
    container = pod_of(objects, job)["spec"]["containers"][0]
    line: list[str] = container["command"] + container["args"]
    return line


def pod_of(objects: list[Object], job: str) -> Object:
    """Return the pod of a CronJob."""
    pod: Object = object_named(objects, "CronJob", job)["spec"]["jobTemplate"]["spec"]["template"]
    return pod


def variables(container: Object) -> dict[str, Any]:
    """Return the variables of a container: their value, or where it is."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container.get("env", ())}


def mounted(pod: Object) -> set[str]:
    """Return the paths below /etc/martwright that a pod finds."""
    volume = next(each for each in pod["spec"]["volumes"] if each["name"] == "martwright")
    sources = [next(iter(source.values())) for source in volume["projected"]["sources"]]
    return {item["path"] for source in sources for item in source.get("items", ())}


def invalid(objects: list[Object], version: str) -> list[str]:
    """Describe what a version of Kubernetes would refuse, unknown fields included."""
    import kubernetes_validate
    from kubernetes_validate import utils

    # It reads megabytes of schemas anew for each object.
    if not hasattr(utils.schema_contents, "cache_info"):
        utils.schema_contents = functools.cache(utils.schema_contents)
    problems = []
    for each in objects:
        if each["kind"] in FOREIGN:
            continue
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(str(part) for part in error.path)
            name = each["metadata"].get("name", "")
            problems.append(f"{each['kind']} {name} in {version}: {place}: {error.message}")
    return problems


def kuberay_refuses(custom: Object) -> list[str]:
    """Describe what KubeRay's own definition of a RayJob or RayCluster refuses, unknown fields included."""
    kind = custom["kind"].lower()
    return [f"{'.'.join(map(str, e.path))}: {e.message}" for e in _definition(f"ray.io_{kind}s").iter_errors(custom)]


def _definitions() -> Path | None:
    places = [os.environ.get("KUBERAY_CRDS"), generate.ROOT.parent / "shared" / "kuberay-crds"]
    return next((Path(place) for place in places if place and Path(place).is_dir()), None)


needs_kuberay = pytest.mark.skipif(
    _definitions() is None,
    reason="KubeRay's definitions are not there: put ray.io_rayjobs.yaml and ray.io_rayclusters.yaml of its release "
    "into ../shared/kuberay-crds, or into the folder that KUBERAY_CRDS names",
)


@functools.cache
def _definition(name: str) -> jsonschema.Draft202012Validator:
    folder = _definitions()
    assert folder
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    whole = yaml.load((folder / f"{name}.yaml").read_text(), loader)
    version = next(each for each in whole["spec"]["versions"] if each["name"] == "v1")
    return jsonschema.Draft202012Validator(_closed(version["schema"]["openAPIV3Schema"]))


def _closed(node: Any) -> Any:
    """Refuse fields that a definition does not name, as `kubectl apply` does."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def not_restricted(pod: Object) -> list[str]:
    """Describe what the `restricted` standard of Kubernetes, and a read-only root, have against a pod."""
    spec = pod["spec"]
    pod_context = spec.get("securityContext", {})
    wrong = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    wrong += [f"volume {each['name']}" for each in spec["volumes"] if not set(each) - {"name"} <= allowed]
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        own = container.get("securityContext", {})
        both = {**pod_context, **own}
        wrong += ["privileged"] if own.get("privileged") else []
        wrong += [] if own.get("allowPrivilegeEscalation") is False else ["allowPrivilegeEscalation"]
        wrong += [] if own.get("capabilities") == {"drop": ["ALL"]} else ["capabilities"]
        wrong += [] if both.get("runAsNonRoot") is True and both.get("runAsUser", 1) > 0 else ["runAsNonRoot"]
        wrong += [] if both.get("seccompProfile") == {"type": "RuntimeDefault"} else ["seccompProfile"]
        wrong += [f"hostPort {port}" for port in container.get("ports", ()) if "hostPort" in port]
        wrong += [] if own.get("readOnlyRootFilesystem") is True else ["readOnlyRootFilesystem"]
        wrong += [] if {"memory"} <= set(container["resources"]["limits"]) else ["no limit of memory"]
    return wrong


def write_config(objects: list[Object], folder: Path, name: str = "martwright", part: str = "config") -> Path:
    """Write the files that pods find in /etc/martwright into a folder; those of the dashboard for ``part`` pages."""
    for key, text in object_named(objects, "ConfigMap", f"{name}-{part}")["data"].items():
        (folder / key).write_text(textwrap.dedent(text))
    for each in objects:
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == f"{name}-pack":
            (folder / "pack").mkdir()
            for key, text in each["data"].items():
                (folder / "pack" / key).write_text(text)
    return folder / "marts.toml"
