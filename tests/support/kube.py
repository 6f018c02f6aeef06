"""A Kubernetes API server for tests, as far as a launcher and a watchdog speak with one: real HTTP, real wording.

It keeps objects (kubestore.py), publishes their changes, refuses as the real one does, and collects what loses its
owner. No scheduler, no kubelet, no Job controller: a test plays them with `put`, `edit` and callbacks; KubeRay is
played by kuberay.FakeOperator.
"""

import base64
import contextlib
import copy
import functools
import json
import re
import secrets
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from support.kubestore import (
    NAMES,
    PATCHES,
    PLURALS,
    RESOURCES,
    Change,
    Key,
    NoSuchPath,
    Object,
    Refused,
    Resource,
    Store,
    bad_request,
    born,
    check_started,
    field_selector,
    has_ended,
    json_patch,
    label_selector,
    log_container,
    merge,
    now,
    spec_of,
)


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    verb: str
    path: str
    agent: str
    resource: str
    name: str
    body: Any = None


@dataclass
class Fault:
    times: int
    status: int | str
    verb: str
    resource: str
    seconds: float
    """Of the Retry-After header; of the silence of "hang"."""


@dataclass
class KubeApi:
    """The server, its address, and the hands of a test inside it."""

    namespace: str = "marts"
    crds: Path | None = None
    """A folder of CRDs, which RayJobs and RayClusters then have to keep to."""
    user: str = "system:serviceaccount:marts:launcher"
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    open_to_kubectl: bool = False
    installed: set[str] = field(default_factory=lambda: set(PLURALS))
    """Plurals that are served: without rayjobs and rayclusters nobody installed KubeRay's CRDs."""
    requests: list[Seen] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    """Of callbacks; the first one is raised at the end."""

    def __post_init__(self) -> None:
        self.store = Store(self.crds)
        self.faults: list[Fault] = []
        self.denied: set[tuple[str, str]] = set()
        self.logs: dict[tuple[str, str, str, bool], str] = {}
        self.closing = threading.Event()
        self.url = ""
        self._created: list[tuple[str, Callable[[Object], None]]] = []
        self._changed: list[tuple[str, Callable[[Object | None, Object | None], None]]] = []
        self._idle = False

    # How somebody connects

    def configuration(self) -> Any:
        from kubernetes import client

        configuration = client.Configuration(host=self.url, api_key={"BearerToken": f"Bearer {self.token}"})
        configuration.retries = False
        return configuration

    def client(self) -> Any:
        """Return a kubernetes.client.ApiClient; it tries nothing twice."""
        from kubernetes import client

        return client.ApiClient(self.configuration())

    def kubeconfig(self, path: Path) -> Path:
        """Write a file for KUBECONFIG; JSON is YAML."""
        context = {"cluster": "test", "user": "test", "namespace": self.namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": context}],
        }
        path.write_text(json.dumps(config))
        return path

    # What a test sees and changes

    def objects(self, kind: str, namespace: str | None = None) -> list[Object]:
        with self.store.lock:
            keys = [key for key in sorted(self.store.objects) if key[0] == NAMES[kind].plural]
            return [copy.deepcopy(self.store.objects[key]) for key in keys if namespace in (None, key[1])]

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return an object, or None if there is none."""
        with self.store.lock:
            stored = self.store.objects.get((NAMES[kind].plural, namespace or self.namespace, name))
            return copy.deepcopy(stored)

    def put(self, document: Object) -> Object:
        """Set an object with its status, whatever it was before; nothing is checked."""
        resource, document = NAMES[document["kind"]], copy.deepcopy(document)
        status, metadata = document.get("status"), document.setdefault("metadata", {})
        namespace = metadata.get("namespace", self.namespace)
        with self.store.lock:
            key = (resource.plural, namespace, metadata["name"])
            given = dict(metadata)
            document = born(resource, namespace, {"apiVersion": resource.api_version} | document)
            was = self.store.objects.get(key, {"metadata": {}})["metadata"]
            metadata |= {name: was[name] for name in ("uid", "creationTimestamp", "generation") if name in was} | given
            if status is not None:
                document["status"] = status
            return copy.deepcopy(self.store.keep(key, document))

    def edit(self, kind: str, name: str, change: Callable[[Object], Any], namespace: str | None = None) -> Object:
        """Change an object by a function, its status as well; all at once, whatever others do."""
        resource = NAMES[kind]
        key = (resource.plural, namespace or self.namespace, name)
        with self.store.lock:
            old = self.store.at(resource, key[1], name)
            changed = copy.deepcopy(old)
            change(changed)
            if changed == old:
                return changed
            if "generation" in changed["metadata"] and spec_of(changed) != spec_of(old):
                changed["metadata"]["generation"] += 1
            kept = self.store.keep(key, changed)
            self.store.end_if_free(key)
            return copy.deepcopy(kept)

    def delete(self, kind: str, name: str, policy: str = "Background", namespace: str | None = None) -> None:
        with self.store.lock:
            key = (NAMES[kind].plural, namespace or self.namespace, name)
            self.store.delete(NAMES[kind], key, {"propagationPolicy": policy})

    def create(self, document: Object) -> Object:
        """Create an object as a controller does: with checks, without its status."""
        with self.store.lock:
            namespace = document["metadata"].get("namespace", self.namespace)
            return copy.deepcopy(self.store.create(NAMES[document["kind"]], namespace, document)[0])

    def log(self, pod: str, container: str, text: str, previous: bool = False, namespace: str | None = None) -> None:
        """Append to the log of a container."""
        with self.store.lock:
            key = (namespace or self.namespace, pod, container, previous)
            self.logs[key] = self.logs.get(key, "") + text
            self.store.lock.notify_all()

    def event(
        self,
        about: Object,
        reason: str,
        message: str,
        type: str = "Warning",  # noqa: A002
        source: str = "kubelet",
    ) -> Object:
        metadata, moment = about["metadata"], now()
        involved = {"kind": about["kind"], "apiVersion": about["apiVersion"]}
        involved |= {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion")}
        document: Object = {
            "kind": "Event",
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": type,
        }
        document |= {"source": {"component": source}, "firstTimestamp": moment, "lastTimestamp": moment, "count": 1}
        document["metadata"] = {
            "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
            "namespace": metadata["namespace"],
        }
        return self.put(document)

    def on_created(self, kind: str, callback: Callable[[Object], None]) -> None:
        """Call back with each new object, from the controllers' thread, soon after it was created."""
        self._created.append((NAMES[kind].plural, callback))

    def on_changed(self, kind: str, callback: Callable[[Object | None, Object | None], None]) -> None:
        """Call back with the object before and after each change; None where there is none."""
        self._changed.append((NAMES[kind].plural, callback))

    def deny(self, verb: str, resource: str) -> None:
        """Take a right from the user: get, list, watch, create, update, patch, delete or *; "pods/log" or *."""
        self.denied.add((verb, resource))

    def allow(self, verb: str, resource: str) -> None:
        self.denied.discard((verb, resource))

    def fail(
        self, times: int = 1, status: int | str = 500, verb: str = "*", resource: str = "*", seconds: float = 1
    ) -> None:
        """Answer the next requests with a status, "reset", "hang" (silence), or "lost" (done, but no answer)."""
        self.faults.append(Fault(times, status, verb, resource, seconds))

    def forget(self) -> None:
        """Compact the history, as etcd does after five minutes: older versions are gone for watches."""
        with self.store.lock:
            self.store.history.clear()
            self.store.oldest = self.store.version

    def settle(self, seconds: float = 5) -> None:
        """Wait until callbacks and garbage collection have nothing left to do."""
        end = time.monotonic() + seconds
        with self.store.lock:
            while not self._idle or self.store.todo:
                if not self.store.lock.wait(end - time.monotonic()):
                    raise TimeoutError("the controllers do not come to rest")

    def wait(self, what: Callable[[], bool], seconds: float = 5) -> None:
        """Wait until something holds, looking again after each change."""
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                raise TimeoutError("it did not come to be")
            with self.store.lock:
                self.store.lock.wait(0.02)

    # What runs behind

    def run_controllers(self) -> None:
        """Call back and collect garbage, until the server closes."""
        while not self.closing.is_set():
            with self.store.lock:
                if not self.store.todo:
                    more = self.store.collect()
                    self._idle = not more
                    self.store.lock.notify_all()
                    self.store.lock.wait(0.01 if more else 0.2)
                changes = [self.store.todo.popleft() for _ in range(len(self.store.todo))]
                self._idle = self._idle and not changes
            for change in changes:
                self._call_back(change)

    def _call_back(self, change: Change) -> None:
        before, after = copy.deepcopy(change.before), copy.deepcopy(change.after)
        calls = [functools.partial(call, before, after) for plural, call in self._changed if plural == change.key[0]]
        if before is None and after is not None:
            calls += [functools.partial(call, after) for plural, call in self._created if plural == change.key[0]]
        for call in calls:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - raised at the end of the test
                self.errors.append(error)

    def fault(self, verb: str, resource: str) -> Fault | None:
        with self.store.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.verb in ("*", verb) and fault.resource in ("*", resource):
                    fault.times -= 1
                    return fault
        return None


