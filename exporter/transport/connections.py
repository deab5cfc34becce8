"""The connections of urllib3 that carry one call, and the adapter of requests where a proxy is used.

All obey the deadline of the call, and none outlives it. So a connection carries one request of one key, and data that
arrives late reaches no other request. Without a proxy no pool is made, because a pool for one call costs more CPU than
the call.
"""

from __future__ import annotations

import functools
import http.client
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from exporter.errors import InvalidResponseError
from exporter.transport.sockets import TlsContext, TlsSocket

Connect = Callable[[str, int], socket.socket]


class FinalResponse(http.client.HTTPResponse):
    """Skips every interim response (RFC 9110, section 15.2). http.client skips only those with status 100."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the published types
        while 100 < status < 200:
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise InvalidResponseError("the response changes the protocol (status 101), which was not asked for")
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the published types
        return version, status, reason

    def _safe_read(self, amt: int) -> bytes:
        if amt < 0:  # the size of a chunk; -1 would read everything up to the end at once
            raise InvalidResponseError("a chunk of the response has a negative size")
        data: bytes = super()._safe_read(amt)  # type: ignore[misc]  # not in the published types
        return data


class Call:
    """One call. It keeps its connection until it is closed, and its response as far as that could be read."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.connection: _Connection | None = None
        self.response: FinalResponse | None = None

    def close(self) -> None:
        """Close the connection. It is dropped too, because both keep each other from being freed at once."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def respond(self, *args: Any, **kwargs: Any) -> FinalResponse:
        """Make the response that http.client fills, and keep it."""
        self.response = FinalResponse(*args, **kwargs)
        return self.response

    def head(self) -> tuple[int | None, list[tuple[str, str]]]:
        """Return the status and the headers of a response, if they were read before its head broke."""
        # Until http.client has read them, the status is a text and the headers are None.
        status, headers = getattr(self.response, "status", None), getattr(self.response, "headers", None)
        return status if isinstance(status, int) else None, headers.items() if headers else []


class _Connection(HTTPConnection):
    def __init__(self, *args: Any, call: Call, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._call = call
        call.connection = self
        self.response_class = call.respond  # type: ignore[assignment]  # called like the class that it makes one of

    def _new_conn(self) -> socket.socket:
        return self._call.connect(self._dns_host, self.port or self.default_port)


class _TlsConnection(_Connection, HTTPSConnection):
    """A connection over TLS. It keeps its TLS session for the next connection."""

    def close(self) -> None:
        sock = self.sock
        if isinstance(sock, TlsSocket) and isinstance(sock.context, TlsContext):
            sock.context.keep_session(sock)
        super().close()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.close()


class _TlsPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def send(
    request: PreparedRequest, call: Call, context: TlsContext | None, timeout: float, proxies: Mapping[str, str]
) -> urllib3.HTTPResponse:
    """Send the request and return its response, whose body is still to be read. Then close the call."""
    if proxies:
        raw: urllib3.HTTPResponse = (
            _ProxyAdapter(call, context).send(request, stream=True, timeout=timeout, proxies=proxies).raw
        )
        return raw
    to = urlsplit(request.url or "")
    host, port = to.hostname or "", to.port
    connection: _Connection
    if to.scheme == "https":
        connection = _TlsConnection(
            host, port, timeout=timeout, call=call, ssl_context=context, cert_reqs="CERT_REQUIRED"
        )
    else:
        connection = _Connection(host, port, timeout=timeout, call=call)
    connection.connect()
    # A server may send its response and close before it has read the whole request.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(
            request.method or "GET",
            request.path_url,
            request.body,
            request.headers,
            preload_content=False,
            decode_content=False,
        )
    return connection.getresponse()


class _ProxyAdapter(HTTPAdapter):
    """The adapter of requests for one call through a proxy."""

    def __init__(self, call: Call, context: TlsContext | None) -> None:
        self._call = call
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Have the proxy's manager make our pools. A proxy over https is checked against the same authorities."""
        manager = super().proxy_manager_for(proxy, proxy_ssl_context=self._context, **proxy_kwargs)
        manager.pool_classes_by_scheme = {
            "http": functools.partial(_Pool, call=self._call),
            "https": functools.partial(_TlsPool, call=self._call),
        }
        return manager

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Give the TLS context to the pools for https."""
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"} if host["scheme"] == "https" else {}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Leave verification to the context, because requests would load the authorities again for each connection."""
