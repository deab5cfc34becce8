"""One GET to a vendor, bounded in time and size. Only this package knows requests and urllib3.

requests' own timeout starts anew at each read and covers no name look-up, so a vendor that drips bytes
could hold a poll for ever. Here every socket call gets what is left of the call's deadline.
Redirects are not followed (they would carry the key away), cookies are dropped, `.netrc` is not read.
A connection carries one request and is closed with it, so that nothing that arrives for one key can reach another.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import stat
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from exporter.config.proxies import proxy_for
from exporter.errors import ConnectionError_, InvalidResponseError, PollError, TimeoutError_
from exporter.transport.body import decoded, read_body
from exporter.transport.translation import translated


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer with any status. ``document`` is None where the body is no JSON; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    document: object


class _Calls(threading.local):
    """The deadline of the call that this thread makes, in ``time.monotonic`` seconds."""

    deadline: float = 0.0

    def remaining(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left


class _Socket(socket.socket):
    """A plain socket that spends what is left of the call's deadline, not a timeout of its own."""

    calls: _Calls

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.calls.remaining())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(self.calls.remaining())
        super().sendall(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.context.calls.remaining())  # type: ignore[attr-defined]  # always a _TlsContext
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.context.calls.remaining())  # type: ignore[attr-defined]  # always a _TlsContext
        return super().send(*args, **kwargs)


class _TlsContext(ssl.SSLContext):
    """A client context that resumes the last session of each host, which saves a round trip and a signature."""

    sslsocket_class = _TlsSocket
    calls: _Calls
    open_sockets: weakref.WeakSet[socket.socket]
    sessions: dict[str, ssl.SSLSession]

    @classmethod
    def make(cls, ca_file: Path | None, calls: _Calls, open_sockets: weakref.WeakSet[socket.socket]) -> _TlsContext:
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # What the operator names is an authority, also where it is an intermediate or the vendor's own certificate.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cafile=str(ca_file or certifi.where()))
        context.calls = calls
        context.open_sockets = open_sockets
        context.sessions = {}
        return context

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        kwargs.setdefault("session", self.sessions.get(kwargs.get("server_hostname") or ""))
        sock = super().wrap_socket(*args, **kwargs)
        self.open_sockets.add(sock)
        return sock


class _Response(http.client.HTTPResponse):
    """Reads past every interim response (RFC 9110, section 15.2); http.client reads past 100 alone."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the published types
        while 100 < status < 200:
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.UnknownProtocol("101 without a request for an upgrade")
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the published types
        return version, status, reason


class _Connection(HTTPConnection):
    """Connects within the call's deadline, name look-up included."""

    transport: Transport
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return self.transport._connect(self._dns_host, self.port or self.default_port)


class _TlsConnection(HTTPSConnection):
    """The same over TLS; leaves its session to the next connection."""

    transport: Transport
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return self.transport._connect(self._dns_host, self.port or self.default_port)

    def close(self) -> None:
        sock = self.sock
        if isinstance(sock, _TlsSocket):
            session, context = sock.session, sock.context
            if session is not None and sock.server_hostname and isinstance(context, _TlsContext):
                context.sessions[sock.server_hostname] = session
        super().close()


class _Pool(HTTPConnectionPool):
    """Keeps no connection: what arrived late on one would be read as the answer for the next key."""

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.close()


class _TlsPool(HTTPSConnectionPool):
    """The same over TLS."""

    _put_conn = _Pool._put_conn


