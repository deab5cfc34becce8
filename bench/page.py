"""Serves the exporter's page in a process of its own. Run ``python -m bench.page ACCOUNTS``.

It uses the exporter's server and exposition over synthetic accounts, without polls. ``POST /change?share=0.01``
gives this share of the accounts new values, and goes on where the last one ended, as polls do in the order of the page.
It responds when their text is made.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from bench.processes import workplace
from bench.workload import LABELS, Workload, account_keys, label_values
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.page import Exposition
from exporter.metrics.render import Renderer
from exporter.metrics.self_metrics import SelfMetrics
from exporter.runtime.clock import SystemClock
from exporter.web.messages import Request, Response, Route
from exporter.web.server import Server


class Page:
    """The accounts and their figures at each tick."""

    def __init__(self, count: int, directory: Path) -> None:
        self.exposition = Exposition(FAMILIES, SelfMetrics("bench", "", 0, 1).registry, SystemClock())
        self._keys = account_keys(count)
        self._workload = Workload(directory)
        self._tick = self._next = 0
        self.exposition.reset(self._keys)
        self.change(1.0)

    def change(self, share: float) -> None:
        """Give new values to a share of the accounts, and at least to one."""
        count = len(self._keys)
        begin, self._next = self._next, self._next + max(1, round(share * count))
        for number in (at % count for at in range(begin, self._next)):
            render = Renderer(LABELS, label_values(self._keys[number]))
            rows = self._workload.rows(number, self._tick)
            self.exposition.put(self._keys[number], [render(family, samples) for family, samples in rows])
        self._tick += 1

    def metrics(self, request: Request) -> Response:
        body = self.exposition.body(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))
        headers = tuple((name, value) for name, value in body.headers if name != "Content-Type")
        return Response(200, b"", body.content_type, headers, body.parts)

    def changed(self, request: Request) -> Response:
        self.change(float(request.query["share"]))
        return Response(200, b"changed\n", "text/plain")


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with workplace() as directory:
        page = Page(int(sys.argv[1]), directory)
    routes = {"/metrics": Route(page.metrics), "/change": Route(page.changed, methods=("POST",))}
    server = Server(routes, ["127.0.0.1:0"])
    server.bind()
    server.start()
    print("serving", *server.addresses, flush=True)
    stop.wait()
    server.stop(1.0)


if __name__ == "__main__":
    main()
