"""Makes the text of /metrics in the negotiated format and encoding, and caches it in parts.

The lines of accounts are the same in every format, because all their families are gauges, or counters without a
creation time. A scrape compresses the segments of the ``grid`` that changed since the last scrape, and sends all
segments as one gzip member.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

from prometheus_client import exposition as prometheus_text
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.account_id import AccountId
from exporter.metrics.compression import Member, Segment, compress
from exporter.metrics.family import Family
from exporter.metrics.grid import Grid
from exporter.metrics.negotiation import gzip_accepted, negotiate
from exporter.metrics.own_text import OwnText
from exporter.metrics.render import escape
from exporter.runtime.clock import Clock

_QUICK = 128
"""Segments that are compressed in a few milliseconds."""


@dataclass(frozen=True)
class Body:
    """The response to a scrape."""

    content_type: str
    content_encoding: str | None
    parts: tuple[bytes, ...]
    """Sent one after another. A copy of all of them would take as long as sending them."""

    @property
    def data(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.parts)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that describe the body, without Content-Length."""
        headers = [("Content-Type", self.content_type), ("Vary", "Accept, Accept-Encoding")]
        if self.content_encoding:
            headers.append(("Content-Encoding", self.content_encoding))
        return headers


class _Page:
    """The page in one format. It keeps the finished parts and renews the outdated ones on request."""

    def __init__(self, headers: Sequence[bytes], own: Callable[[], bytes], own_max_age: float) -> None:
        self._lock = threading.Lock()
        self._headers = headers
        self._own, self._own_max_age = own, own_max_age
        self._own_text, self._own_until = b"", float("-inf")
        self._grid: Grid | None = None
        self._generation = -1  # of the segments
        self._member = Member(0)
        self._ready: dict[bool, tuple[int, tuple[bytes, ...]]] = {}  # generation and body, with gzip (True) and without

    def expire_own(self) -> None:
        with self._lock:
            self._own_until = float("-inf")

    def body(self, grid: Grid, grid_lock: threading.Lock, gzipped: bool, now: float) -> tuple[bytes, ...]:
        """Return the page in parts. Scrapes at the same time wait for one to make it, and get the same bytes."""
        with self._lock:
            return self._made(grid, grid_lock, gzipped, now)

    def quick_body(self, grid: Grid, grid_lock: threading.Lock, gzipped: bool, now: float) -> tuple[bytes, ...] | None:
        """Return the page in parts, or None if it takes long to make or another scrape makes it."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._made(grid, grid_lock, gzipped, now) if self._is_quick(grid, grid_lock, gzipped) else None
        finally:
            self._lock.release()

    def _is_quick(self, grid: Grid, grid_lock: threading.Lock, gzipped: bool) -> bool:
        generation, _ = self._ready.get(gzipped, (-1, ()))
        if not grid.is_large or generation == grid.generation:
            return True
        with grid_lock:
            return gzipped and grid is self._grid and len(grid.changed(self._generation)) <= _QUICK

    def _made(self, grid: Grid, grid_lock: threading.Lock, gzipped: bool, now: float) -> tuple[bytes, ...]:
        if now >= self._own_until:
            self._own_text, self._own_until = self._own(), now + self._own_max_age
            self._ready.clear()
        generation, parts = self._ready.get(gzipped, (-1, ()))
        if generation != grid.generation:
            generation, parts = self._gzipped(grid, grid_lock) if gzipped else self._plain(grid, grid_lock)
            # Drop the outdated body, because it is large if there are many accounts.
            self._ready = {other: made for other, made in self._ready.items() if made[0] == generation}
            self._ready[gzipped] = generation, parts
        return parts

    def _plain(self, grid: Grid, grid_lock: threading.Lock) -> tuple[int, tuple[bytes, ...]]:
        with grid_lock:
            generation = grid.generation
            texts = [grid.text(segment, self._headers) for segment in range(len(grid))]
        whole = BytesIO()  # one segment after another, because all of them unpacked would be as large as the page
        for text in texts:
            whole.writelines([text.text()] if isinstance(text, Segment) else text)
        whole.write(self._own_text)
        return generation, (whole.getvalue(),)

    def _gzipped(self, grid: Grid, grid_lock: threading.Lock) -> tuple[int, tuple[bytes, ...]]:
        if grid is not self._grid:
            self._grid, self._generation = grid, -1
            self._member = Member(len(grid))
        with grid_lock:
            generation = grid.generation
            texts = {segment: grid.text(segment, self._headers) for segment in grid.changed(self._generation)}
            grid.pack(self._member.segments, texts)
        self._member.replace(
            {
                segment: text if isinstance(text, Segment) else compress(b"".join(text))
                for segment, text in texts.items()
            }
        )
        self._generation = generation
        return generation, tuple(self._member.parts(compress(self._own_text)))


class Exposition:
    """The page of /metrics. The families of accounts come first, in order, then the exporter's own.

    It is thread-safe, so polls can put fragments while scrapes ask for the body. All fragments of an
    account change together, so no body mixes two polls of one account.
    """

    def __init__(self, families: Sequence[Family], registry: Collector, clock: Clock, own_max_age: float = 1.0) -> None:
        """Begin without accounts. The registry holds the exporter's own metrics.

        They are read again when they are ``own_max_age`` seconds old. Scrapes within that time get the
        same bytes, unless an account changed.
        """
        self.families = tuple(families)
        self._clock = clock
        self._lock = threading.Lock()
        self._grid = Grid((), [()] * len(families), 0)
        self._text = _Page(
            [_header(f.name, f.help.replace("\\", r"\\").replace("\n", r"\n"), f.type) for f in families],
            OwnText(registry, prometheus_text.generate_latest),
            own_max_age,
        )
        self._openmetrics = _Page(
            [
                _header(f.name.removesuffix("_total" if f.type == "counter" else ""), escape(f.help), f.type)
                for f in families
            ],
            OwnText(registry, openmetrics.generate_latest),
            own_max_age,
        )

    def reset(self, accounts: Sequence[AccountId]) -> None:
        """Serve these accounts in this order. Accounts that were there before keep their fragments."""
        with self._lock:
            old = self._grid
            if old.narrow(accounts):
                return
            rows = [old.row.get(account, -1) for account in accounts]
            columns = ([*old.column(family), b""] for family in range(len(self.families)))
            self._grid = Grid(accounts, ([column[row] for row in rows] for column in columns), old.generation + 1)

    def put(self, account: AccountId, fragments: Sequence[bytes | None]) -> None:
        """Replace the fragments of an account, one for each family. A family without samples has b"".

        None leaves a family as it is.

        An account that is not served is ignored, because its last poll may end after a reload removed it.
        Raises ValueError if there is not one fragment for each family.
        """
        if len(fragments) != len(self.families):
            raise ValueError(f"{account}: {len(fragments)} fragments for {len(self.families)} families")
        with self._lock:
            if account in self._grid.row:
                self._grid.put(account, fragments)

    def pack(self) -> None:
        """Keep the text of all accounts compressed until it changes. Scrapes do the same for what did not change."""
        with self._lock:
            self._grid.pack_all()

    def expire_own(self) -> None:
        """Read the exporter's own metrics again at the next scrape, even if they are new."""
        for page in (self._text, self._openmetrics):
            page.expire_own()

    def body(self, accept: str, accept_encoding: str) -> Body:
        """Return the page in the format and encoding that these request headers ask for."""
        page, content_type, gzipped = self._asked(accept, accept_encoding)
        parts = page.body(self._grid, self._lock, gzipped, self._clock.monotonic())
        return Body(content_type, "gzip" if gzipped else None, parts)

    def quick_body(self, accept: str, accept_encoding: str) -> Body | None:
        """Return the same, or None if it takes more than a few milliseconds to make."""
        page, content_type, gzipped = self._asked(accept, accept_encoding)
        parts = page.quick_body(self._grid, self._lock, gzipped, self._clock.monotonic())
        return None if parts is None else Body(content_type, "gzip" if gzipped else None, parts)

    def _asked(self, accept: str, accept_encoding: str) -> tuple[_Page, str, bool]:
        is_openmetrics, content_type = negotiate(accept)
        return self._openmetrics if is_openmetrics else self._text, content_type, gzip_accepted(accept_encoding)


def _header(name: str, help_text: str, kind: str) -> bytes:
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n".encode()
