"""Pages on a port, served in this process as `marts serve` serves them."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jobs.adapters.prometheus import ServerMetrics
from jobs.adapters.store.open import open_store
from jobs.adapters.warehouse.open import open_warehouse
from jobs.adapters.web import Doors, Respond, Server
from jobs.config.packs import required_dashboard
from jobs.config.settings import MySQL
from jobs.pages.live import Live
from jobs.pages.site import Reply, Site
from jobs.pages.written import WrittenPages
from marts.packs import shipped
from support.kit import Place

OPEN = Doors("none")


@contextmanager
def serving(respond: Respond, doors: Doors = OPEN) -> Iterator[str]:
    """Serve on a free port of this machine; yield the address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[Server, int]:
        server = Server(respond, doors)
        return server, await server.start("127.0.0.1", 0)

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Served:
    """Pages of a place, as a server answers them."""

    def __init__(self, place: Place) -> None:
        self.place, self.clock = place, Clock()
        pack = shipped(str(place.settings.get("pack", "retail")))
        opener = partial(open_warehouse, place.address, MySQL(), pack, True, 0, False)
        self.live = Live(pack, required_dashboard(pack), opener, self.clock)
        configured = place.configured()
        self.metrics = ServerMetrics()
        reports, docs = (
            partial(open_store, uri, configured.s3) for uri in (configured.reports_uri, configured.docs_uri)
        )
        self.site = Site(self.live, self.clock, 60, reports, WrittenPages(reports, docs), self.metrics.exposed)

    def get(self, address: str) -> Reply:
        path, _, query = address.partition("?")
        return self.site.respond(path, query)

    def text(self, address: str) -> str:
        reply = self.get(address)
        assert reply.status == 200, reply.body
        return reply.body.decode()

    def figures(self, address: str = "/retail.json") -> dict[str, Any]:
        content = json.loads(self.text(address))
        return {card["figure"]: card["value"] for card in content["cards"]}
