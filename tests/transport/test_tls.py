"""Certificates, handshakes and sessions."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from exporter.demo import faults
from exporter.demo.vendors import Vendors
from exporter.errors import PollError, PollTimeoutError, UnreachableError
from exporter.transport.client import Transport
from tests.transport.servers import IMPATIENT, PATIENT, ok, request, responding, server_context


def test_a_private_authority_is_trusted_if_it_is_configured(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, "127.0.0.1")) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        assert request(vendors, transport).status == 200


def test_a_replaced_authority_is_used_by_the_next_handshake(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file, new = tmp_path / "ca.pem", tmp_path / "new.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, "127.0.0.1")) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        with pytest.raises(UnreachableError, match="TLS"):
            request(vendors, transport)
        authority.cert_pem.write_to_path(str(new))
        new.rename(ca_file)
        assert request(vendors, transport).status == 200
        ca_file.write_text("broken")
        with pytest.raises(UnreachableError, match=r"ca_file: holds no certificate"):
            request(vendors, transport)
        ca_file.unlink()
        with pytest.raises(UnreachableError, match=r"ca_file: cannot be read: No such file"):
            request(vendors, transport)
        os.mkfifo(ca_file)
        with pytest.raises(UnreachableError, match=r"ca_file: cannot be read: it is not a regular file"):
            request(vendors, transport)


@pytest.mark.parametrize("named", ["intermediate", "leaf"])
def test_an_intermediate_or_a_pinned_certificate_is_an_authority_too(
    authority: trustme.CA, tmp_path: Path, named: str
) -> None:
    intermediate = authority.create_child_ca()
    leaf = intermediate.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    (intermediate.cert_pem if named == "intermediate" else leaf.cert_chain_pems[0]).write_to_path(str(ca_file))
    with Vendors(tls=context) as vendors:
        assert request(vendors, Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)).status == 200


def test_abort_cuts_a_handshake(authority: trustme.CA) -> None:
    failures: list[PollError] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = Transport(f"https://127.0.0.1:{server.getsockname()[1]}", "test", environ={})

        def call() -> None:
            try:
                transport.get("/", {}, {}, PATIENT)
            except PollError as error:
                failures.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        conn, _ = server.accept()
        with conn:
            assert conn.recv(65536), "the handshake has begun"
            transport.abort()
            caller.join(PATIENT / 2)
            assert not caller.is_alive()
    assert isinstance(failures[0], UnreachableError)


def test_an_authority_that_is_replaced_again_and_again_disturbs_no_call(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file, new = tmp_path / "ca.pem", tmp_path / "new.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, "127.0.0.1")) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file, environ={})
        with ThreadPoolExecutor(8) as pool:
            responses = [pool.submit(request, vendors, transport) for _ in range(40)]
            while not all(response.done() for response in responses):
                authority.cert_pem.write_to_path(str(new))
                new.rename(ca_file)
        assert {response.result().status for response in responses} == {200}


def test_the_timeout_bounds_a_drip_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, "127.0.0.1")) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        with pytest.raises(PollTimeoutError):
            request(vendors, transport, faults.drip_body(), timeout=IMPATIENT)


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"], ids=["unknown authority", "another name"])
def test_a_wrong_certificate_is_refused_before_the_key_is_sent(
    authority: trustme.CA, tmp_path: Path, name: str
) -> None:
    ca_file = tmp_path / "ca.pem"
    (authority if name != "127.0.0.1" else trustme.CA()).cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, name)) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        with pytest.raises(UnreachableError, match="TLS"):
            request(vendors, transport)
        assert vendors.requests == []


def test_a_new_connection_resumes_the_last_tls_session(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = server_context(authority, "127.0.0.1")
    with Vendors(tls=context) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        request(vendors, transport)
        request(vendors, transport)
        assert vendors.connections_accepted == 2
    assert context.session_stats()["hits"] == 1


@pytest.mark.parametrize(("pause", "readings"), [(600.0, 1), (0.0, 5)])
def test_a_session_is_rarely_read_because_python_loses_memory_at_each_reading(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float, readings: int
) -> None:
    real: Any = ssl.SSLSocket.__dict__["session"]
    read: list[object] = []

    def counting(sock: ssl.SSLSocket) -> object:
        read.append(sock)
        return real.fget(sock)

    counted = property(counting, real.fset)
    monkeypatch.setattr(ssl.SSLSocket, "session", counted)
    monkeypatch.setattr("exporter.transport.sockets.SESSION_PAUSE_SECONDS", pause)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    resuming, forgetful = server_context(authority, "127.0.0.1"), server_context(authority, "127.0.0.1")
    forgetful.num_tickets = 0
    forgetful.options |= ssl.OP_NO_TICKET
    for context, expected in ((resuming, 1), (forgetful, readings)):
        read.clear()
        with Vendors(tls=context) as vendors:
            transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
            for _ in range(5):
                request(vendors, transport)
        assert len(read) == expected
    assert resuming.session_stats()["hits"] == 4


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        (ok("{}"), "the server does not speak TLS at this port; the URL may need http instead of https"),
        (b"", "the server closed the connection"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "the server refused the handshake"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "the server does not speak TLS 1.2 or later"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "tlsv1 alert internal error"),
    ],
    ids=["no TLS", "closed", "refused", "old", "another alert"],
)
def test_a_failed_handshake_is_explained_in_a_sentence(response: bytes, sentence: str) -> None:
    with responding(response, keep=bool(response)) as url, pytest.raises(UnreachableError) as raised:
        Transport(url.replace("http:", "https:"), "test").get("/", {}, {}, PATIENT)
    assert str(raised.value) == f"TLS: {sentence}"
