"""Requests to slow and hostile vendors, and data that they must not send."""

from __future__ import annotations

import gc
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.rules import URL
from exporter.demo import faults
from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors, vidnavigator_account
from exporter.errors import PollError, PollTimeoutError, UnreachableError
from exporter.transport.client import Transport
from exporter.transport.deadline import Deadline
from tests.transport.servers import IMPATIENT, PATIENT, ok, request, responding


def test_a_good_response_comes_with_status_headers_and_document(vendors: Vendors, transport: Transport) -> None:
    response = request(vendors, transport)
    assert response.status == 200
    assert "content-length" in response.headers
    assert isinstance(response.document, dict) and response.document["status"] == "success"


def test_a_refusal_is_a_response_too(vendors: Vendors, transport: Transport) -> None:
    response = request(vendors, transport, faults.status(503, retry_after=7))
    assert (response.status, response.headers["retry-after"]) == (503, "7")


@pytest.mark.parametrize(
    "fault",
    [faults.hang(), faults.drip_headers(), faults.drip_body()],
    ids=["hang", "drip headers", "drip body"],
)
def test_the_timeout_bounds_the_whole_call(vendors: Vendors, transport: Transport, fault: Fault) -> None:
    with pytest.raises(PollTimeoutError):
        request(vendors, transport, fault, timeout=IMPATIENT)


def test_a_redirect_is_not_followed_and_its_target_gets_no_key(vendors: Vendors, transport: Transport) -> None:
    with Vendors() as elsewhere:
        response = request(vendors, transport, faults.redirect(elsewhere.vidnavigator_url + "/usage"))
        assert response.status == 302
        assert elsewhere.requests == []


def test_a_body_is_posted_as_json_and_a_percent_encoded_path_stays_as_it_is() -> None:
    heads: list[bytes] = []
    with responding(ok("{}"), heads=heads) as url:
        response = Transport(url, "test").get("/v1/a%2Fb", {"k": "a b"}, {"X-Key": "1"}, PATIENT, {"n": [1]})
    assert response.document == {}
    assert heads[0].startswith(b"POST /v1/a%2Fb?k=a+b HTTP/1.1\r\n")
    assert b"Content-Type: application/json\r\n" in heads[0]
    assert b"Content-Length: 10\r\n" in heads[0]


def test_each_request_has_a_connection_of_its_own(vendors: Vendors, transport: Transport) -> None:
    for _ in range(5):
        request(vendors, transport)
    assert vendors.connections_accepted == 5


@settings(deadline=None)
@given(st.text("ab.:/@[]%\\-_5~*{}|^`<>\"';,!$&()+= n", max_size=14))
def test_every_base_url_that_the_configuration_accepts_can_be_requested(rest: str) -> None:
    def resolve(host: str, port: int) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    try:
        base_url = URL.check(f"http://{rest}")
    except ValueError:
        return
    assert isinstance(base_url, str)
    with pytest.raises(UnreachableError):
        Transport(base_url, "test", resolve=resolve, environ={}).get("/", {}, {}, PATIENT)  # type: ignore[arg-type]  # never returns


def test_cookies_of_one_account_are_not_sent_for_another(vendors: Vendors, transport: Transport) -> None:
    seen: list[str | None] = []

    class Listener(threading.Thread):
        def __init__(self) -> None:
            super().__init__(daemon=True)
            self.server = socket.create_server(("127.0.0.1", 0))

        def run(self) -> None:
            for _ in range(2):
                conn, _ = self.server.accept()
                with conn:
                    head = conn.recv(65536).decode()
                    seen.append(next((x for x in head.split("\r\n") if x.lower().startswith("cookie:")), None))
                    conn.sendall(
                        b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 2\r\n"
                        b"Connection: close\r\n\r\n{}"
                    )

    listener = Listener()
    listener.start()
    other = Transport(f"http://127.0.0.1:{listener.server.getsockname()[1]}", "test")
    for _ in range(2):
        other.get("/", {}, {}, PATIENT)
    listener.join(PATIENT)
    listener.server.close()
    assert seen == [None, None]


def test_netrc_is_not_read(vendors: Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = Transport(f"http://127.0.0.1:{server.getsockname()[1]}", "test")
        caller = threading.Thread(target=lambda: _quietly(lambda: transport.get("/", {}, {}, PATIENT)), daemon=True)
        caller.start()
        conn, _ = server.accept()
        with conn:
            assert b"authorization" not in conn.recv(65536).lower()
        caller.join(PATIENT)


def _quietly(call: object) -> None:
    with suppress(PollError):
        call()  # type: ignore[operator]  # any callable


def test_a_port_without_a_listener_is_a_connection_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnreachableError, match="refused"):
        Transport(f"http://127.0.0.1:{port}", "test").get("/", {}, {}, PATIENT)


@pytest.mark.parametrize("responses", [[], [b""], [b"SSH-2.0\r\n"], [b"HTTP/1.1 500 No\r\n\r\n"]], ids=str)
def test_a_call_that_fails_leaves_nothing_to_the_garbage_collector(responses: list[bytes]) -> None:
    with ExitStack() as stack:
        if responses:
            url = stack.enter_context(responding(*responses, keep=False))
        else:
            with socket.create_server(("127.0.0.1", 0)) as closed:
                url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        transport = Transport(url, "test")
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            with suppress(PollError):
                transport.get("/", {}, {}, PATIENT)
            gc.collect()
            assert [found for found in gc.garbage if isinstance(found, (FrameType, Deadline))] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


def test_an_unknown_name_is_a_connection_failure_that_names_the_host() -> None:
    def resolve(host: str, port: int) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    transport = Transport("http://api.example", "test", resolve=resolve)  # type: ignore[arg-type]  # never returns
    with pytest.raises(UnreachableError, match=r"cannot look up api\.example"):
        transport.get("/", {}, {}, PATIENT)


def test_a_name_look_up_that_hangs_ends_with_the_timeout_and_is_not_started_twice() -> None:
    release, calls = threading.Event(), []

    def resolve(host: str, port: int) -> list[object]:
        calls.append(host)
        release.wait(PATIENT)
        return []

    transport = Transport("http://api.example", "test", resolve=resolve)  # type: ignore[arg-type]  # empty
    for _ in range(3):
        with pytest.raises(PollTimeoutError):
            transport.get("/", {}, {}, 0.05)
    release.set()
    assert calls == ["api.example"]


def test_an_address_is_not_looked_up() -> None:
    def resolve(host: str, port: int) -> list[object]:
        raise AssertionError(host)

    with responding(ok("[1]")) as url:
        transport = Transport(url, "test", resolve=resolve)  # type: ignore[arg-type]  # never returns
        assert transport.get("/", {}, {}, PATIENT).document == [1]


def test_abort_cuts_a_call_in_flight(vendors: Vendors, transport: Transport) -> None:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = faults.hang()
    failures: list[PollError] = []

    def call() -> None:
        try:
            transport.get("/usage", {}, {"X-API-Key": key}, PATIENT)
        except PollError as error:
            failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert vendors.wait_for_requests(1)
    transport.abort()
    caller.join(PATIENT / 2)
    assert not caller.is_alive()
    assert isinstance(failures[0], UnreachableError)
