"""Memory of clients that never finish their TLS handshake."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from .conftest import PATIENT, Servers, wait_for

HANDSHAKE_BEGUN = b"\x16\x03\x01\x02\x00\x01"


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_memory_of_failed_handshakes_is_freed_without_the_garbage_collector(
    servers: Servers, tmp_path: Path, no_collector: None
) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")
    server = servers.start(limits=PATIENT, web_config=web)
    clients = [servers.client(server) for _ in range(20)]
    for client in clients:
        client.send(HANDSHAKE_BEGUN)
    wait_for(lambda: server.open_connections == 20)
    for client in clients:
        client.socket.close()
    wait_for(lambda: server.open_connections == 0)
    # The last one may still be on the server's own stack.
    assert sum(isinstance(thing, ssl.SSLObject) for thing in gc.get_objects()) <= 1