# --- HTTP


@dataclass(frozen=True)
class Call:
    """A request, understood."""

    verb: str
    resource: Resource
    namespace: str
    name: str
    part: str
    """Subresource: status or log."""
    query: dict[str, str]
    body: Any

    @property
    def asked(self) -> str:
        return f"{self.resource.plural}/{self.part}" if self.part else self.resource.plural

    @property
    def key(self) -> Key:
        return self.resource.plural, self.namespace, self.name


PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[a-z]+))?)?"
)
ON_ONE = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
GROUPS = {("", "v1"), ("batch", "v1")}
FAILURES = {
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}
VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2026-04-22T00:00:00Z",
    "goVersion": "go1.26",
    "compiler": "gc",
    "platform": "linux/amd64",
}
PRESERVED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


class Server(ThreadingHTTPServer):
    """Ends its connections when it closes, so that nobody waits for an answer."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked has gone."""

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        self.api = self.server.api
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        try:
            self._answer(raw)
        except NoSuchPath:
            self._send(404, b"404 page not found\n", "text/plain; charset=utf-8")
        except Refused as refused:
            self._send_json(refused.code, refused.status)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _answer(self, raw: bytes) -> None:
        path, query = urlsplit(self.path).path.rstrip("/"), dict(parse_qsl(urlsplit(self.path).query))
        match = PATH.fullmatch(path)
        try:
            body = json.loads(raw) if raw else None
        except ValueError as error:
            raise bad_request("the object provided is unrecognized") from error
        verb = self._verb(match, query)
        plural = match["plural"] + (f"/{match['part']}" if match["part"] else "") if match else ""
        name = unquote(match["name"] or "") if match else ""
        agent = self.headers.get("User-Agent", "")
        self.api.requests.append(Seen(verb, self.path, agent, plural, name, body))
        fault = self.api.fault(verb, plural)
        if fault and self._fail(fault):
            return
        # kubectl shows no token to a server without TLS.
        trusted = self.api.open_to_kubectl and agent.startswith("kubectl/")
        if not trusted and self.headers.get("Authorization") != f"Bearer {self.api.token}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        if match is None:
            self._discover(path)
            return
        self._authorize(verb, plural, match)
        call = self._call(match, verb, query, body)
        getattr(self, f"_{call.verb}" if call.part != "log" else "_log")(call)

    def _verb(self, match: re.Match[str] | None, query: dict[str, str]) -> str:
        if match is None or match["name"]:
            return ON_ONE.get(self.command, "post")
        if self.command == "GET":
            return "watch" if query.get("watch") in ("true", "True", "1") else "list"
        return {"POST": "create", "DELETE": "deletecollection"}.get(self.command, "post")

    def _fail(self, fault: Fault) -> bool:
        """Do what a fault asks for; return whether the request ends there."""
        if fault.status == "lost":
            self._send = lambda *_, **__: self._reset()  # type: ignore[method-assign]
            return False
        if fault.status == "hang":
            self.api.closing.wait(fault.seconds)
            self._reset()
        elif fault.status == "reset":
            self._reset()
        elif fault.status == 429:
            wait = {"Retry-After": str(int(fault.seconds))}
            self._send(429, b"Too many requests, please try again later.\n", "text/plain; charset=utf-8", wait)
        else:
            code = int(fault.status)
            raise Refused(code, *FAILURES.get(code, ("Unknown", "an error on the server has prevented the request")))
        return True

    def _reset(self) -> None:
        """End the connection as a dying server does: with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.server.connections.discard(self.connection)
        self.connection.close()

    def _authorize(self, verb: str, asked: str, match: re.Match[str]) -> None:
        if not self.api.denied & {(verb, asked), ("*", asked), (verb, "*"), ("*", "*")}:
            return
        group, name, plural = match["group"] or "", match["name"] or "", match["plural"]
        full = f"{plural}.{group}" if group else plural
        full += f' "{name}"' if name else ""
        place = f'in the namespace "{match["namespace"]}"' if match["namespace"] else "at the cluster scope"
        what = f'cannot {verb} resource "{asked}" in API group "{group}" {place}'
        details = {"name": name, "group": group, "kind": plural}
        raise Refused(403, "Forbidden", f'{full} is forbidden: User "{self.api.user}" {what}', details)

    def _call(self, match: re.Match[str], verb: str, query: dict[str, str], body: Any) -> Call:
        group, plural = match["group"] or "", match["plural"]
        resource = PLURALS.get(plural)
        known = resource and (resource.group, resource.version) == (group, match["version"])
        part = match["part"] or ""
        parts = {"status"} if resource and resource.has_status else set()
        if not known or plural not in self.api.installed or part not in {"", "log"} | parts:
            if (group, match["version"]) not in GROUPS:
                raise NoSuchPath
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        assert resource is not None
        allowed = {"get", "list", "watch", "create", "update", "patch", "delete"}
        if verb not in allowed or (part == "log" and verb != "get") or (part and verb == "delete"):
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        name = unquote(match["name"] or "")
        return Call(verb, resource, unquote(match["namespace"] or ""), name, part, query, body)

    def _discover(self, path: str) -> None:
        if path == "/version":
            self._send_json(200, VERSION)
            return
        if path in ("/api", "/apis"):
            self._send_json(200, _group_list(path))
            return
        for resource in RESOURCES:
            root = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
            resources = [each for each in RESOURCES if each.api_version == resource.api_version]
            served = [each for each in resources if each.plural in self.api.installed]
            if path == root and served:
                self._send_json(200, _resource_list(served))
                return
        raise NoSuchPath

    # Verbs

    def _get(self, call: Call) -> None:
        with self.api.store.lock:
            stored = self.api.store.at(call.resource, call.namespace, call.name)
        self._send_json(200, stored)

    def _matching(self, call: Call) -> Callable[[Object], bool]:
        labels = label_selector(call.query.get("labelSelector", ""))
        fields = field_selector(call.resource, call.query.get("fieldSelector", ""))
        return lambda candidate: (
            call.namespace in ("", candidate["metadata"]["namespace"])
            and bool(labels(candidate))
            and bool(fields(candidate))
        )

    def _list(self, call: Call) -> None:
        matching, store = self._matching(call), self.api.store
        limit = int(call.query.get("limit") or 0)
        with store.lock:
            start = _after(call.query.get("continue", ""), store.oldest)
            keys = [key for key in sorted(store.objects) if key[0] == call.resource.plural and key[1:] > start]
            matches = [store.objects[key] for key in keys if matching(store.objects[key])]
            metadata: Object = {"resourceVersion": str(store.version)}
        if limit and len(matches) > limit:
            last = matches[limit - 1]["metadata"]
            token = json.dumps([int(metadata["resourceVersion"]), last["namespace"], last["name"]])
            metadata |= {"continue": base64.urlsafe_b64encode(token.encode()).decode()}
            if not call.query.get("labelSelector") and not call.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(matches) - limit
            matches = matches[:limit]
        hidden = () if call.resource.custom else ("kind", "apiVersion")
        items = [{name: value for name, value in each.items() if name not in hidden} for each in matches]
        kinds = {"kind": f"{call.resource.kind}List", "apiVersion": call.resource.api_version}
        self._send_json(200, {**kinds, "metadata": metadata, "items": items})

    def _create(self, call: Call) -> None:
        strict = call.query.get("fieldValidation") == "Strict"
        with self.api.store.lock:
            created, dropped = self.api.store.create(call.resource, call.namespace, _object(call.body), strict)
        self._send_json(201, created, _unknown(dropped))

    def _update(self, call: Call) -> None:
        self._change(call, lambda _: _object(call.body))

    def _patch(self, call: Call) -> None:
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        allowed = PATCHES[:2] if call.resource.custom else PATCHES
        if kind not in allowed:
            message = "the body of the request was in an unknown format - accepted media types include: "
            raise Refused(415, "UnsupportedMediaType", message + ", ".join((*allowed, "application/apply-patch+yaml")))
        patch = json_patch if kind == PATCHES[0] else merge
        self._change(call, lambda old: patch(old, call.body))

    def _change(self, call: Call, change: Callable[[Object], Object]) -> None:
        strict = call.query.get("fieldValidation") == "Strict"
        with self.api.store.lock:
            old = self.api.store.at(call.resource, call.namespace, call.name)
            updated, dropped = self.api.store.update(call.resource, call.key, change(old), call.part, strict)
        self._send_json(200, updated, _unknown(dropped))

    def _delete(self, call: Call) -> None:
        names = ("propagationPolicy", "gracePeriodSeconds")
        options = {name: call.query[name] for name in names if name in call.query} | (call.body or {})
        with self.api.store.lock:
            stored, removed = self.api.store.delete(call.resource, call.key, options)
        kept = call.resource.plural == "jobs" and "propagationPolicy" not in options
        warnings = [PRESERVED] if kept else []
        if not removed or call.resource.plural == "pods":
            self._send_json(200, stored, warnings)
            return
        resource, uid = call.resource, stored["metadata"]["uid"]
        details = {"name": call.name, "group": resource.group, "kind": resource.plural, "uid": uid}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        self._send_json(200, status, warnings)

    def _watch(self, call: Call) -> None:
        matching, store = self._matching(call), self.api.store
        end = time.monotonic() + float(call.query.get("timeoutSeconds") or 1800)
        version = call.query.get("resourceVersion", "")
        with store.lock:
            position = int(version or 0)
            first = [_watch_event("ADDED", store.objects[key]) for key in sorted(store.objects)
                     if key[0] == call.resource.plural and matching(store.objects[key])]  # fmt: skip
            if position == 0:
                position = store.version
            elif position < store.oldest:
                message = f"too old resource version: {position} ({store.oldest})"
                first, end = [_watch_event("ERROR", Refused(410, "Expired", message).status)], 0
            else:
                first = []
        self._start_stream("application/json")
        self._stream("".join(first))
        while time.monotonic() < end and not self.api.closing.is_set():
            with store.lock:
                news = [change for change in store.history if change.version > position]
                position = store.version
                if not news:
                    store.lock.wait(min(0.2, max(0, end - time.monotonic())))
            self._stream("".join(_event(change, matching) for change in news if change.key[0] == call.resource.plural))
        self._end_stream()

    def _log(self, call: Call) -> None:
        with self.api.store.lock:
            pod = self.api.store.at(call.resource, call.namespace, call.name)
            container = log_container(pod, call.query.get("container", ""))
            key = (call.namespace, call.name, container, call.query.get("previous") in ("true", "True"))
            text = self.api.logs.get(key, "")
            if not text:
                check_started(pod, container, key[3])
        lines = text.splitlines(keepends=True)
        tail = call.query.get("tailLines")
        output = "".join(lines if tail is None else lines[len(lines) - min(int(tail), len(lines)) :])
        if call.query.get("follow") in ("true", "True"):
            self._follow(pod, key, output, len(text))
            return
        limit = call.query.get("limitBytes")
        self._send(200, output.encode()[: int(limit) if limit else None], "text/plain")

    def _follow(self, pod: Object, key: tuple[str, str, str, bool], text: str, position: int) -> None:
        self._start_stream("text/plain")
        ended = False
        while not self.api.closing.is_set():
            self._stream(text)
            if ended and not text:
                break
            with self.api.store.lock:
                current = self.api.store.objects.get(("pods", *key[:2]))
                same = current is not None and current["metadata"]["uid"] == pod["metadata"]["uid"]
                ended = not same or has_ended(current or {}, key[2])
                text = self.api.logs.get(key, "")[position:]
                position += len(text)
                if not text and not ended:
                    self.api.store.lock.wait(0.2)
        self._end_stream()

    # Bytes

    def _send_json(self, code: int, body: Any, warnings: list[str] | None = None) -> None:
        text = json.dumps(body).encode()
        self._send(code, text, "application/json", warnings=warnings or [])

    def _send(
        self,
        code: int,
        body: bytes,
        kind: str,
        headers: dict[str, str] | None = None,
        warnings: list[str] | None = None,
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        for warning in warnings or []:
            self.send_header("Warning", f"299 - {json.dumps(warning)}")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _start_stream(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _stream(self, text: str) -> None:
        if data := text.encode():
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


def _object(body: Any) -> Object:
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized")
    return body


def _unknown(dropped: list[str]) -> list[str]:
    return [f'unknown field "{where}"' for where in dropped]


def _group_list(path: str) -> Object:
    """Return the names of the groups that there are, and their versions, for kubectl."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    groups = []
    for group, version in sorted({(each.group, each.version) for each in RESOURCES if each.group}):
        named = {"groupVersion": f"{group}/{version}", "version": version}
        groups.append({"name": group, "versions": [named], "preferredVersion": named})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resource_list(served: list[Resource]) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    listed = [
        {"name": each.plural, "singularName": each.kind.lower(), "namespaced": True, "kind": each.kind, "verbs": verbs}
        for each in served
    ]
    version = served[0].api_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}


