"""One GET against vendors that are slow, broken or hostile."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.rules import URL
from exporter.demo import faults
from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors, vidnavigator_account
from exporter.errors import InvalidResponseError, PollError, PollTimeoutError, UnreachableError
from exporter.transport.client import RawAnswer, Transport
from exporter.transport.translation import TRANSLATION, translate

PATIENT = 20.0
"""Seconds; far more than any answer on loopback takes."""
IMPATIENT = 0.3


@pytest.fixture
def transport(vendors: Vendors) -> Transport:
    return Transport(vendors.vidnavigator_url, "test")


def ask(vendors: Vendors, transport: Transport, fault: Fault | None = None, timeout: float = PATIENT) -> RawAnswer:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = fault
    return transport.get("/usage", {}, {"X-API-Key": key}, timeout)


def test_a_good_answer_comes_with_status_headers_and_document(vendors: Vendors, transport: Transport) -> None:
    answer = ask(vendors, transport)
    assert answer.status == 200
    assert "content-length" in answer.headers
    assert isinstance(answer.document, dict) and answer.document["status"] == "success"


def test_a_refusal_is_an_answer_too(vendors: Vendors, transport: Transport) -> None:
    answer = ask(vendors, transport, faults.status(503, retry_after=7))
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")


@pytest.mark.parametrize(
    "fault",
    [faults.hang(), faults.drip_headers(), faults.drip_body()],
    ids=["hang", "drip headers", "drip body"],
)
def test_the_timeout_bounds_the_whole_call(vendors: Vendors, transport: Transport, fault: Fault) -> None:
    with pytest.raises(PollTimeoutError):
        ask(vendors, transport, fault, timeout=IMPATIENT)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.reset(), UnreachableError),
        (faults.reset(after=20), UnreachableError),
        (faults.garbage(), InvalidResponseError),
        (faults.truncated_json(), InvalidResponseError),
        (faults.deep_json(), InvalidResponseError),
        (faults.big_body(), InvalidResponseError),
        (faults.big_body(framing="chunked"), InvalidResponseError),
        (faults.gzip_bomb(), InvalidResponseError),
    ],
    ids=["reset", "reset in the answer", "garbage", "truncated", "deep", "50 MB", "50 MB chunked", "bomb"],
)
def test_a_broken_answer_has_the_right_reason(
    vendors: Vendors, transport: Transport, fault: Fault, error: type[PollError]
) -> None:
    with pytest.raises(error):
        ask(vendors, transport, fault)


@pytest.mark.parametrize("fault", [faults.big_body(), faults.gzip_bomb()], ids=["50 MB", "bomb"])
def test_a_huge_answer_costs_little_memory(fault: Fault) -> None:
    # The vendors run in a process of their own here only in the soak; the peak below is ours and theirs together.
    with Vendors() as vendors:
        transport = Transport(vendors.vidnavigator_url, "test")
        tracemalloc.start()
        try:
            with pytest.raises(InvalidResponseError):
                ask(vendors, transport, fault)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 << 20


def test_a_redirect_is_not_followed_and_the_key_stays_home(vendors: Vendors, transport: Transport) -> None:
    with Vendors() as elsewhere:
        answer = ask(vendors, transport, faults.redirect(elsewhere.vidnavigator_url + "/usage"))
        assert answer.status == 302
        assert elsewhere.requests == []


def test_a_refusal_whose_body_cannot_be_read_keeps_its_status(vendors: Vendors, transport: Transport) -> None:
    answer = ask(vendors, transport, faults.body("x" * (2 << 20), code=429, headers={"Retry-After": "90"}))
    assert (answer.status, answer.headers["retry-after"], answer.document) == (429, "90", None)


def test_each_request_has_a_connection_of_its_own(vendors: Vendors, transport: Transport) -> None:
    for _ in range(5):
        ask(vendors, transport)
    assert vendors.connections_accepted == 5


@contextmanager
def answering(*answers: bytes, heads: list[bytes] | None = None, keep: bool = True) -> Iterator[str]:
    """Send these bytes, one entry for each connection, whatever is asked; yield the base URL."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            conn, _ = server.accept()
            with conn, suppress(OSError):
                head = conn.recv(65536)
                if heads is not None:
                    heads.append(head)
                conn.sendall(answer)
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


