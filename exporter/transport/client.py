"""Sends one request to a vendor, bounded in time and size. Only this package knows requests and urllib3.

The timeout of requests starts anew at each read and covers no name look-up, so a vendor that sends byte after byte
could hold a poll for ever. Here every socket call gets the time that is left until the deadline.
Redirects are not followed, because they would carry the key to another host. Cookies are dropped, and `.netrc` is not
read. A connection carries one request and is then closed, so that no data for one key can reach another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import certifi
from requests import PreparedRequest

from exporter.config.authorities import Authorities, authorities_for
from exporter.config.proxies import proxy_for
from exporter.errors import InvalidResponseError, PollError, UnreachableError
from exporter.transport.body import decoded, read_body
from exporter.transport.connections import Call, send
from exporter.transport.deadline import Deadline
from exporter.transport.lookups import Resolve, resolve
from exporter.transport.sockets import Dialler, TlsContext
from exporter.transport.translation import translated


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response with any status. ``document`` is None if the body is no JSON. The names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    document: object


class Transport:
    """Sends requests to one base URL, each over a connection of its own. Thread-safe."""

    def __init__(
        self,
        base_url: str,
        user_agent: str,
        ca_file: Path | None = None,
        common_ca_file: Path | None = None,
        resolve: Resolve = resolve,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Take the proxy from ``environ``, and the authorities too unless ``ca_file`` names them.

        The authorities in ``common_ca_file`` are added to those of ``environ``. It is ignored if ``ca_file`` is given.
        """
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "gzip"}
        self._dialler = Dialler(resolve)
        self._authorities = authorities_for(ca_file, environ) or Authorities("certifi", (certifi.where(),))
        if ca_file is None and common_ca_file is not None:
            self._authorities = Authorities("poll.ca_file", (str(common_ca_file),), beside=self._authorities)
        self._trusted: tuple[tuple[object, ...], TlsContext] | None = None
        self._proxy = proxy_for(self._base_url, environ)

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float, body: object = None
    ) -> RawResponse:
        """Return the response to one GET, or with ``body`` to one POST of JSON, within ``timeout`` seconds.

        Raises PollTimeoutError, UnreachableError, or InvalidResponseError for a 2xx whose body is no JSON or
        larger than 1 MiB. A refusal that cannot be read whole is returned without a document, because its status
        matters more.
        """
        deadline = Deadline(timeout)
        request = _prepared(self._base_url + path, params, {**self._headers, **headers}, body)
        call = Call(lambda host, port: self._dialler.connect(host, port, deadline))
        proxies = self._proxies()
        with closing(call):
            try:
                with translated():
                    response = send(request, call, self._context(), timeout, proxies)
            except InvalidResponseError:
                refusal, known = call.head()
                if refusal is None or 200 <= refusal < 300:
                    raise
                return _response(refusal, known)
            try:
                with translated(unknown=InvalidResponseError):
                    document = decoded(read_body(response))
            except PollError:
                if 200 <= response.status < 300:
                    raise
                document = None
            return _response(response.status, response.headers.itermerged(), document)

    def abort(self) -> None:
        """Cut every call in flight and refuse new connections. The calls raise UnreachableError."""
        self._dialler.open_sockets.cut()

    def _proxies(self) -> dict[str, str]:
        if self._proxy is None:
            return {}
        if self._proxy.problem:
            raise UnreachableError(self._proxy.problem)
        return {"all": self._proxy.url}

    def _context(self) -> TlsContext | None:
        """Return a context with the authorities that the files hold now, because a file may have been replaced."""
        if not any(url.startswith("https:") for url in (self._base_url, self._proxy.url if self._proxy else "")):
            return None
        version = self._authorities.version()
        if self._trusted is None or self._trusted[0] != version:
            try:
                self._trusted = version, TlsContext.make(self._authorities, self._dialler.open_sockets)
            except ValueError as error:
                raise UnreachableError(f"{self._authorities.named_by}: {error}") from None
        return self._trusted[1]


def _prepared(url: str, params: Mapping[str, str], headers: Mapping[str, str], body: object) -> PreparedRequest:
    """Prepare a request step by step, because ``PreparedRequest.prepare`` also looks for logins, cookies and files."""
    request = PreparedRequest()
    request.prepare_method("GET" if body is None else "POST")
    request.url = _written(url, tuple(params.items()))
    request.prepare_headers(headers)
    if body is not None:
        request.prepare_body(None, None, json=body)
    return request


@lru_cache(1024)
def _written(url: str, params: tuple[tuple[str, str], ...]) -> str | None:
    """Return the encoded URL. It is cached, because encoding one takes as long as connecting."""
    request = PreparedRequest()
    request.prepare_url(url, params)
    return request.url


def _response(status: int, headers: Iterable[tuple[str, str]], document: object = None) -> RawResponse:
    return RawResponse(status, {name.lower(): value for name, value in headers}, document)
