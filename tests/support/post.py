"""Where notices arrive in tests: a real mail server with STARTTLS and login, and a web server that keeps what comes."""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from support.servers import free_port

MAIL_PASSWORD = "m@il:secret/1"


@dataclass
class MailServer:
    """Takes mails from who speaks TLS and logs in; it can be down for a while."""

    folder: Path
    port: int = field(default_factory=free_port)
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    refused: str = ""
    """A recipient that does not exist."""

    def __post_init__(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(self.folder / "mail-ca.pem")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)

    @property
    def ca(self) -> str:
        return str(self.folder / "mail-ca.pem")

    @property
    def address(self) -> str:
        """What somebody seals as notify.to.mail."""
        login = f"bot:{quote(MAIL_PASSWORD, safe='')}"
        people = "from=marts%40localhost.test&to=ops%40localhost.test"
        return f"mailtos://{login}@localhost:{self.port}/?{people}&mode=starttls"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope, address: str, options: Any
    ) -> str:
        if address == self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"

    def _login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        return AuthResult(success=data.password.decode() == MAIL_PASSWORD, handled=False)

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=self._login,
            auth_required=True,
            auth_require_tls=True,
            require_starttls=True,
            tls_context=self._context,
        )
        controller.start()
        try:
            yield
        finally:
            controller.stop()

    @property
    def texts(self) -> list[str]:
        """The plain text of each mail."""
        texts = []
        for mail in self.mails:
            body = mail.get_body(("plain",)) or mail.get_body(("html",))
            assert body is not None
            texts.append(f"{mail['subject']}\n{body.get_content()}")
        return texts


@dataclass
class Hook:
    """A web server: keeps the JSON that is posted, and the paths that are asked for; it can refuse for a while."""

    port: int = field(default_factory=free_port)
    posts: list[dict[str, Any]] = field(default_factory=list)
    pings: list[str] = field(default_factory=list)
    delay: float = 0
    """Seconds until an answer to a post."""
    refusals: int = 0
    """So many requests are answered with 503 first."""

    def __post_init__(self) -> None:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hook.pings.append(self.path)
                self._answer()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if hook.refusals <= 0:
                    hook.posts.append(body)
                time.sleep(hook.delay)
                self._answer()

            def _answer(self) -> None:
                refused = hook.refusals > 0
                hook.refusals -= refused
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.send_response(503 if refused else 200)
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._handler = Handler

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.port}/notices"

    @property
    def heartbeat(self) -> str:
        return f"http://127.0.0.1:{self.port}/ping/7c4a"

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def texts(self) -> list[str]:
        return [f"{post['title']}\n{post['message']}" for post in self.posts]


@pytest.fixture
def hook() -> Iterator[Hook]:
    new_hook = Hook()
    with new_hook.up():
        yield new_hook


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MailServer:
    """A mail server that is down until a test wants it; its authority is known to this process."""
    server = MailServer(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", server.ca)
    return server
