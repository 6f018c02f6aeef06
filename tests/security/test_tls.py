"""TLS to the database: who asks for it talks to the right server, encrypted, or not at all."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import trustme
from support.kit import Place
from support.retail import CUSTOMERS_MART, RETAIL
from support.servers import PASSWORD, SQL_SERVER, MariaDB, sql_server

from jobs.adapters.warehouse.mysql import MySQLWarehouse
from jobs.adapters.warehouse.open import open_warehouse
from jobs.config.settings import MySQL
from marts.errors import MartsError, ServiceError

QUICK = {"connect_timeout": 5, "read_timeout": 2, "deadline": 0.2}


class Authority:
    """Certificates of a company: a CA, and what it signs for a server and for us."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        folder.mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        server, client = authority.issue_cert(*names), authority.issue_cert("marts@company")
        for name, certificate in (("server", server), ("client", client)):
            certificate.private_key_pem.write_to_path(folder / f"{name}-key.pem")
            certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        (folder / "client-key.pem").chmod(0o600)

    @property
    def options(self) -> list[str]:
        return [
            f"--ssl-ca={self.folder}/ca.pem",
            f"--ssl-cert={self.folder}/server.pem",
            f"--ssl-key={self.folder}/server-key.pem",
        ]

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("right") / "ca", "localhost")


@pytest.fixture(scope="module")
def encrypted(right: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MariaDB, str]]:
    """A MariaDB with a certificate of the company."""
    with _server(tmp_path_factory.mktemp("encrypted"), right.options) as server:
        yield server


@contextlib.contextmanager
def _server(folder: Path, options: list[str]) -> Iterator[tuple[MariaDB, str]]:
    server, daemon = sql_server(folder, options)
    daemon.start()
    try:
        server.make_database("marts")
        yield server, f"mysql://marts@localhost:{server.port}/marts"
    finally:
        daemon.kill()


def password() -> MySQL:
    return MySQL(password=PASSWORD, **QUICK)


def connected(uri: str, **options: Any) -> list[tuple[Any, ...]]:
    """Connect, and return the cipher."""
    warehouse = MySQLWarehouse(uri, password().model_copy(update=options), RETAIL)
    try:
        return warehouse.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    finally:
        warehouse.close()


def test_the_right_server_is_talked_to_encrypted(encrypted: tuple[MariaDB, str], right: Authority) -> None:
    ((_, cipher),) = connected(encrypted[1], ssl_ca=right.ca)
    assert cipher.startswith("TLS_")


