"""A TCP proxy on loopback that breaks connections on purpose: it reads what passes, and a fault decides what to do."""

import contextlib
import re
import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

COMMIT = re.compile(rb"[\x07\x09]\x00\x00\x00\x03(?:\x00\x01)?COMMIT")
"""A packet of MySQL's protocol: length, sequence number, COM_QUERY, MySQL's count of attributes, the statement."""


def _refusal(status: str, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + body


SLOW_DOWN = _refusal("503 Service Unavailable", "SlowDown")
FORBIDDEN = _refusal("403 Forbidden", "AccessDenied")
_STEP = 1 << 16


class Cut(Exception):
    """The connection is to be broken now."""


class Answer(Exception):
    """The client is to get these bytes instead of the server's answer, then the connection is broken."""


@dataclass
class Fault:
    """One fault: it looks at the bytes of every connection, and strikes once, or ``times``."""

    name: str
    request: Callable[["Fault", bytes], None] | None = None
    """Called with what a client sends, before it is passed on."""
    response: Callable[["Fault", bytes], None] | None = None
    """Called with what the server answers, before it is passed on."""
    after: int = 0
    """Requests, or bytes, that pass before it strikes."""
    times: int = 1
    seconds: float = 0
    seen: int = 0
    struck: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self, count: int) -> bool:
        """Count what passes; return whether to strike now."""
        with self.lock:
            self.seen += count
            if self.seen <= self.after or self.struck >= self.times:
                return False
            self.struck += 1
            return True


