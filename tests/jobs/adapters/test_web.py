"""The doors, limits and headers of served pages."""

import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import requests
from support.served import serving

from jobs.adapters.web import HEALTH, Doors, is_loopback

TOKEN = "t0ken-of-readers"


@dataclass(frozen=True)
class Answer:
    """An answer that says what was asked for."""

    body: bytes
    status: int = 200
    kind: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0


def echo(path: str, query: str) -> Answer:
    return Answer(f"{path}?{query}".encode())


def test_each_answer_forbids_what_is_not_its_own() -> None:
    with serving(echo) as address:
        answer = requests.get(f"{address}/retail?region=North", timeout=10)
        missing = requests.post(f"{address}/retail", timeout=10)
    assert answer.text == "/retail?region=North"
    for headers in (answer.headers, missing.headers):
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        assert headers["Cache-Control"] == "no-store"
    assert missing.status_code == 405


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_pages_are_only_read(method: str) -> None:
    with serving(echo) as address:
        assert requests.request(method, f"{address}/retail", timeout=10).status_code == 405


def test_who_may_embed_the_pages_is_named() -> None:
    with serving(echo, Doors("none", embed=("https://intranet.example.com",))) as address:
        policy = requests.get(address, timeout=10).headers["Content-Security-Policy"]
    assert "frame-ancestors https://intranet.example.com" in policy


def test_a_token_opens_by_cookie_by_header_and_once_by_address() -> None:
    with serving(echo, Doors("token", lambda: TOKEN)) as address:
        page = f"{address}/retail"
        assert requests.get(page, timeout=10).status_code == 401
        assert requests.get(f"{page}?token=other", timeout=10).status_code == 401
        assert requests.get(page, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).status_code == 200
        assert requests.get(page, cookies={"marts_token": TOKEN}, timeout=10).status_code == 200
        assert requests.get(page, cookies={"marts_token": ""}, timeout=10).status_code == 401
        once = requests.get(f"{page}?token={TOKEN}", timeout=10, allow_redirects=False)
        assert (once.status_code, once.headers["Location"]) == (303, "/retail")
        cookie = once.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        for health in HEALTH:
            assert requests.get(address + health, timeout=10).status_code == 200
        secure = requests.get(
            f"{page}?token={TOKEN}", headers={"X-Forwarded-Proto": "https"}, timeout=10, allow_redirects=False
        )
        assert "Secure" in secure.headers["Set-Cookie"]


def test_a_token_that_is_changed_closes_the_old_door_at_once() -> None:
    tokens = [TOKEN]
    with serving(echo, Doors("token", lambda: tokens[-1])) as address:
        page, old = f"{address}/retail", {"Authorization": f"Bearer {TOKEN}"}
        assert requests.get(page, headers=old, timeout=10).status_code == 200
        tokens.append("another")
        assert requests.get(page, headers=old, timeout=10).status_code == 401
        assert requests.get(page, headers={"Authorization": "Bearer another"}, timeout=10).status_code == 200
        tokens.clear()  # the sealed file is gone
        refused = requests.get(page, headers=old, timeout=10)
        assert (refused.status_code, refused.headers["Cache-Control"]) == (500, "no-store")
        assert requests.get(f"{address}/healthz", timeout=10).status_code == 200


def test_an_empty_token_opens_nothing() -> None:
    with serving(echo, Doors("token", str)) as address:
        for headers in ({}, {"Authorization": "Bearer "}, {"Cookie": "marts_token="}):
            assert requests.get(f"{address}/retail", headers=headers, timeout=10).status_code == 401


@pytest.mark.parametrize(
    ("proxies", "user", "status"),
    [
        (("127.0.0.1",), "zoe", 200),
        (("127.0.0.0/8",), "zoe", 200),
        (("127.0.0.1",), "", 401),
        (("10.0.0.1", "not an address"), "zoe", 403),  # the header of anybody else is no proof
    ],
)
def test_only_the_proxy_names_a_user(proxies: tuple[str, ...], user: str, status: int) -> None:
    headers = {"X-Forwarded-User": user} if user else {}
    with serving(echo, Doors("proxy", proxies=proxies)) as address:
        assert requests.get(f"{address}/retail", headers=headers, timeout=10).status_code == status


def test_an_address_of_a_megabyte_is_refused_and_the_next_one_answered() -> None:
    with serving(echo) as address:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        try:
            connection.request("GET", "/" + "x" * (1 << 20))
            assert connection.getresponse().status == 400
        except OSError:
            pass  # it is closed before all of it is sent
        finally:
            connection.close()
        assert requests.get(f"{address}/retail", timeout=10).status_code == 200


def test_more_requests_than_there_are_turns_wait_or_are_told_to_come_again() -> None:
    begun, go_on, statuses = threading.Semaphore(0), threading.Event(), list[int]()

    def slow(path: str, query: str) -> Answer:
        if path in HEALTH:
            return Answer(b"ok")
        begun.release()
        go_on.wait(20)
        return Answer(b"done")

    with serving(slow) as address:
        threads = [
            threading.Thread(target=lambda: statuses.append(requests.get(f"{address}/x", timeout=20).status_code))
            for _ in range(18)
        ]
        for thread in threads:
            thread.start()
        for _ in range(4):  # as many are answered at the same time
            assert begun.acquire(timeout=10)
        for health in HEALTH:  # a busy server is not a dead one
            assert requests.get(address + health, timeout=1).status_code == 200
        while len(statuses) < 2:  # two get no turn
            threads[0].join(0.05)
        go_on.set()
        for thread in threads:
            thread.join(20)
    assert sorted(statuses) == [200] * 16 + [503] * 2


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.1.2.3", False), ("db", False)],
)
def test_a_loopback_address_is_of_this_machine(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:9", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
    ],
)
def test_without_a_door_it_answers_under_names_of_this_machine_only(host: str, status: int) -> None:
    """A site may give its own name the address of this machine (DNS rebinding)."""
    doors = Doors("none", hosts=("localhost", "127.0.0.1", "[::1]"))
    with serving(echo, doors) as address:
        assert requests.get(address, headers={"Host": host}, timeout=10).status_code == status
        assert requests.get(f"{address}/healthz", headers={"Host": host}, timeout=10).status_code == 200
    with serving(echo) as address:
        assert requests.get(address, headers={"Host": host}, timeout=10).status_code == 200
