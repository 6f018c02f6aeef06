"""What the fake Kubernetes API server (kube.py) keeps, and by which rules: names, versions, finalizers, owners, CRDs.

Known gaps: a strategic merge patch is a plain merge, CEL rules of CRDs are not evaluated, immutable fields can change.
"""

import copy
import functools
import json
import re
import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support import kubedefaults

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace, name."""

LETTERS = "bcdfghjklmnpqrstvwxz2456789"
CONFLICT = "the object has been modified; please apply your changes to the latest version and try again"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
BAD_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")


@dataclass(frozen=True)
class Resource:
    group: str
    version: str
    plural: str
    kind: str
    longest: int = 253
    """Characters of a name."""
    has_status: bool = True

    @property
    def full(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def full_kind(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def custom(self) -> bool:
        return self.group == "ray.io"


RESOURCES = (
    Resource("", "v1", "pods", "Pod"),
    Resource("", "v1", "events", "Event", has_status=False),
    Resource("", "v1", "configmaps", "ConfigMap", has_status=False),
    Resource("", "v1", "secrets", "Secret", has_status=False),
    Resource("batch", "v1", "jobs", "Job", 63),
    Resource("batch", "v1", "cronjobs", "CronJob", 52),
    Resource("ray.io", "v1", "rayjobs", "RayJob"),
    Resource("ray.io", "v1", "rayclusters", "RayCluster"),
)
PLURALS = {resource.plural: resource for resource in RESOURCES}
NAMES = PLURALS | {resource.kind: resource for resource in RESOURCES}


class Refused(Exception):
    """What the server answers instead of an object: a Status."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(code, reason, message, details)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details or {},
            "code": code,
        }


class NoSuchPath(Exception):
    """A path of no group: the real server answers in plain text."""


def _details(resource: Resource, name: str) -> Object:
    return {"name": name, "group": resource.group, "kind": resource.plural}


def not_found(resource: Resource, name: str) -> Refused:
    return Refused(404, "NotFound", f'{resource.full} "{name}" not found', _details(resource, name))


def conflict(resource: Resource, name: str, why: str = CONFLICT) -> Refused:
    message = f'Operation cannot be fulfilled on {resource.full} "{name}": {why}'
    return Refused(409, "Conflict", message, _details(resource, name))