def test_a_whole_build_goes_over_tls(
    encrypted: tuple[MariaDB, str], right: Authority, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARTS_MYSQL__PASSWORD", PASSWORD)
    server, place.target = encrypted
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("ALTER USER 'marts'@'%' REQUIRE SSL")
    place.settings = {"mysql": {"ssl_ca": right.ca}}
    place.put_golden()
    assert place.build().outcome == "published"
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("ALTER USER 'marts'@'%' REQUIRE NONE")


def test_a_server_that_asks_for_our_certificate_gets_it(encrypted: tuple[MariaDB, str], right: Authority) -> None:
    server, uri = encrypted
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("ALTER USER 'marts'@'%' REQUIRE X509")
    try:
        with pytest.raises(ServiceError, match="denies access"):
            connected(uri, ssl_ca=right.ca)
        own = {"ssl_cert": f"{right.folder}/client.pem", "ssl_key": f"{right.folder}/client-key.pem"}
        assert connected(uri, ssl_ca=right.ca, **own)
    finally:
        with server.connect() as root, root.cursor() as cursor:
            cursor.execute("ALTER USER 'marts'@'%' REQUIRE NONE")


@pytest.mark.skipif(SQL_SERVER != "mysql", reason="MariaDB asks for no password by caching_sha2_password")
def test_a_mysql_without_tls_receives_no_password(tmp_path: Path, right: Authority) -> None:
    with _server(tmp_path / "plain", ["--tls-version="]) as (server, uri):
        assert server.run("SELECT plugin FROM mysql.user WHERE user = 'marts'") == [("caching_sha2_password",)]
        for options in ({}, {"ssl_ca": right.ca}):
            with pytest.raises(ServiceError, match="SSL") as caught:
                connected(uri, **options)
            assert "mysql.ssl_ca" in caught.value.hint


def test_a_certificate_of_another_authority_is_refused(encrypted: tuple[MariaDB, str], tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "localhost")
    with pytest.raises(ServiceError, match="certificate") as caught:
        connected(encrypted[1], ssl_ca=other.ca)
    assert "ssl_ca" in caught.value.hint


def test_a_certificate_for_another_host_is_refused(encrypted: tuple[MariaDB, str], right: Authority) -> None:
    with pytest.raises(ServiceError, match="certificate"):
        connected(encrypted[1].replace("localhost", "127.0.0.1"), ssl_ca=right.ca)


def test_a_server_without_tls_is_refused_before_it_receives_the_password(
    right: Authority, rogue: "Rogue", mariadb: MariaDB
) -> None:
    with pytest.raises(ServiceError, match=r"TLS|SSL"):
        connected(mariadb.make_database("plain"), ssl_ca=right.ca)
    with pytest.raises(ServiceError, match=r"TLS|SSL"):
        connected(rogue.uri, ssl_ca=right.ca)
    assert rogue.received == []


def test_a_missing_ca_file_is_reported(encrypted: tuple[MariaDB, str]) -> None:
    with pytest.raises(MartsError, match="Invalid CA Certificate"):
        connected(encrypted[1], ssl_ca="/none.pem")


class Rogue:
    """Something that speaks enough of MySQL's protocol to log anybody in, and to ask for a file at any statement."""

    _CAPABILITIES = 0x0000_F7FF | 0x0080_0000 | 0x0008_0000  # all of 4.1's but TLS, LOCAL FILES, plugin names

    def __init__(self) -> None:
        self.wanted = b"/etc/passwd"
        self.received: list[bytes] = []
        """Packets that came after the greeting."""
        self.got: list[bytes] = []
        """Packets that came after we asked for a file."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.uri = f"mysql://marts@127.0.0.1:{self.port}/marts"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            self._greet(client)
            self.received.append(self._packet(client)[1])
            self._send(client, 2, b"\x00\x00\x00\x02\x00\x00\x00")
            while True:
                _, command = self._packet(client)
                if command[:1] == b"\x01":
                    return
                if b"SELECT" in command or b"LOAD" in command:
                    self._send(client, 1, b"\xfb" + self.wanted)
                    while True:
                        number, sent = self._packet(client)
                        self.got.append(sent)
                        if not sent:
                            break
                    self._send(client, number + 1, b"\x00\x00\x00\x02\x00\x00\x00")
                else:
                    self._send(client, 1, b"\x00\x00\x00\x02\x00\x00\x00")

    def _greet(self, client: socket.socket) -> None:
        low, high = self._CAPABILITIES & 0xFFFF & ~0x0800, self._CAPABILITIES >> 16
        hello = b"\x0a" + b"8.0.40\x00" + struct.pack("<I", 7) + b"12345678\x00" + struct.pack("<H", low)
        hello += b"\x2d\x02\x00" + struct.pack("<H", high) + b"\x15" + b"\x00" * 10 + b"123456789012\x00"
        self._send(client, 0, hello + b"mysql_native_password\x00")

    @staticmethod
    def _send(client: socket.socket, number: int, data: bytes) -> None:
        client.sendall(struct.pack("<I", len(data))[:3] + bytes([number % 256]) + data)

    @staticmethod
    def _packet(client: socket.socket) -> tuple[int, bytes]:
        head = Rogue._read(client, 4)
        return head[3], Rogue._read(client, int.from_bytes(head[:3], "little"))

    @staticmethod
    def _read(client: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = client.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


_COMMANDS = {b"\x0e", b"\x01"}
"""Ping and quit: no part of a file."""


@pytest.fixture
def rogue() -> Iterator[Rogue]:
    server = Rogue()
    yield server
    server.close()


@pytest.mark.parametrize(
    "wanted", [b"/etc/passwd", b"secrets/credentials.json", b"../../etc/passwd", b"/proc/self/environ", b""]
)
def test_a_rogue_server_gets_no_local_file(rogue: Rogue, wanted: bytes, figure: Callable[[str], None]) -> None:
    rogue.wanted = wanted
    warehouse = MySQLWarehouse(rogue.uri, password().model_copy(update={"read_timeout": 1}), RETAIL)
    inside = Path(warehouse._spool.name)
    rows = pa.table({column.name: pa.array([], pa.string()) for column in CUSTOMERS_MART.columns})
    for attempt in (lambda: warehouse.execute("SELECT 1"), lambda: warehouse.load(CUSTOMERS_MART, 1, rows)):
        with pytest.raises(MartsError):
            attempt()
    assert inside.is_dir()
    warehouse.close()
    assert set(rogue.got) <= _COMMANDS
    figure(f"a rogue server asked for {wanted.decode()!r} at each statement: 0 bytes sent")


def test_a_rogue_server_gets_at_most_the_rows_that_were_for_it(rogue: Rogue) -> None:
    """It may ask for our spool folder by name only if it knew it, and there is nothing else in it."""
    warehouse = MySQLWarehouse(rogue.uri, password().model_copy(update={"read_timeout": 1}), RETAIL)
    secret = Path(warehouse._spool.name).parent / "outside.txt"
    secret.write_text("canary")
    (Path(warehouse._spool.name) / "link").symlink_to(secret)
    try:
        for wanted in (f"{warehouse._spool.name}/../outside.txt", f"{warehouse._spool.name}/link", str(secret)):
            rogue.wanted = wanted.encode()
            with pytest.raises(MartsError):
                warehouse.execute("SELECT 1")
        assert b"canary" not in b"".join(rogue.got)
    finally:
        warehouse.close()
        secret.unlink()


class Greedy(Rogue):
    """A server without TLS that asks for the password itself, as MySQL's caching_sha2_password may."""

    def _greet(self, client: socket.socket) -> None:
        super()._greet(client)
        self.received.append(self._packet(client)[1])
        for number, asks in enumerate([b"\xfecaching_sha2_password\x00" + b"a" * 20 + b"\x00", b"\x01\x04"]):
            self._send(client, 2 + 2 * number, asks)
            self.received.append(self._packet(client)[1])


def test_a_server_without_tls_that_asks_for_the_password_itself_does_not_get_it() -> None:
    greedy = Greedy()
    try:
        with pytest.raises(ServiceError, match="requires SSL") as caught:
            connected(greedy.uri)
    finally:
        greedy.close()
    assert len(greedy.received) >= 2
    assert PASSWORD.encode() not in b"".join(greedy.received)
    assert "mysql.ssl_ca" in caught.value.hint


def test_a_user_of_caching_sha2_password_is_let_in_by_tls_that_nobody_set(mariadb: MariaDB) -> None:
    """MySQL has a certificate of its own as it comes: the password goes over TLS the first time, a digest later."""
    if mariadb.kind != "mysql":
        pytest.skip("a password of MySQL's")
    uri = mariadb.make_database("sha2")
    plugin = "SELECT plugin FROM mysql.user WHERE user = 'sha2'"
    assert mariadb.run(plugin) == [("caching_sha2_password",)]
    for _ in range(2):
        ((_, cipher),) = connected(uri)
        assert cipher.startswith("TLS_")


def test_the_password_is_not_sent_in_clear(rogue: Rogue) -> None:
    with contextlib.suppress(MartsError):
        open_warehouse(rogue.uri, password(), RETAIL).close()
    assert rogue.received
    assert PASSWORD.encode() not in b"".join(rogue.received)