class Proxy:
    """Passes connections on to a port of this machine.

    With ``tls``, those of MySQL's protocol that turn to TLS after the greeting, as clients of MySQL do: it holds both
    ends, and faults look at what is inside.
    """

    def __init__(self, port: int, tls: bool = False) -> None:
        self._upstream, self._tls = port, tls
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._server.getsockname()[1]
        self.fault: Fault | None = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Break every connection that is open."""
        for pair in list(self._pairs):
            _close(*pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self.fault:
                _connecting(self.fault)
            server = socket.create_connection(("127.0.0.1", self._upstream), timeout=10)
            server.settimeout(None)
        except (OSError, Cut):
            _close(client)
            return
        for connection in (client, server):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            self._serve_tls(client, server)
            return
        pair = (client, server)
        self._pairs.add(pair)
        back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
        back.start()
        self._pump(client, server, True)
        back.join()
        self._pairs.discard(pair)

    def _serve_tls(self, client: socket.socket, server: socket.socket) -> None:
        pair = (client, server)
        self._pairs.add(pair)
        try:
            client.sendall(_packet(server))  # the greeting
            asks = _packet(client)
            server.sendall(asks)
            if len(asks) == _TLS_REQUEST:
                self._pairs.discard(pair)
                here, client_context = _contexts()
                pair = (here.wrap_socket(client, server_side=True), client_context.wrap_socket(server))
                self._pairs.add(pair)
            while self._pass_on(*pair):
                pass
        except (OSError, ValueError, Cut):
            pass
        self._pairs.discard(pair)
        _close(*pair)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what comes from either side, in one thread: two cannot share a TLS connection. False: it ended."""
        ready = [
            connection
            for connection in (client, server)
            if isinstance(connection, ssl.SSLSocket) and connection.pending()
        ]
        for source in ready or select.select([client, server], [], [])[0]:
            source.settimeout(0.1)
            try:
                data = source.recv(_STEP)
            except TimeoutError:  # what came was not for us: a ticket of the session
                continue
            if not data:
                return False
            fault = self.fault
            look = (fault.request if source is client else fault.response) if fault else None
            if fault and look:
                look(fault, data)
            sink = server if source is client else client
            sink.settimeout(30)
            sink.sendall(data)
        return True

    def _pump(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        try:
            while data := source.recv(_STEP):
                fault = self.fault
                look = (fault.request if is_request else fault.response) if fault else None
                if fault and look:
                    look(fault, data)
                sink.sendall(data)
        except Answer as answer:
            with contextlib.suppress(OSError):
                source.sendall(answer.args[0])
        except (OSError, Cut):
            pass
        _close(source, sink)


_TLS_REQUEST = 36
"""Bytes of the packet by which a client of MySQL's protocol turns to TLS."""


def _packet(source: socket.socket) -> bytes:
    """Read one packet of MySQL's protocol."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:3], "little"):
        more = source.recv(1 if len(data) < 4 else 4 + int.from_bytes(data[:3], "little") - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS of our end towards clients, and towards servers; nobody verifies anything."""
    import trustme

    here, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate = trustme.CA().issue_cert("localhost")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(path)
        here.load_cert_chain(path)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    return here, client_context


def _close(*sockets: socket.socket) -> None:
    for connection in sockets:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            connection.close()


def _connecting(fault: Fault) -> None:
    if fault.name == "refused connections" and fault.is_due(1):
        raise Cut


def commit_not_sent(after: int) -> Fault:
    """Break the connection instead of passing a COMMIT on: it does not take place."""

    def request(fault: Fault, data: bytes) -> None:
        if COMMIT.search(data) and fault.is_due(1):
            raise Cut

    return Fault("COMMIT lost on its way", request=request, after=after)


def commit_not_answered(after: int) -> Fault:
    """Pass a COMMIT on, and break the connection instead of passing its answer back: it took place."""
    waiting = threading.Event()

    def request(fault: Fault, data: bytes) -> None:
        if COMMIT.search(data) and fault.is_due(1):
            waiting.set()

    def response(fault: Fault, data: bytes) -> None:
        if waiting.is_set():
            waiting.clear()
            raise Cut

    return Fault("answer to a COMMIT lost", request=request, response=response, after=after)


def publish_not_answered(sent: bool) -> Fault:
    """Break the connection at the COMMIT that publishes: after it is passed on, or before."""
    publishing, waiting = threading.Event(), threading.Event()

    def request(fault: Fault, data: bytes) -> None:
        if b"marts_publications (" in data:
            publishing.set()
        elif COMMIT.search(data) and publishing.is_set() and fault.is_due(1):
            if not sent:
                raise Cut
            waiting.set()

    def response(fault: Fault, data: bytes) -> None:
        if waiting.is_set():
            waiting.clear()
            raise Cut

    name = "answer to the COMMIT that publishes lost" if sent else "COMMIT that publishes lost on its way"
    return Fault(name, request=request, response=response)


def cut_after(bytes_: int) -> Fault:
    """Break a connection in the middle of its data."""

    def look(fault: Fault, data: bytes) -> None:
        if fault.is_due(len(data)):
            raise Cut

    return Fault("connection cut", request=look, response=look, after=bytes_)


def refuse(times: int) -> Fault:
    """Refuse the next connections."""
    return Fault("refused connections", times=times)


def stall(seconds: float, after: int) -> Fault:
    """Hold back an answer for longer than anybody waits for it."""

    def response(fault: Fault, data: bytes) -> None:
        if fault.is_due(len(data)):
            time.sleep(fault.seconds)

    return Fault("answer held back", response=response, after=after, seconds=seconds)


def answered(name: str, answer: bytes, after: int, times: int) -> Fault:
    """Answer requests to S3 in the server's place."""

    def request(fault: Fault, data: bytes) -> None:
        if is_http(data) and fault.is_due(1):
            raise Answer(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if data.startswith(b"HEAD") else answer)

    return Fault(name, request=request, after=after, times=times)


def body_cut(after: int) -> Fault:
    """Pass on half of an answer's bytes, then break the connection."""

    def response(fault: Fault, data: bytes) -> None:
        if fault.is_due(len(data)):
            raise Cut

    return Fault("answer cut in its middle", response=response, after=after)


def meanwhile(name: str, marker: bytes, after: int, do: Callable[[], None]) -> Fault:
    """Do something when a request passes that holds a marker."""

    def request(fault: Fault, data: bytes) -> None:
        if marker in data and fault.is_due(1):
            do()

    return Fault(name, request=request, after=after)


def is_http(data: bytes) -> bool:
    """Return whether a request begins here."""
    return data.split(b" ", 1)[0] in (b"GET", b"PUT", b"HEAD", b"DELETE", b"POST")