@pytest.mark.parametrize("status", [100, 102, 103, 199])
@pytest.mark.parametrize("times", [1, 3])
def test_interim_responses_are_read_past(status: int, times: int) -> None:
    interim = f"HTTP/1.1 {status} Interim\r\nLink: </style.css>\r\n\r\n".encode() * times
    with answering(interim + ok("[1]")) as url:
        answer = Transport(url, "test").get("/", {}, {}, PATIENT)
    assert (answer.status, answer.document) == (200, [1])


def test_an_upgrade_that_nobody_asked_for_is_an_invalid_response() -> None:
    with (
        answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n") as url,
        pytest.raises(InvalidResponseError),
    ):
        Transport(url, "test").get("/", {}, {}, PATIENT)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n0\r\n\r\n",
    ],
    ids=["two lengths", "a negative chunk", "a chunk without a size"],
)
def test_a_broken_frame_is_an_invalid_response(answer: bytes) -> None:
    with answering(answer) as url, pytest.raises(InvalidResponseError):
        Transport(url, "test").get("/", {}, {}, PATIENT)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
    ids=["length", "in a chunk", "between chunks"],
)
def test_an_answer_that_is_cut_short_is_called_that(answer: bytes) -> None:
    with answering(answer, keep=False) as url, pytest.raises(UnreachableError, match="the answer ended too early"):
        Transport(url, "test").get("/", {}, {}, PATIENT)


@pytest.mark.parametrize(
    "head",
    [b"Retry-After: 90\r\nContent-Length: 2\r\nContent-Length: 3\r\n", b"X: y\r\n" * 101],
    ids=["two lengths", "too many headers"],
)
def test_a_refusal_whose_head_is_broken_keeps_its_status(head: bytes) -> None:
    with answering(b"HTTP/1.1 429 Too Many Requests\r\n" + head + b"\r\n{} ") as url:
        answer = Transport(url, "test").get("/", {}, {}, PATIENT)
    assert (answer.status, answer.document) == (429, None)
    assert answer.headers.get("retry-after") == ("90" if b"Retry" in head else None)


def test_what_arrives_after_an_answer_reaches_no_later_request() -> None:
    with answering(ok("[1]") + ok("[2]"), ok("[3]")) as url:
        transport = Transport(url, "test")
        assert [transport.get("/", {}, {}, PATIENT).document for _ in range(2)] == [[1], [3]]


def test_requests_go_through_the_proxy_that_the_environment_names() -> None:
    heads: list[bytes] = []
    with answering(ok("[1]"), heads=heads) as url:
        environ = {"HTTP_PROXY": url.replace("http://", "user:p%40ss@") + "\n", "NO_PROXY": "other.example"}
        transport = Transport("http://api.example/v1", "test", environ=environ)
        assert transport.get("/usage", {}, {}, PATIENT).document == [1]
    assert heads[0].startswith(b"GET http://api.example/v1/usage HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss") in heads[0]


def test_a_host_that_no_proxy_names_is_asked_directly() -> None:
    with answering(ok("[1]")) as url:
        environ = {"HTTP_PROXY": "socks5://unusable", "NO_PROXY": "127.0.0.0/8"}
        assert Transport(url, "test", environ=environ).get("/", {}, {}, PATIENT).status == 200


def test_a_proxy_that_refuses_is_a_connection_failure_that_blames_the_proxy() -> None:
    with answering(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as url:
        transport = Transport("https://api.example", "test", environ={"HTTPS_PROXY": url})
        with pytest.raises(UnreachableError, match=r"^proxy: .*407"):
            transport.get("/", {}, {}, PATIENT)


def test_a_proxy_behind_which_nobody_listens_is_a_connection_failure_that_blames_the_proxy() -> None:
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
def test_whatever_a_proxy_variable_holds_a_poll_fails_for_the_connection(name: str, start: str, rest: str) -> None:
    def resolve(host: str, port: int) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    transport = Transport("http://api.example", "test", resolve=resolve, environ={name: start + rest})  # type: ignore[arg-type]  # never returns
    with pytest.raises(UnreachableError) as caught:
        transport.get("/", {}, {}, PATIENT)
    assert "pw" not in str(caught.value)
    assert " " in str(caught.value)


@settings(deadline=None)
@given(st.text("ab.:/@[]%\\-_5~*{}|^`<>\"';,!$&()+= n", max_size=14))
def test_whatever_base_url_the_configuration_takes_can_be_asked(rest: str) -> None:
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


def test_nobody_listening_is_a_connection_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnreachableError, match="refused"):
        Transport(f"http://127.0.0.1:{port}", "test").get("/", {}, {}, PATIENT)


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


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_a_private_authority_is_trusted_where_it_is_named(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, "127.0.0.1")) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        assert ask(vendors, transport).status == 200


