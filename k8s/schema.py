"""values.schema.json: descriptions and defaults are those of values.yaml; what a value may be here or in settings."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from jobs.config.settings import Settings
from marts.policy import Policy

Schema = dict[str, Any]

_ELSEWHERE = {"source", "target", "state", "reports_url", "policy", "expectations", "secrets", "as_of", "mart"}
"""Settings that other values of the chart give."""
_NAME = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
_CRON = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[^ =]+( [^ =]+){4})$"


def build(values: Path) -> Schema:
    """Return the schema of a values file, whose comments describe each value."""
    text = values.read_text(encoding="utf-8")
    parsed = yaml.safe_load(text)
    if gone := {path for path in SHAPES if not _has(parsed, path.split("."))}:
        raise ValueError(f"k8s/schema.py: values.yaml has no {', '.join(sorted(gone))}")
    top = _object("", parsed, _comments(text))
    about = "Values of the Martwright chart. Written by `make charts`: change values.yaml or k8s/schema.py."
    # A parent chart hands this down, whatever we make of it.
    top["properties"]["global"] = {"type": "object", "description": "Of a parent chart; not used.", "default": {}}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Martwright", "description": about, **top}


def _has(values: Any, path: list[str]) -> bool:
    return not path or (isinstance(values, dict) and path[0] in values and _has(values[path[0]], path[1:]))


def _comments(text: str) -> dict[str, str]:
    """Return what `# -- …` says above each key, by the path of the key."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            said = [stripped[5:]]
        elif stripped.startswith("# ") and said:
            said.append(stripped[2:])
        elif key := re.match(r"^( *)([A-Za-z0-9_./-]+):", line):
            indent = len(key[1])
            path = [*(step for step in path if step[0] < indent), (indent, key[2])]
            if said:
                found[".".join(name for _, name in path)] = " ".join(said)
            said = []
        else:
            said = []
    return found


def _object(path: str, values: dict[str, Any], comments: dict[str, str]) -> Schema:
    properties = {}
    for key, value in values.items():
        where = f"{path}.{key}".lstrip(".")
        if where not in comments:
            raise ValueError(f"values.yaml: no comment `# -- …` describes {where}")
        about = {"description": comments[where]}
        if where in SHAPES:
            properties[key] = {**SHAPES[where], **about, "default": value}
        elif isinstance(value, dict):
            properties[key] = {**_object(where, value, comments), **about, "default": {}}
        else:
            properties[key] = {"type": _TYPES[type(value)], **about, "default": value}
    return {"type": "object", "additionalProperties": False, "properties": properties}


_TYPES = {str: "string", bool: "boolean", int: "integer"}


def _text(description: str, default: str = "", **more: Any) -> Schema:
    return {"type": "string", "description": description, "default": default, **more}


def _number(description: str, default: int | None, least: int = 0) -> Schema:
    known = {} if default is None else {"default": default}
    return {"type": "integer", "minimum": least, "description": description, **known}


