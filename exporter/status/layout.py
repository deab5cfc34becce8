"""The templates of the pages, and the files that they need."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.charts import stylesheet
from exporter.metrics.negotiation import gzip_accepted
from exporter.options import Options
from exporter.status.summary import SEVERITIES
from exporter.web.messages import Request, Response, Route

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Layout:
    """Makes pages of templates, and serves their style sheets, script and icon.

    ``shard`` is the index of the shard and the number of shards.
    """

    def __init__(self, options: Options, version: str) -> None:
        self.version = version
        self.shard = options.shard_index, options.shard_count
        self._metrics = options.telemetry_path.lstrip("/")
        files = {path.name: path.read_bytes() for path in (_HERE / "static").iterdir()}
        self._assets = {**files, "charts.css": stylesheet().encode()}

    @cached_property
    def _environment(self) -> Environment:
        """The compiled templates, made at the first request for a page, because a start must not wait for them."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals |= {
            # The address of an asset contains a hash of its content, so a browser may cache it forever.
            "assets": {name: f"static/{name}?v={_digest(data)}" for name, data in self._assets.items()},
            "links": {
                "Metrics": self._metrics,
                "JSON": "api/v1/accounts",
                "Healthy": "-/healthy",
                "Ready": "-/ready",
            },
            "version": self.version,
            "shard": "shard {} of {}".format(*self.shard) if self.shard[1] > 1 else "",
            "words": {severity: severity.capitalize() for severity in SEVERITIES} | {"ok": "OK"},
        }
        return environment

    def page(self, request: Request, template: str, root: str, **values: object) -> Response:
        """Return the page of a template. ``root`` is the relative address of ``/``, such as ``../../``."""
        text = self._environment.get_template(template).render(root=root, **values)
        return packed(request, text.encode("utf-8", "replace"), "text/html; charset=utf-8")

    def routes(self) -> dict[str, Route]:
        """Return the routes of the files."""
        return {f"/static/{name}": Route(self._serve_asset) for name in self._assets}

    def _serve_asset(self, request: Request) -> Response:
        name = request.path.rpartition("/")[2]
        keep = (("cache-control", "max-age=31536000, immutable"),)
        return Response(200, self._assets[name], _TYPES[Path(name).suffix], keep)


def packed(request: Request, body: bytes, content_type: str) -> Response:
    """Return a response, compressed where the client takes that."""
    if not gzip_accepted(request.headers.get("accept-encoding", "")):
        return Response(200, body, content_type, (("vary", "accept-encoding"),))
    headers = (("vary", "accept-encoding"), ("content-encoding", "gzip"))
    return Response(200, gzip.compress(body, 1), content_type, headers)


def packed_pieces(request: Request, pieces: Iterator[bytes], content_type: str) -> Response:
    """Return a response that is sent while its pieces are made, compressed where the client takes that."""
    headers = [("vary", "accept-encoding")]
    if gzip_accepted(request.headers.get("accept-encoding", "")):
        headers.append(("content-encoding", "gzip"))
        pieces = _gzipped(pieces)
    # Make the first piece now, because a failure can become a 500 only before the head is sent.
    return Response(200, next(pieces), content_type, tuple(headers), pieces=pieces)


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.compressobj(1, wbits=zlib.MAX_WBITS + 16)
    for piece in pieces:
        yield member.compress(piece)
    yield member.flush()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