def _after(token: str, oldest: int) -> tuple[str, ...]:
    """Return namespace and name after which a list goes on."""
    if not token:
        return ()
    version, *start = json.loads(base64.urlsafe_b64decode(token))
    if version < oldest:
        message = "The provided continue parameter is too old to display a consistent list result. "
        raise Refused(410, "Expired", message + "You can start a new list without the continue parameter.")
    return tuple(start)


def _watch_event(kind: str, document: Object) -> str:
    return json.dumps({"type": kind, "object": document}) + "\n"


def _event(change: Change, matching: Callable[[Object], bool]) -> str:
    """Return a change as a watch with selectors sees it: what now matches is added, what no longer does is deleted."""
    was = change.before is not None and matching(change.before)
    is_ = change.after is not None and matching(change.after)
    if not was and not is_:
        return ""
    return _watch_event("MODIFIED" if was and is_ else "ADDED" if is_ else "DELETED", change.snapshot)


@contextlib.contextmanager
def kube_api(namespace: str = "marts", crds: Path | None = None, **more: Any) -> Iterator[KubeApi]:
    """Serve on loopback; raise what a callback raised."""
    api = KubeApi(namespace, crds, **more)
    server = Server(api)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True),
        threading.Thread(target=api.run_controllers, daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield api
    finally:
        api.closing.set()
        with api.store.lock:
            api.store.lock.notify_all()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join(5)
    if api.errors:
        raise api.errors[0]