def bad_request(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def invalid(resource: Resource, name: str, causes: list[tuple[str, str]]) -> Refused:
    """Refuse with causes: a field and what is wrong with it, each."""
    messages = [f"{where}: {what}" for where, what in causes]
    listed = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    cause_list = [{"reason": "FieldValueInvalid", "message": what, "field": where} for where, what in causes]
    details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": cause_list}
    return Refused(422, "Invalid", f'{resource.full_kind} "{name}" is invalid: {listed}', details)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def suffix() -> str:
    """Five letters, as Kubernetes appends them to names."""
    return "".join(secrets.choice(LETTERS) for _ in range(5))


# --- Selectors


def label_selector(text: str) -> Callable[[Object], bool]:
    """Understand `a=b,c!=d,e in (f,g),h notin (i),j,!k`."""
    tests = [_requirement(part.strip()) for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    return lambda candidate: all(test(candidate["metadata"].get("labels") or {}) for test in tests)


def _requirement(text: str) -> Callable[[Object], bool]:
    if match := re.fullmatch(r"([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)", text):
        key, values = match[1], {value.strip() for value in match[3].split(",")}
        return (lambda has: has.get(key) in values) if match[2] == "in" else (lambda has: has.get(key) not in values)
    if match := re.fullmatch(r"([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)", text):
        key, value = match[1], match[3]
        return (lambda has: has.get(key) != value) if match[2] == "!=" else (lambda has: has.get(key) == value)
    if match := re.fullmatch(r"(!?)\s*([\w./-]+)", text):
        key, wanted = match[2], not match[1]
        return lambda has: (key in has) == wanted
    raise bad_request(f"unable to parse requirement: {text!r}")


FIELDS = {
    "pods": ("status.phase", "spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.podIP"),
    "events": ("reason", "type", *(f"involvedObject.{name}" for name in ("kind", "name", "namespace", "uid"))),
}


def field_selector(resource: Resource, text: str) -> Callable[[Object], bool]:
    known = ("metadata.name", "metadata.namespace", *FIELDS.get(resource.plural, ()))
    tests = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([\w.]+)(==|=|!=)(.*)", part)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        if match[1] not in known:
            raise bad_request(_unknown_field(resource, match[1]))
        tests.append((match[1].split("."), match[3], match[2] != "!="))
    return lambda candidate: all((_dig(candidate, path) == value) == wanted for path, value, wanted in tests)


def _unknown_field(resource: Resource, name: str) -> str:
    if resource.custom:
        return f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    return f"field label not supported: {name}"


def _dig(value: Any, path: list[str]) -> str:
    for name in path:
        value = (value or {}).get(name, "")
    return str(value or "")


# --- Patches


def merge(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def json_patch(target: Object, steps: Any) -> Object:
    """Apply a JSON patch (RFC 6902)."""
    if not isinstance(steps, list):
        message = "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        raise bad_request(f"error decoding patch: {message}")
    patched = copy.deepcopy(target)
    try:
        for step in steps:
            _json_step(patched, step)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Refused(422, "Invalid", "the server rejected our request due to an error in our request") from error
    return patched


def _json_step(document: Any, step: Object) -> None:
    parent, name = _walk(document, step["path"])
    kind = step["op"]
    if kind in ("move", "copy"):
        source, source_name = _walk(document, step["from"])
        value = copy.deepcopy(source[source_name])
        if kind == "move":
            del source[source_name]
    else:
        value = step["value"] if kind != "remove" else None
    if kind == "test":
        if parent[name] != value:
            raise ValueError(step)
    elif kind == "remove":
        del parent[name]
    elif kind in ("add", "move", "copy") and isinstance(parent, list):
        parent.insert(name, value)
    elif kind == "replace" and name not in (parent if isinstance(parent, dict) else range(len(parent))):
        raise KeyError(name)
    else:
        parent[name] = value


def _walk(document: Any, pointer: str) -> tuple[Any, Any]:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in path:
        document = document[int(part) if isinstance(document, list) else part]
    if isinstance(document, list):
        return document, len(document) if last == "-" else int(last)
    return document, last


# --- CRDs


@functools.cache
def schema_of(folder: Path, plural: str) -> Object | None:
    """Read the schema of a resource from a folder of CRDs, version v1; None if there is no such file."""
    import yaml

    for path in folder.glob(f"*{plural}.yaml"):
        spec = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        version = next(version for version in spec["versions"] if version["name"] == "v1")
        return dict(version["schema"]["openAPIV3Schema"])
    return None


def prune(value: Any, schema: Object, where: str, dropped: list[str]) -> None:
    """Drop fields that a schema does not know and set its defaults, in place."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            prune(item, schema.get("items", {}), f"{where}[{number}]", dropped)
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    known, more = schema.get("properties", {}), schema.get("additionalProperties")
    for name in list(value):
        if name in known or more:
            prune(value[name], known.get(name) or (more if isinstance(more, dict) else {}), f"{where}.{name}", dropped)
        else:
            dropped.append(f"{where}.{name}".lstrip("."))
            del value[name]
    for name, property_ in known.items():
        if name not in value and "default" in property_:
            value[name] = copy.deepcopy(property_["default"])


def schema_causes(document: Object, schema: Object) -> list[tuple[str, str]]:
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(schema).iter_errors(document)
    return [cause for error in errors if (cause := _cause(error)) is not None]


def _cause(error: Any) -> tuple[str, str] | None:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path).lstrip(".")
    value = json.dumps(error.instance) if not isinstance(error.instance, dict | list) else "{...}"
    if error.instance is None and error.schema.get("nullable"):
        return None
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    if error.validator == "type":
        given = names.get(type(error.instance), "null")
        return where, f'Invalid value: "{given}": {where} in body must be of type {error.validator_value}: "{given}"'
    if error.validator == "required":
        missing = re.match(r"'(.*?)'", error.message)
        return f"{where}.{missing[1] if missing else '?'}".lstrip("."), "Required value"
    if error.validator == "enum":
        return (
            where,
            f"Unsupported value: {value}: supported values: {', '.join(map(json.dumps, error.validator_value))}",
        )
    if error.validator == "minimum":
        text = f"{where} in body should be greater than or equal to {error.validator_value}"
        return where, f"Invalid value: {value}: {text}"
    if error.validator == "pattern":
        return where, f"Invalid value: {value}: {where} in body should match '{error.validator_value}'"
    return where, f"Invalid value: {value}: {error.message}"


# --- The objects


@dataclass(frozen=True)
class Change:
    """Of one object: before is None when it is new, after is None when it is deleted; `snapshot` is its last state."""

    version: int
    key: Key
    before: Object | None
    after: Object | None
    snapshot: Object


class Store:
    """Objects with versions, finalizers and owners; every method is called under the lock."""

    def __init__(self, crds: Path | None) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.crds = crds
        self.objects: dict[Key, Object] = {}
        self.history: list[Change] = []
        self.todo: deque[Change] = deque()
        self.version = 1
        self.oldest = 0
        """Changes up to this version are forgotten."""
        self.ends: dict[str, float] = {}
        """When pods that are being deleted are gone, by uid."""

    def at(self, resource: Resource, namespace: str, name: str) -> Object:
        stored = self.objects.get((resource.plural, namespace, name))
        if stored is None:
            raise not_found(resource, name)
        return stored

    def keep(self, key: Key, document: Object | None) -> Object:
        """Set or remove an object as it is; notify everybody."""
        self.version += 1
        before = self.objects.get(key)
        snapshot = copy.deepcopy(document if document is not None else before) or {}
        snapshot["metadata"]["resourceVersion"] = str(self.version)
        if document is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = snapshot
        change = Change(self.version, key, before, None if document is None else snapshot, snapshot)
        self.history.append(change)
        self.todo.append(change)
        self.lock.notify_all()
        return snapshot

    def check(self, resource: Resource, document: Object, strict: bool) -> list[str]:
        """Check a document that is to be kept; give what was dropped from it."""
        metadata = document["metadata"]
        name, dropped = metadata["name"], list[str]()
        causes = _name_causes(resource, name)
        for value in (metadata.get("labels") or {}).values():
            if len(value) > 63:
                causes.append(("metadata.labels", f'Invalid value: "{value}": must be no more than 63 bytes'))
        if resource.custom and self.crds and (schema := schema_of(self.crds, resource.plural)):
            del document["metadata"]  # has a schema of its own, that CRDs do not repeat
            prune(document, schema, "", dropped)
            document["metadata"] = metadata
            if strict and dropped:
                fields = ", ".join(f'unknown field "{where}"' for where in dropped)
                raise bad_request(f"strict decoding error: {fields}")
            causes += schema_causes(document, schema)
        if causes:
            raise invalid(resource, name, causes)
        return dropped

    def create(
        self, resource: Resource, namespace: str, given: Object, strict: bool = False
    ) -> tuple[Object, list[str]]:
        document = _typed(resource, given)
        metadata = document.setdefault("metadata", {})
        if metadata.get("namespace", namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise invalid(resource, "", [("metadata.name", "Required value: name or generateName is required")])
            metadata["name"] = metadata["generateName"][:58] + suffix()
        if resource.has_status:
            document.pop("status", None)
        kubedefaults.apply(document)
        dropped = self.check(resource, document, strict)
        key = (resource.plural, namespace, metadata["name"])
        if key in self.objects:
            message = f'{resource.full} "{key[2]}" already exists'
            raise Refused(409, "AlreadyExists", message, _details(resource, key[2]))
        document = born(resource, namespace, document)
        if resource.plural == "jobs":
            kubedefaults.own(document)
        return self.keep(key, document), dropped

    def update(
        self, resource: Resource, key: Key, given: Object, part: str, strict: bool = False
    ) -> tuple[Object, list[str]]:
        """Replace an object but its status, or only that where the part is "status"."""
        old = self.at(resource, key[1], key[2])
        self._check_version(resource, old, given)
        document = copy.deepcopy(old)
        if part == "status":
            document["status"] = copy.deepcopy(given.get("status") or {})
        else:
            document = _typed(resource, given)
            _keep_system_fields(resource, old, document)
        dropped = self.check(resource, document, strict)
        metadata, was = document["metadata"], old["metadata"]
        if was.get("deletionTimestamp") and (more := set(metadata.get("finalizers", [])) - set(was["finalizers"])):
            text = "no new finalizers can be added if the object is being deleted, found new finalizers "
            names = ", ".join(f'"{name}"' for name in sorted(more))
            raise invalid(resource, key[2], [("metadata.finalizers", f"Forbidden: {text}[]string{{{names}}}")])
        if "generation" in was and spec_of(document) != spec_of(old):
            metadata["generation"] = was["generation"] + 1
        if document == old:
            return old, dropped
        kept = self.keep(key, document)
        self.end_if_free(key)
        return kept, dropped

    def _check_version(self, resource: Resource, old: Object, given: Object) -> None:
        metadata, was = given.get("metadata") or {}, old["metadata"]
        if metadata.get("name", was["name"]) != was["name"]:
            message = f"the name of the object ({metadata['name']}) does not match the name on the URL ({was['name']})"
            raise bad_request(message)
        if metadata.get("uid", was["uid"]) != was["uid"]:
            message = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {was['uid']}"
            raise conflict(resource, was["name"], message)
        if metadata.get("resourceVersion", was["resourceVersion"]) != was["resourceVersion"]:
            raise conflict(resource, was["name"])

    def delete(self, resource: Resource, key: Key, options: Object) -> tuple[Object, bool]:
        """Delete an object, or mark it where something holds it; give it and whether it is gone."""
        old = self.at(resource, key[1], key[2])
        _check_preconditions(resource, old, options.get("preconditions") or {})
        document = copy.deepcopy(old)
        metadata = document["metadata"]
        policy = options.get("propagationPolicy") or ("Orphan" if resource.plural == "jobs" else "Background")
        if not metadata.get("deletionTimestamp"):
            hold = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy)
            if hold and (hold == "foregroundDeletion" or self.dependents(metadata["uid"])):
                metadata["finalizers"] = [*metadata.get("finalizers", []), hold]
        grace = _grace(resource, document, options)
        if not metadata.get("finalizers") and not grace:
            return self.keep(key, None), True
        if not metadata.get("deletionTimestamp"):
            metadata |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace}
            metadata["generation"] = metadata.get("generation", 1) + 1
        self.ends[metadata["uid"]] = time.monotonic() + min(grace, 0.05)
        return self.keep(key, document), False

    def end_if_free(self, key: Key) -> bool:
        """Remove an object that was deleted, once nothing holds it."""
        metadata = self.objects[key]["metadata"]
        free = bool(metadata.get("deletionTimestamp")) and not metadata.get("finalizers")
        if free and time.monotonic() >= self.ends.get(metadata["uid"], 0):
            self.keep(key, None)
            return True
        return False

    def dependents(self, uid: str) -> list[Key]:
        return [key for key, dependent in self.objects.items() if uid in {ref["uid"] for ref in _owners(dependent)}]

    def collect(self) -> bool:
        """Do one round of what the garbage collector and the kubelets do; return whether there is more."""
        before = self.version
        for key in list(self.objects):
            if key in self.objects and not self.end_if_free(key):
                self._collect_one(key)
        waiting = any(stored["metadata"]["uid"] in self.ends and not stored["metadata"].get("finalizers")
                      for stored in self.objects.values())  # fmt: skip
        return self.version != before or waiting

    def _collect_one(self, key: Key) -> None:
        stored = self.objects[key]
        metadata, resource = stored["metadata"], PLURALS[key[0]]
        holds = metadata.get("finalizers", []) if metadata.get("deletionTimestamp") else []
        if "orphan" in holds:
            for dependent in self.dependents(metadata["uid"]):
                self._disown(dependent, {metadata["uid"]})
            self._unhold(key, "orphan")
        elif "foregroundDeletion" in holds and not self._blockers(metadata["uid"]):
            self._unhold(key, "foregroundDeletion")
        elif (owners := _owners(stored)) and not metadata.get("deletionTimestamp"):
            missing = {ref["uid"] for ref in owners if self._is_gone(key[1], ref)}
            ending = {ref["uid"] for ref in owners if self._ends_in_front(key[1], ref)}
            if len(missing) == len(owners) or (ending and len(missing | ending) == len(owners)):
                in_front = ending and self.dependents(metadata["uid"])
                self.delete(resource, key, {"propagationPolicy": "Foreground" if in_front else "Background"})
            elif missing:
                self._disown(key, missing)

    def _owner(self, namespace: str, ref: Object) -> Object | None:
        owner = self.objects.get((NAMES[ref["kind"]].plural, namespace, ref["name"]))
        return owner if owner and owner["metadata"]["uid"] == ref["uid"] else None

    def _is_gone(self, namespace: str, ref: Object) -> bool:
        """An owner of a kind that nobody knows is not gone: the real collector does not know it either."""
        return ref["kind"] in NAMES and self._owner(namespace, ref) is None

    def _ends_in_front(self, namespace: str, ref: Object) -> bool:
        metadata = (self._owner(namespace, ref) or {}).get("metadata", {}) if ref["kind"] in NAMES else {}
        return "deletionTimestamp" in metadata and "foregroundDeletion" in metadata.get("finalizers", [])

    def _blockers(self, uid: str) -> list[Key]:
        return [
            key
            for key in self.dependents(uid)
            if any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in _owners(self.objects[key]))
        ]

    def _disown(self, key: Key, uids: set[str]) -> None:
        document = copy.deepcopy(self.objects[key])
        document["metadata"]["ownerReferences"] = [ref for ref in _owners(document) if ref["uid"] not in uids]
        self.keep(key, document)

    def _unhold(self, key: Key, finalizer: str) -> None:
        document = copy.deepcopy(self.objects[key])
        document["metadata"]["finalizers"].remove(finalizer)
        self.keep(key, document)
        self.end_if_free(key)


def _name_causes(resource: Resource, name: str) -> list[tuple[str, str]]:
    if len(name) > resource.longest and resource.plural == "cronjobs":
        return [("metadata.name", f'Invalid value: "{name}": must be no more than 52 characters')]
    if len(name) > resource.longest and resource.plural == "jobs":
        return [("spec.template.labels", f'Invalid value: "{name}": must be no more than 63 bytes')]
    if len(name) > resource.longest:
        return [("metadata.name", f"Too long: may not be more than {resource.longest} bytes")]
    return [] if NAME.fullmatch(name) else [("metadata.name", f'Invalid value: "{name}": {BAD_NAME}')]


def _typed(resource: Resource, given: Object) -> Object:
    document = copy.deepcopy(given)
    if document.setdefault("apiVersion", resource.api_version) != resource.api_version:
        mismatch = f"({document['apiVersion']}) does not match the expected API version ({resource.api_version})"
        raise bad_request(f"the API version in the data {mismatch}")
    if document.setdefault("kind", resource.kind) != resource.kind:
        mismatch = f"({document['kind']}) does not match the expected kind ({resource.kind})"
        raise bad_request(f"the kind in the data {mismatch}")
    return document


def born(resource: Resource, namespace: str, document: Object) -> Object:
    metadata = document["metadata"]
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(name, None)
    metadata |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
    if resource.has_status:
        metadata["generation"] = 1
    if resource.plural == "pods":
        document["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
    return document


def _keep_system_fields(resource: Resource, old: Object, document: Object) -> None:
    metadata, was = document.setdefault("metadata", {}), old["metadata"]
    if resource.custom and not metadata.get("resourceVersion"):
        cause = ("metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update")
        raise invalid(resource, was["name"], [cause])
    names = ("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion", "generateName")
    for name in (*names, "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(name, None)
        if name in was:
            metadata[name] = was[name]
    if resource.has_status:
        document.pop("status", None)
        if "status" in old:
            document["status"] = copy.deepcopy(old["status"])


def spec_of(document: Object) -> Object:
    return {name: value for name, value in document.items() if name not in ("metadata", "status")}


def _owners(document: Object) -> list[Object]:
    return document["metadata"].get("ownerReferences") or []


def _check_preconditions(resource: Resource, old: Object, wanted: Object) -> None:
    for label, name in (("UID", "uid"), ("ResourceVersion", "resourceVersion")):
        is_ = old["metadata"][name]
        if wanted.get(name, is_) != is_:
            mismatch = f"the {label} in the precondition ({wanted[name]}) does not match the {label} in record ({is_})"
            message = f'Operation cannot be fulfilled on {resource.full_kind} "{old["metadata"]["name"]}": {mismatch}'
            message += ". The object might have been deleted and then recreated"
            raise Refused(409, "Conflict", message, _details(resource, old["metadata"]["name"]))


def _grace(resource: Resource, document: Object, options: Object) -> int:
    """Return the seconds that a pod has to end: none if it does not run on a node."""
    ended = (document.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if resource.plural != "pods" or ended or not (document.get("spec") or {}).get("nodeName"):
        return 0
    asked = options.get("gracePeriodSeconds")
    return int(asked if asked is not None else document["spec"].get("terminationGracePeriodSeconds", 30))


# --- Logs


def log_container(pod: Object, name: str) -> str:
    spec, pod_name = pod.get("spec") or {}, pod["metadata"]["name"]
    first = [each["name"] for each in spec.get("initContainers") or []]
    names = [each["name"] for each in spec.get("containers") or []]
    if name and name not in first + names:
        raise bad_request(f"container {name} is not valid for pod {pod_name}")
    if not name and len(names) != 1:
        more = f" or one of the init containers: [{' '.join(first)}]" if first else ""
        choices = f"choose one of: [{' '.join(names)}]{more}"
        raise bad_request(f"a container name must be specified for pod {pod_name}, {choices}")
    return name or names[0]


def _state(pod: Object, container: str) -> Object | None:
    status = pod.get("status") or {}
    statuses = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    return next((each for each in statuses if each["name"] == container), None)


def check_started(pod: Object, container: str, previous: bool) -> None:
    """Refuse as the kubelet does; an unscheduled pod has an empty log."""
    state, where = _state(pod, container), f'container "{container}" in pod "{pod["metadata"]["name"]}"'
    if previous and not ((state or {}).get("lastState") or {}).get("terminated"):
        raise bad_request(f"previous terminated {where} not found")
    if state is None:
        if (pod.get("spec") or {}).get("nodeName"):
            raise bad_request(f"{where} is not available")
        return
    waiting = (state.get("state") or {}).get("waiting")
    if waiting and not (state.get("lastState") or {}).get("terminated"):
        words = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
        reason = waiting.get("reason", "")
        raise bad_request(f"{where} is waiting to start: {words.get(reason, reason)}")


def has_ended(pod: Object, container: str) -> bool:
    ended = ((_state(pod, container) or {}).get("state") or {}).get("terminated")
    return bool(ended) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
