"""Sockets, plain and over TLS, whose every operation ends by the deadline of the call."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import weakref
from typing import Any

from exporter.config.authorities import Authorities
from exporter.transport.deadline import Deadline
from exporter.transport.lookups import Lookups, Resolve

SESSION_PAUSE_SECONDS = 600.0
"""Seconds between two readings of a host's TLS session. A server that resumes none would cause one a connection."""


class DeadlineSocket(socket.socket):
    """A plain socket. Its timeout alone would not do, because it starts anew at each byte that arrives."""

    deadline: Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive within the deadline."""
        self.settimeout(self.deadline.left())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """Send within the deadline."""
        self.settimeout(self.deadline.left())
        super().sendall(*args, **kwargs)


class TlsSocket(ssl.SSLSocket):
    """A socket over TLS. Behind a proxy that speaks https, the inner TLS connection calls ``recv``."""

    deadline: Deadline

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """Receive within the deadline."""
        self.settimeout(self.deadline.left())
        return super().recv(*args, **kwargs)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive within the deadline."""
        self.settimeout(self.deadline.left())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send within the deadline."""
        self.settimeout(self.deadline.left())
        return super().send(*args, **kwargs)


class OpenSockets:
    """The sockets of all calls in flight, so that a stop can cut them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._stopped = False

    def add(self, sock: socket.socket) -> None:
        """Note the socket, so that a stop cuts it; raise OSError if the exporter is stopping already."""
        with self._lock:
            self._sockets.add(sock)
            if self._stopped:
                raise OSError("the exporter is stopping")

    def cut(self) -> None:
        """End every call in flight, and every call that begins later."""
        with self._lock:
            self._stopped = True
            for sock in list(self._sockets):
                _cut(sock)


class TlsContext(ssl.SSLContext):
    """A client context that resumes the last session of each host. That saves a round trip and a signature."""

    sslsocket_class = TlsSocket
    open_sockets: OpenSockets
    sessions: dict[str, tuple[float, ssl.SSLSession]]

    @classmethod
    def make(cls, authorities: Authorities, open_sockets: OpenSockets) -> TlsContext:
        """Return a context that trusts these authorities; raise ValueError if they cannot be used."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The operator may also name an intermediate certificate, or the vendor's own, as an authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        authorities.load_into(context)
        context.open_sockets = open_sockets
        context.sessions = {}
        return context

    def wrap_socket(  # type: ignore[override]  # only our sockets come here
        self, sock: DeadlineSocket | TlsSocket, *args: Any, **kwargs: Any
    ) -> TlsSocket:
        """Return the socket after its handshake. A stop cuts the handshake too."""
        _, kwargs["session"] = self.sessions.get(kwargs.get("server_hostname") or "", (0.0, None))
        deadline = sock.deadline
        kwargs["do_handshake_on_connect"] = False
        tls: TlsSocket = super().wrap_socket(sock, *args, **kwargs)  # type: ignore[assignment]  # sslsocket_class
        tls.deadline = deadline
        try:
            self.open_sockets.add(tls)
            tls.settimeout(deadline.left())
            tls.do_handshake()
        except BaseException:
            tls.close()
            raise
        return tls

    def keep_session(self, tls: ssl.SSLSocket) -> None:
        """Keep the session of this connection, if it is a new one, so that the next connections to its host resume it.

        A session is resumed many times and read rarely, because Python before 3.12.8 loses 6 kB at each reading
        (CPython's issue 116810).
        """
        host, now = tls.server_hostname, time.monotonic()
        if not host or tls.session_reused:
            return
        read_at, _ = self.sessions.get(host, (float("-inf"), None))
        if now - read_at >= SESSION_PAUSE_SECONDS and (session := tls.session) is not None:
            self.sessions[host] = now, session


class Dialler:
    """Looks names up and opens the sockets of one transport."""

    def __init__(self, resolve: Resolve) -> None:
        self.open_sockets = OpenSockets()
        self._lookups = Lookups(resolve)

    def connect(self, host: str, port: int, deadline: Deadline) -> DeadlineSocket:
        """Return a socket to the first address that answers. Each one gets an equal share of the time left."""
        addresses = self._lookups.addresses(host, port, deadline)
        problem: OSError = OSError("the name has no address")
        for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            sock = DeadlineSocket(family, kind, protocol)
            sock.deadline = deadline
            try:
                sock.settimeout(deadline.left() / left)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.open_sockets.add(sock)
                sock.connect(address)
                sock.settimeout(deadline.left())
                return sock
            except OSError as error:
                problem = error
                sock.close()
        try:
            raise problem
        finally:
            del problem  # its traceback holds this frame, so the two would stay until the next search for garbage


def _cut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
