"""Requests through a proxy."""

from __future__ import annotations

import base64
import secrets
import socket
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo import faults
from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors
from exporter.errors import PollTimeoutError, UnreachableError
from exporter.transport.client import Transport
from tests.transport.servers import PATIENT, ok, request, responding, server_context, tunnelling


def test_requests_go_through_the_proxy_that_the_environment_names() -> None:
    heads: list[bytes] = []
    with responding(ok("[1]"), heads=heads) as url:
        environ = {"HTTP_PROXY": url.replace("http://", "user:p%40ss@") + "\n", "NO_PROXY": "other.example"}
        transport = Transport("http://api.example/v1", "test", environ=environ)
        assert transport.get("/usage", {}, {}, PATIENT).document == [1]
    assert heads[0].startswith(b"GET http://api.example/v1/usage HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss") in heads[0]


def test_a_host_in_no_proxy_is_requested_directly() -> None:
    with responding(ok("[1]")) as url:
        environ = {"HTTP_PROXY": "socks5://unusable", "NO_PROXY": "127.0.0.0/8"}
        assert Transport(url, "test", environ=environ).get("/", {}, {}, PATIENT).status == 200


def test_a_proxy_that_refuses_is_a_connection_failure_that_names_the_proxy() -> None:
    with responding(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as url:
        transport = Transport("https://api.example", "test", environ={"HTTPS_PROXY": url})
        with pytest.raises(UnreachableError, match=r"^proxy: .*407"):
            transport.get("/", {}, {}, PATIENT)


def test_what_a_proxy_writes_after_its_status_is_not_repeated() -> None:
    password = secrets.token_hex(4)
    with responding(f"HTTP/1.1 502 no user:{password} here\r\nContent-Length: 0\r\n\r\n".encode()) as url:
        transport = Transport("https://api.example", "test", environ={"HTTPS_PROXY": url})
        with pytest.raises(UnreachableError, match=r"^proxy: it refuses the connection with the status 502$"):
            transport.get("/", {}, {}, PATIENT)


def test_a_proxy_address_without_a_listener_is_a_connection_failure_that_names_the_proxy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
    transport = Transport("https://api.example", "test", environ={"HTTPS_PROXY": proxy})
    with pytest.raises(UnreachableError, match=r"^proxy: Connection refused$"):
        transport.get("/", {}, {}, PATIENT)


@settings(deadline=None)
@given(
    st.sampled_from(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
    st.sampled_from(["http://", "https://", "socks5://", "http://[", "user:pw@", ""]),
    st.text("ab.:/@[]#?%\\ \n-_5") | st.text(),
)
def test_any_wrong_proxy_variable_is_a_connection_failure(name: str, start: str, rest: str) -> None:
    def resolve(host: str, port: int) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    transport = Transport("http://api.example", "test", resolve=resolve, environ={name: start + rest})  # type: ignore[arg-type]  # never returns
    with pytest.raises(UnreachableError) as caught:
        transport.get("/", {}, {}, PATIENT)
    assert "pw" not in str(caught.value)
    assert " " in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("fault", [None, faults.drip_body()], ids=["good", "drip"])
def test_a_proxy_carries_tls_and_the_timeout_still_bounds_the_call(
    authority: trustme.CA, tmp_path: Path, scheme: str, fault: Fault | None
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = server_context(authority, "127.0.0.1")
    with Vendors(tls=context) as vendors, tunnelling(vendors, context if scheme == "https" else None) as proxy:
        environ = {"HTTPS_PROXY": proxy}
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file, environ=environ)
        if fault is None:
            assert request(vendors, transport).status == 200
        else:
            with pytest.raises(PollTimeoutError):
                request(vendors, transport, fault, timeout=1.0)