class _Adapter(HTTPAdapter):
    """requests' adapter with connections and a TLS context of ours; a proxy's pools get them too."""

    def __init__(self, transport: Transport, context: _TlsContext) -> None:
        self.context = context
        plain = type("Connection", (_Connection,), {"transport": transport})
        tls = type("TlsConnection", (_TlsConnection,), {"transport": transport})
        self._pools = {
            "http": type("Pool", (_Pool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (_TlsPool,), {"ConnectionCls": tls}),
        }
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, {"ssl_context": self.context, "cert_reqs": "CERT_REQUIRED"} if host["scheme"] == "https" else {}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Leave verification to the context: requests would load the authorities again for each connection."""


Address = tuple[int, int, int, str, Any]
Resolve = Callable[[str, int], list[Address]]


def _resolve(host: str, port: int) -> list[Address]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[return-value]  # enums are ints


class _Lookups:
    """Name look-ups with a deadline: getaddrinfo cannot be interrupted, so one thread a host waits in our place."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}

    def addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        with self._lock:
            lookup = self._running.get((host, port))
            if lookup is None:
                lookup = self._running[host, port] = _Lookup()
                threading.Thread(target=self._run, args=(lookup, host, port), daemon=True).start()
        if not lookup.done.wait(timeout):
            raise TimeoutError_(f"looking up {host} took too long")
        if lookup.error is not None:
            raise ConnectionError_(f"cannot look up {host}: {getattr(lookup.error, 'strerror', None) or lookup.error}")
        return lookup.addresses

    def _run(self, lookup: _Lookup, host: str, port: int) -> None:
        try:
            lookup.addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            lookup.error = error
        finally:
            with self._lock:
                del self._running[host, port]
            lookup.done.set()


class _Lookup:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.error: Exception | None = None


class Transport:
    """Requests to one base URL, a connection each; shared by all its accounts and thread-safe."""

    def __init__(
        self,
        base_url: str,
        user_agent: str,
        ca_file: Path | None = None,
        resolve: Resolve = _resolve,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Raise OSError where ``ca_file`` cannot be read."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "gzip"}
        self._calls = _Calls()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._socket_class = type("Socket", (_Socket,), {"calls": self._calls})
        self._lookups = _Lookups(resolve)
        self._stopped = False
        self._ca_file = ca_file
        self._ca_identity = _identity(ca_file)
        self._adapter = _Adapter(self, _TlsContext.make(ca_file, self._calls, self._sockets))
        self._proxy = proxy_for(self._base_url, environ)

    def get(self, path: str, params: Mapping[str, str], headers: Mapping[str, str], timeout: float) -> RawAnswer:
        """Return the answer to one GET within ``timeout`` seconds, whatever its status.

        Raises TimeoutError_, ConnectionError_, or InvalidResponseError for a 2xx whose body is no JSON or
        over 1 MiB. The body of a refusal that cannot be read is None: its status matters more.
        """
        request = requests.Request(
            "GET", self._base_url + path, params=params, headers={**self._headers, **headers}
        ).prepare()
        self._calls.deadline = time.monotonic() + timeout
        self._follow_authorities()
        proxies = {}
        if self._proxy is not None:
            if self._proxy.flaw:
                raise ConnectionError_(self._proxy.flaw)
            proxies = {"all": self._proxy.url}
        with translated():
            response = self._adapter.send(request, stream=True, timeout=timeout, proxies=proxies)
        status = response.status_code
        try:
            with translated(unknown=InvalidResponseError):
                document = decoded(read_body(response.raw))
        except PollError:
            if 200 <= status < 300:
                raise
            document = None
        return RawAnswer(status, {name.lower(): value for name, value in response.headers.items()}, document)

    def _follow_authorities(self) -> None:
        """Load ``ca_file`` again once it was replaced, so that the next handshake uses it."""
        if self._ca_file is None:
            return
        try:
            identity = _identity(self._ca_file)
            if identity != self._ca_identity:
                self._adapter.context = _TlsContext.make(self._ca_file, self._calls, self._sockets)
                self._ca_identity = identity
        except OSError as error:  # ssl.SSLError is one
            raise ConnectionError_(f"ca_file {self._ca_file} cannot be used: {error.strerror or error}") from error

    def _connect(self, host: str, port: int) -> socket.socket:
        addresses = self._lookups.addresses(host, port, self._calls.remaining())
        problem: OSError = OSError("the name has no address")
        for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            sock: socket.socket = self._socket_class(family, kind, protocol)
            try:
                sock.settimeout(self._calls.remaining() / left)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                sock.settimeout(self._calls.remaining())
                self._sockets.add(sock)
                if self._stopped:
                    raise OSError("the exporter is stopping")
                return sock
            except OSError as error:
                problem = error
                sock.close()
        raise problem

    def abort(self) -> None:
        """Cut every call in flight and refuse new connections; the calls end with a ConnectionError_."""
        self._stopped = True
        for sock in list(self._sockets):
            _cut(sock)


def _identity(path: Path | None) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written; raise OSError where it is no regular file."""
    if path is None:
        return ()
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        # OpenSSL would wait for a named pipe's writer, and no deadline of ours reaches it there.
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _cut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
