"""Servers for the tests of the transport, which are simulated vendors, servers that send given bytes, and proxies."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trustme

from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors, vidnavigator_account
from exporter.transport.client import RawResponse, Transport

PATIENT = 20.0
"""Seconds; far more than any response on loopback takes."""


IMPATIENT = 0.3


def request(
    vendors: Vendors, transport: Transport, fault: Fault | None = None, timeout: float = PATIENT
) -> RawResponse:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = fault
    return transport.get("/usage", {}, {"X-API-Key": key}, timeout)


@contextmanager
def responding(*responses: bytes, heads: list[bytes] | None = None, keep: bool = True) -> Iterator[str]:
    """Send these bytes, one entry for each connection, whatever is asked; yield the base URL."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for response in responses:
            conn, _ = server.accept()
            with conn, suppress(OSError):
                head = conn.recv(65536)
                if heads is not None:
                    heads.append(head)
                conn.sendall(response)
                if keep:
                    conn.recv(65536)  # until the client closes

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    thread.join(PATIENT)
    server.close()
    assert not thread.is_alive()


def ok(document: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(document)}\r\n\r\n{document}".encode()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@contextmanager
def tunnelling(vendors: Vendors, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a proxy for one connection, which it carries to the vendor whatever host is asked for; yield its URL."""
    server = socket.create_server(("127.0.0.1", 0))
    port = int(vendors.vidnavigator_url.rsplit(":", 1)[1].split("/")[0])

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        conn, _ = server.accept()
        with tls.wrap_socket(conn, server_side=True) if tls else conn as client:
            assert client.recv(65536).startswith(b"CONNECT 127.0.0.1:")
            with socket.create_connection(("127.0.0.1", port)) as vendor:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=carry, args=(vendor, client), daemon=True)
                back.start()
                carry(client, vendor)
                back.join(PATIENT)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"{'https' if tls else 'http'}://127.0.0.1:{server.getsockname()[1]}"
    server.close()
