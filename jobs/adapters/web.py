"""Serve pages over HTTP by aiohttp: doors, limits and headers. What a page says is a function of the caller.

Only GET and HEAD. The policy of the content forbids scripts and styles of others, and frames but those that are named.
"""

import asyncio
import hmac
import ipaddress
import logging
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

from aiohttp import web

from marts.errors import UsageError

_AT_ONCE = 16
"""Requests that have a turn; others wait for one."""
_THREADS = 4
"""Requests with a turn that are answered at the same time: more threads wait for each other."""
_WAIT = 2.0
"""Seconds that a request waits for its turn."""
_END = 10.0
"""Seconds that requests have to be answered when the server ends."""
_COOKIE = "marts_token"
_USER = "X-Forwarded-User"
_COMPRESSED = 1024
"""Bytes from which an answer is compressed."""
_CSP = "Content-Security-Policy"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'"
)
_log = logging.getLogger("marts.pages")


class Reply(Protocol):
    """An answer to a request."""

    @property
    def status(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def rows(self) -> int: ...


Respond = Callable[[str, str], Reply]
"""Answers the path and the query of an address."""
Observe = Callable[[int, float], None]
"""Counts an answer: its status, and the seconds that it took."""
Door = Literal["token", "proxy", "none"]


@dataclass(frozen=True)
class Doors:
    """Who may read."""

    door: Door
    token: Callable[[], str] = str
    """Reads the token of readers, at each request: it may be changed while the server runs."""
    proxies: Sequence[str] = ()
    embed: Sequence[str] = ()
    """Sites that may show the pages in a frame."""
    hosts: Sequence[str] = ()
    """Names under which it answers; empty: any. Without a door, a site that a reader opens could give its own name the
    address of this machine, and read the pages."""

    def policy(self, own: str = "") -> str:
        """Return the policy of the content; ``own`` is that of a page without the frames that may show it."""
        frames = " ".join(self.embed) or "'none'"
        return f"{own or _POLICY}; frame-ancestors {frames}"


@dataclass
class _Seen:
    """What the log says of a request."""

    user: str = ""
    rows: int = 0


HEALTH = ("/healthz", "/readyz", "/metrics")
"""Addresses of probes and of Prometheus: everybody may ask them, and they wait for no turn."""


def _ignore(status: int, seconds: float) -> None:
    """Count nothing."""


class Server:
    """A server that runs in the event loop of its caller."""

    def __init__(self, respond: Respond, doors: Doors, observe: Observe = _ignore) -> None:
        self._respond, self._doors, self._observe = respond, doors, observe
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._threads = ThreadPoolExecutor(_THREADS, "page")
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            max_line_size=8190,
            max_field_size=8190,
            handle_signals=False,
            shutdown_timeout=_END,
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port. Raise UsageError for an address that cannot be used."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            hint = "set another one with --port or --bind, or end what listens there"
            raise UsageError(f"cannot listen: {error.strerror or error}", f"{host}:{port}", hint) from error
        return int(self._runner.addresses[0][1])

    async def end(self) -> None:
        """Answer what has begun, and stop."""
        await self._runner.cleanup()
        self._threads.shutdown(cancel_futures=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, add the headers of all answers, and log it."""
        began = time.monotonic()
        seen = _Seen()
        try:
            answer = await self._answer(request, seen)
        except Exception:  # noqa: BLE001 - a page that fails must not end the server, and its log says why
            _log.exception("%s failed", request.path)
            answer = web.Response(status=500, text="This page failed: the log of the server says why.\n")
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers[_CSP] = self._doors.policy(answer.headers.get(_CSP, ""))
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Server"] = "Martwright"
        seconds = time.monotonic() - began
        if request.path not in HEALTH:
            self._observe(answer.status, seconds)
        fields = {
            "user": seen.user,
            "path": request.path,
            "status": answer.status,
            "milliseconds": round(seconds * 1000),
            "rows": seen.rows,
        }
        level = logging.DEBUG if request.path in HEALTH else logging.INFO  # probes ask every few seconds
        _log.log(level, "%s %s %d", request.method, request.path, answer.status, extra={"fields": fields})
        return answer

    async def _answer(self, request: web.Request, seen: "_Seen") -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="only GET and HEAD\n", headers={"Allow": "GET, HEAD"})
        if request.path in HEALTH:  # without a turn: a busy server must not be taken for a dead one
            return _response(self._respond(request.path, ""))
        if (refused := self._admitted(request, seen)) is not None:
            return refused
        try:
            await asyncio.wait_for(self._turns.acquire(), _WAIT)
        except TimeoutError:
            return web.Response(status=503, text="too many requests, try again\n", headers={"Retry-After": "2"})
        try:
            loop = asyncio.get_running_loop()
            query = request.rel_url.raw_query_string
            reply = await loop.run_in_executor(self._threads, self._respond, request.path, query)
        finally:
            self._turns.release()
        seen.rows = reply.rows
        return _response(reply)

    def _admitted(self, request: web.Request, seen: "_Seen") -> web.StreamResponse | None:
        """Return None for a reader who may read; else what to answer."""
        if self._doors.hosts and _name(request.host) not in self._doors.hosts:
            return web.Response(status=421, text="not under this name: use localhost\n")
        if self._doors.door == "proxy":
            return self._by_proxy(request, seen)
        if self._doors.door == "token":
            return self._by_token(request, seen)
        return None

    def _by_proxy(self, request: web.Request, seen: "_Seen") -> web.StreamResponse | None:
        peer, user = request.remote or "", request.headers.get(_USER, "")
        if not _is_among(peer, self._doors.proxies):
            return web.Response(status=403, text="only by way of the proxy\n")
        if not user:
            return web.Response(status=401, text="the proxy names no user\n")
        seen.user = user
        return None

    def _by_token(self, request: web.Request, seen: "_Seen") -> web.StreamResponse | None:
        """Admit who has the token: in a cookie, in a header, or once in the address, which sets the cookie."""
        header = request.headers.get("Authorization", "").removeprefix("Bearer ")
        given, token = request.cookies.get(_COOKIE, "") or header, self._doors.token()
        if _equal(given, token):
            seen.user = "token"
            return None
        if _equal(request.query.get("token", ""), token):
            answer = web.Response(status=303, headers={"Location": request.path})
            secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="Strict", secure=secure, path="/")
            return answer
        return web.Response(status=401, text="open the address with ?token=… once\n")


def _response(reply: Reply) -> web.Response:
    """Return an answer as it is sent."""
    answer = web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
    answer.content_type = reply.kind
    if reply.kind.startswith("text/"):
        answer.charset = "utf-8"
    if len(reply.body) > _COMPRESSED:
        answer.enable_compression()
    return answer


def _name(host: str) -> str:
    """Return the name of a host without its port."""
    return host.rpartition(":")[0] if re.search(r":\d+$", host) else host


def _equal(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def _is_among(peer: str, proxies: Sequence[str]) -> bool:
    """Return whether an address is one of the proxies, or in one of their networks."""
    try:
        address = ipaddress.ip_address(peer)
        return any(address in ipaddress.ip_network(proxy, strict=False) for proxy in proxies)
    except ValueError:
        return False


def serve(
    respond: Respond, doors: Doors, host: str, port: int, started: Callable[[int], None], observe: Observe = _ignore
) -> None:
    """Serve until SIGINT or SIGTERM; call ``started`` with the port."""

    async def run() -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        server = Server(respond, doors, observe)
        started(await server.start(host, port))
        try:
            await ended.wait()
        finally:
            await server.end()

    asyncio.run(run())


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