def _closed(properties: dict[str, Schema], required: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object with these properties only. What is required has no default."""
    for name in required:
        properties[name].pop("default", None)
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, **needed, "properties": properties, **more}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_QUANTITIES: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number"], "pattern": _QUANTITY},
}
_FREE: Schema = {"type": "object", "additionalProperties": True}
"""What Kubernetes defines, and checks."""


def _resources(description: str = "") -> Schema:
    about: Schema = {"description": description} if description else {}
    parts = {
        "requests": {**_QUANTITIES, "description": "What is reserved.", "default": {}},
        "limits": {**_QUANTITIES, "description": "What is the most.", "default": {}},
    }
    return {**_closed(parts), **about}


_SELECTOR = _closed(
    {
        "matchLabels": {**_TEXTS, "description": "Labels.", "default": {}},
        "matchExpressions": {
            **_list(
                _closed(
                    {
                        "key": _text("Label."),
                        "operator": _text("How.", enum=["In", "NotIn", "Exists", "DoesNotExist"]),
                        "values": {**_list({"type": "string"}), "description": "Of In and NotIn.", "default": []},
                    },
                    ("key", "operator"),
                )
            ),
            "description": "Conditions on labels.",
            "default": [],
        },
    }
)
_TOLERATIONS = _list(
    _closed(
        {
            "key": _text("Of the taint; all by default."),
            "operator": _text("How.", "Equal", enum=["Equal", "Exists"]),
            "value": _text("Of the taint."),
            "effect": _text("Of the taint; all by default.", enum=["", "NoSchedule", "PreferNoSchedule", "NoExecute"]),
            "tolerationSeconds": _number("How long NoExecute is borne; for ever by default.", None),
        }
    )
)
_PLACEMENT = _closed(
    {
        "nodeSelector": {**_TEXTS, "description": "Nodes.", "default": {}},
        "tolerations": {**_TOLERATIONS, "description": "Taints that are borne.", "default": []},
        "affinity": {**_FREE, "description": "Affinity.", "default": {}},
        "topologySpreadConstraints": {**_list(_FREE), "description": "How pods are spread.", "default": []},
        "priorityClassName": _text("Priority class."),
    }
)
_JOB = _closed(
    {
        "name": _text("Of the job; its CronJob is `<fullname>-<name>`.", pattern=_NAME, maxLength=34),
        "command": _text(
            "`build`; `vacuum` removes what no live drop needs; `watchdog` tells of builds that never began.",
            enum=["build", "vacuum", "watchdog"],
        ),
        "schedule": _text("As cron has it.", pattern=_CRON),
        "timeZone": _text("Of the schedule.", "Etc/UTC", minLength=1),
        "mart": _text("Build only this one; both by default.", enum=["", "customers", "sales_team"]),
        "args": {
            **_list({"type": "string"}),
            "description": "More arguments of the command, such as `--rescan`.",
            "default": [],
        },
        "suspend": {
            "type": "boolean",
            "description": "Begin no more. Rendered only if true, so that `kubectl patch` is not undone.",
            "default": False,
        },
        "maxAge": _number(
            "Seconds without a success, and without a run that began, after which the watchdog gives notice; 0: never.",
            0,
        ),
        "startingDeadlineSeconds": _number(
            "How late it may begin, below the period; by default an hour, or half the period if that is less.", None, 10
        ),
        "activeDeadlineSeconds": _number(
            "How long it may take with all attempts. By default: a build in mode `rayjob` 15 minutes more than its "
            "RayJob with all attempts, another build 14400, vacuum 3600, watchdog 300.",
            None,
            60,
        ),
        "backoffLimit": _number("Attempts after the first, if it did not end with 2, 65 or 70.", 2),
        "ttlSecondsAfterFinished": _number("How long a finished one is kept.", 259200, 600),
        "successfulJobsHistoryLimit": _number("How many successful ones are kept.", 3, 1),
        "failedJobsHistoryLimit": _number("How many failed ones are kept; the watchdog looks at them.", 3, 1),
        "resources": {
            **_resources("Of its pod (in mode `rayjob`: of the launcher); by default those of the command."),
            "default": {},
        },
    },
    ("name", "command", "schedule"),
)


_WORKERS = _closed(
    {
        "name": _text("Of the group.", pattern=_NAME, maxLength=34),
        "replicas": _number("How many at the start.", 0),
        "minReplicas": _number("How many at least; `replicas` by default.", None),
        "maxReplicas": _number("How many at most; `replicas` by default.", None),
        "resources": {**_resources("Resources of each; those of `ray.worker` by default."), "default": {}},
        "placement": {**_PLACEMENT, "description": "Where they run; as `ray.worker` by default.", "default": {}},
    },
    ("name",),
)


class _Sealed(GenerateJsonSchema):
    """A credential is written as the name of a sealed one."""

    def function_plain_schema(self, _: Any) -> Schema:
        return {"type": "string", "pattern": "^sealed:[A-Za-z0-9._-]+$"}


def of_model(model: type[BaseModel], without: frozenset[str] = frozenset()) -> Schema:
    """Return the schema of a pydantic model without references, with nothing allowed that it does not know."""
    whole = model.model_json_schema(schema_generator=_Sealed)
    made = _plain(whole, whole.get("$defs", {}), "")
    for name in without:
        del made["properties"][name]
    return made


def _plain(node: Schema, defs: dict[str, Schema], about: str) -> Schema:
    node = {key: value for key, value in node.items() if key not in ("title", "$defs")}
    if "$ref" in node:
        node = {**defs[node.pop("$ref").rpartition("/")[2]], **node}
        return _plain(node, defs, about)
    if "anyOf" in node:
        return _plain({**_one_of(node.pop("anyOf")), **node}, defs, about)
    # The first sentence is what the class is; the rest is for who reads its code.
    node["description"] = node.get("description", about).split("\n")[0]
    if "default" in node:
        node["default"] = _given(node["default"])
        if node["default"] is None:
            del node["default"]
            node["description"] += "" if "default" in node["description"] else "; not set by default"
    if "properties" in node:
        described = node["description"]
        node["properties"] = {key: _plain(value, defs, described) for key, value in node["properties"].items()}
        node["additionalProperties"] = False
        node |= {"default": {}} if isinstance(node.get("default"), dict) else {}
    for inner in ("items", "additionalProperties"):
        if isinstance(node.get(inner), dict):
            node[inner] = _plain(node[inner], defs, node["description"])
    return node


def _given(default: Any) -> Any:
    """Leave out what is not set."""
    if isinstance(default, dict):
        return {key: _given(value) for key, value in default.items() if value is not None}
    return [_given(value) for value in default] if isinstance(default, list) else default


def _one_of(choices: list[Schema]) -> Schema:
    """Nothing may be left out; a decimal may be a number or a text, whose digits pydantic counts."""
    given = [choice for choice in choices if choice.get("type") != "null"]
    if {choice.get("type") for choice in given} == {"number", "string"}:
        number = next(choice for choice in given if choice["type"] == "number")
        return {**number, "type": ["number", "string"]}
    assert len(given) == 1, choices
    return given[0]


def _settings() -> Schema:
    made = of_model(Settings, frozenset(_ELSEWHERE))
    notify = made["properties"]["notify"]["properties"]
    # YAML reads a bare `on` as true; who copies it from docs/operations.md means the word.
    notify["true"] = {**notify["on"], "description": "`on` without quotes, as YAML reads it."}
    open_forms = "^(sealed:[A-Za-z0-9._-]+|(json|xml|form|mailto)s?://([^@:/?]*@)?[^@?]*|syslog://[^@?]*)$"
    notify["to"]["additionalProperties"]["pattern"] = open_forms
    return made


SHAPES: dict[str, Schema] = {
    "mode": {"type": "string", "enum": ["rayjob", "submit", "local"]},
    "fullnameOverride": {"type": "string", "pattern": "^([a-z]([a-z0-9-]*[a-z0-9])?)?$"},
    "image.repository": {"type": "string", "pattern": "^[^ @]*$"},
    "image.tag": {"type": "string", "pattern": r"^[\w.-]*$", "maxLength": 128},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"type": "string", "enum": ["Always", "IfNotPresent", "Never"]},
    "imagePullSecrets": _list(_closed({"name": _text("Of the Secret.")}, ("name",))),
    "reportsUrl": {"type": "string", "pattern": "^(https?://.+)?$"},
    "settings": _settings(),
    "policy": of_model(Policy),
    "expectations": {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {"^[a-z_]+[.]json$": {"type": "string"}},
    },
    "jobs": _list(_JOB),
    "rayJob.activeDeadlineSeconds": {"type": "integer", "minimum": 60},
    "rayJob.preRunningDeadlineSeconds": {"type": "integer", "minimum": 60},
    "rayJob.backoffLimit": {"type": "integer", "minimum": 0, "maximum": 10},
    "rayJob.ttlSecondsAfterFinished": {"type": "integer", "minimum": 30},
    "ray.version": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
    "ray.shmSize": {"type": "string", "pattern": f"{_QUANTITY}|^$"},
    "ray.tmpSize": {"type": "string", "pattern": _QUANTITY},
    "ray.worker.replicas": {"type": "integer", "minimum": 1},
    **{f"ray.worker.{least}Replicas": {"type": ["integer", "null"], "minimum": 0} for least in ("min", "max")},
    "ray.workerGroups": _list(_WORKERS),
    "ray.autoscaler.idleTimeoutSeconds": {"type": "integer", "minimum": 10},
    "ray.autoscaler.resources": _resources(),
    "oneOff.activeDeadlineSeconds": {"type": "integer", "minimum": 60},
    "oneOff.ttlSecondsAfterFinished": {"type": "integer", "minimum": 60},
    "rayCluster.upgradeStrategy": {"type": "string", "enum": ["Recreate", "None"]},
    "submit.address": {"type": "string", "pattern": "^(https?://.+)?$"},
    **{
        f"{part}.{what}": shape
        for what, shape in (("resources", _resources()), ("placement", _PLACEMENT))
        for part in ("ray.head", "ray.worker", "local", "launcher", "vacuum", "watchdog", "oneOff", "doctor")
    },
    **{f"serviceAccount.{who}.annotations": _TEXTS for who in ("launcher", "watchdog", "builder")},
    **{
        f"networkPolicy.{who}.{what}Selector": _SELECTOR
        for who in ("operator", "prometheus")
        for what in ("namespace", "pod")
    },
    "networkPolicy.ingress": _list(_FREE),
    "networkPolicy.egress": _list(_FREE),
    "podMonitor.relabelings": _list(_FREE),
    "podMonitor.metricRelabelings": _list(_FREE),
    "podMonitor.interval": {"type": "string", "pattern": "^([1-9]|[1-5][0-9]|60)s$"},
    **{f"{what}.labels": _TEXTS for what in ("podMonitor", "prometheusRule", "dashboard")},
    "dashboard.annotations": _TEXTS,
    **{f"{what}.{more}": _TEXTS for what in ("rayJob", "rayCluster") for more in ("labels", "annotations")},
    "extraEnv": _list(
        _closed(
            {
                "name": _text("Of the variable.", pattern="^[A-Za-z_][A-Za-z0-9_]*$"),
                "value": _text("What it is."),
                "valueFrom": {**_FREE, "description": "Where Kubernetes finds it.", "default": {}},
            },
            ("name",),
        )
    ),
    "extraVolumes": _list({**_FREE, "required": ["name"]}),
    "extraVolumeMounts": _list(
        _closed(
            {
                "name": _text("Of the volume."),
                "mountPath": _text("Where.", pattern="^/"),
                "subPath": _text("What of it."),
                "readOnly": {"type": "boolean", "description": "Nobody writes there.", "default": False},
            },
            ("name", "mountPath"),
        )
    ),
    "nodeSelector": _TEXTS,
    "tolerations": _TOLERATIONS,
    "affinity": _FREE,
    "topologySpreadConstraints": _list(_FREE),
    "podSecurityContext": _FREE,
    "securityContext": _FREE,
    "commonLabels": _TEXTS,
    "envFrom": _list(_FREE),
    "initContainers": _list({**_FREE, "required": ["name"]}),
    "sidecars": _list({**_FREE, "required": ["name"]}),
    "extraObjects": _list({**_FREE, "required": ["apiVersion", "kind"]}),
    "podLabels": _TEXTS,
    "podAnnotations": _TEXTS,
}
"""What values may be, where their defaults do not say it."""