def test_a_replaced_authority_is_used_by_the_next_handshake(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file, new = tmp_path / "ca.pem", tmp_path / "new.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, "127.0.0.1")) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        with pytest.raises(UnreachableError, match="TLS"):
            ask(vendors, transport)
        authority.cert_pem.write_to_path(str(new))
        new.rename(ca_file)
        assert ask(vendors, transport).status == 200
        ca_file.write_text("broken")
        with pytest.raises(UnreachableError, match=r"ca_file cannot be used: .*ca\.pem holds no certificate"):
            ask(vendors, transport)
        ca_file.unlink()
        with pytest.raises(UnreachableError, match=r"ca_file cannot be used: .*ca\.pem cannot be read: No such file"):
            ask(vendors, transport)
        os.mkfifo(ca_file)
        with pytest.raises(UnreachableError, match=r"ca_file cannot be used: .* it is not a regular file"):
            ask(vendors, transport)


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
        assert ask(vendors, Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)).status == 200


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
            answers = [pool.submit(ask, vendors, transport) for _ in range(40)]
            while not all(answer.done() for answer in answers):
                authority.cert_pem.write_to_path(str(new))
                new.rename(ca_file)
        assert {answer.result().status for answer in answers} == {200}


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
            assert ask(vendors, transport).status == 200
        else:
            with pytest.raises(PollTimeoutError):
                ask(vendors, transport, fault, timeout=1.0)


def test_the_timeout_bounds_a_drip_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, "127.0.0.1")) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        with pytest.raises(PollTimeoutError):
            ask(vendors, transport, faults.drip_body(), timeout=IMPATIENT)


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"], ids=["unknown authority", "another name"])
def test_a_wrong_certificate_is_refused_before_the_key_is_sent(
    authority: trustme.CA, tmp_path: Path, name: str
) -> None:
    ca_file = tmp_path / "ca.pem"
    (authority if name != "127.0.0.1" else trustme.CA()).cert_pem.write_to_path(str(ca_file))
    with Vendors(tls=server_context(authority, name)) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        with pytest.raises(UnreachableError, match="TLS"):
            ask(vendors, transport)
        assert vendors.requests == []


def test_a_new_connection_resumes_the_last_tls_session(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = server_context(authority, "127.0.0.1")
    with Vendors(tls=context) as vendors:
        transport = Transport(vendors.vidnavigator_url, "test", ca_file=ca_file)
        ask(vendors, transport)
        ask(vendors, transport)
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
    monkeypatch.setattr("exporter.transport.sockets.SESSION_PAUSE", pause)
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
                ask(vendors, transport)
        assert len(read) == expected
    assert resuming.session_stats()["hits"] == 4


def _subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


def _path(kind: type[Exception]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


FOREIGN: set[type[Exception]] = {
    *_subclasses(requests.exceptions.RequestException),
    *_subclasses(urllib3.exceptions.HTTPError),
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    ssl.SSLError,
}
SORTED: list[type[Exception]] = sorted(FOREIGN, key=_path)


@pytest.mark.parametrize("kind", SORTED, ids=_path)
def test_every_exception_of_the_libraries_has_a_meaning(kind: type[Exception]) -> None:
    assert any(issubclass(kind, foreign) for foreign, _, _ in TRANSLATION)


def test_an_exception_that_no_library_raises_is_internal() -> None:
    assert translate(ZeroDivisionError("x")).reason == "internal"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("x"),
        OSError(),
        requests.exceptions.InvalidHeader("x"),
        requests.exceptions.RequestException(),
        urllib3.exceptions.HTTPError(),
        urllib3.exceptions.ProxyError("x", OSError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_failure_is_a_sentence(error: Exception) -> None:
    assert len(str(translate(error)).split()) >= 3
