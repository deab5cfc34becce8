"""Requests of a correct client, and their responses."""

from __future__ import annotations

import errno
import socket
import threading
from concurrent.futures import Future

import pytest

from exporter.errors import StartError, UsageError
from exporter.web.listen import parse_address
from exporter.web.messages import Request, Response, Route, text_response
from exporter.web.server import Server

from .conftest import Servers, body, hello, pattern, sized


def test_a_route_is_served_with_length_type_and_headers(servers: Servers) -> None:
    def handler(_request: Request) -> Response:
        return Response(200, b"a 1\n", "text/plain; version=0.0.4", (("vary", "accept"),))

    response = servers.client(servers.start({"/metrics": Route(handler)})).request("/metrics")
    assert (response.status, response.reason, body(response)) == (200, "OK", b"a 1\n")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
    assert response.headers["Content-Length"] == "4"
    assert response.headers["Vary"] == "accept"
    assert "Date" in response.headers
    assert "Server" not in response.headers


def test_a_handler_sees_method_path_query_and_headers(servers: Servers) -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return hello(request)

    client = servers.client(servers.start({"/a b": Route(handler)}))
    client.send(b"GET /a%20b?x=1&y=%26&z HTTP/1.1\r\nHost: h\r\nX-Thing: one\r\nx-thing: two\r\n\r\n")
    assert client.response().status == 200
    (request,) = seen
    assert (request.method, request.path) == ("GET", "/a b")
    assert request.query == {"x": "1", "y": "&", "z": ""}
    assert request.headers == {"host": "h", "x-thing": "one, two"}


def test_a_request_for_a_whole_url_is_routed_by_its_path(servers: Servers) -> None:
    client = servers.client(servers.start({"/metrics": Route(sized)}))
    assert body(client.request("http://somewhere:1/metrics?bytes=3")) == pattern(3)


def test_a_route_that_ends_in_a_slash_serves_every_path_below_it(servers: Servers) -> None:
    def handler(request: Request) -> Response:
        return text_response(200, request.path)

    client = servers.client(servers.start({"/accounts/": Route(handler), "/": Route(hello)}))
    for path in ("/accounts/a/b", "/accounts/", "/accounts"):
        assert body(client.request(path)).decode().strip() == path
    assert body(client.request("/accounts/a%2Fb/%C3%A4")).decode() == "/accounts/a/b/ä\n"
    assert client.request("/accountsx/a").status == 404


@pytest.mark.parametrize("path", ["/metrics/", "/Metrics", "/", "//metrics", "/metrics/../metrics", "*"])
def test_a_path_that_is_not_exactly_a_route_is_404(servers: Servers, path: str) -> None:
    response = servers.client(servers.start({"/metrics": Route(hello)})).request(path)
    assert (response.status, body(response)) == (404, b"404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW", "CONNECT"])
def test_another_method_is_405_and_allow_names_the_right_ones(servers: Servers, method: str) -> None:
    server = servers.start({"/x": Route(hello), "/-/reload": Route(hello, methods=("POST",), threaded=True)})
    client = servers.client(server)
    response = client.request("/x", method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert client.request("/x").status == 200, "the connection is of use after it"
    wrong = client.request("/-/reload")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert client.request("/-/reload", "HEAD").status == 405


def test_head_has_the_headers_of_get_and_no_body(servers: Servers) -> None:
    client = servers.client(servers.start({"/x": Route(sized)}))
    response = client.request("/x?bytes=700000", "HEAD")
    assert (response.status, response.headers["Content-Length"], body(response)) == (200, "700000", b"")
    assert len(body(client.request("/x?bytes=700000"))) == 700000


@pytest.mark.parametrize("threaded", [False, True])
def test_a_handler_that_fails_is_a_500_without_its_reason(
    servers: Servers, threaded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(_request: Request) -> Response:
        raise RuntimeError("the reason")

    client = servers.client(servers.start({"/x": Route(handler, threaded=threaded), "/": Route(hello)}))
    response = client.request("/x")
    assert response.status == 500
    assert body(response).count(b"\n") == 1
    assert (
        b"reason)" not in body(response)
        and b"Traceback" not in body(response)
        and b"RuntimeError" not in body(response)
    )
    assert "the reason" in caplog.text
    assert client.request("/").status == 200


def test_a_response_that_fails_after_its_handler_returned_is_a_500(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(_request: Request) -> Future[Response]:
        response: Future[Response] = Future()
        response.set_exception(RuntimeError("the reason"))
        return response

    client = servers.client(servers.start({"/x": Route(handler), "/": Route(hello)}))
    response = client.request("/x")
    assert response.status == 500
    assert b"reason)" not in body(response)
    assert "the reason" in caplog.text
    assert client.request("/").status == 200


def test_a_response_that_cannot_be_sent_is_a_500(servers: Servers) -> None:
    client = servers.client(servers.start({"/x": Route(lambda _request: "text")}))  # type: ignore[arg-type,return-value]  # wrong on purpose
    assert client.request("/x").status == 500


def test_a_header_of_a_response_that_would_split_it_is_a_500(servers: Servers) -> None:
    def handler(_request: Request) -> Response:
        return Response(200, b"", "text/plain", (("x", "a\r\nset-cookie: b"),))

    assert servers.client(servers.start({"/x": Route(handler)})).request("/x").status == 500


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "text/plain", "application/json"])
def test_every_response_has_security_headers(servers: Servers, content_type: str) -> None:
    server = servers.start({"/x": Route(lambda _request: Response(200, b"", content_type))})
    for path in ("/x", "/missing"):
        headers = servers.client(server).request(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "deny"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_page_may_use_what_the_exporter_itself_serves(servers: Servers) -> None:
    server = servers.start({"/": Route(lambda _request: Response(200, b"", "text/html; charset=utf-8"))})
    policy = servers.client(server).request("/").headers["Content-Security-Policy"]
    for kind in ("style", "script", "img", "connect"):
        assert f"{kind}-src 'self';" in policy
    assert "unsafe" not in policy


def test_a_handler_may_set_a_security_header_itself(servers: Servers) -> None:
    headers = (("Cache-Control", "max-age=60"),)
    server = servers.start({"/": Route(lambda _request: Response(200, b"", "text/css", headers))})
    assert servers.client(server).request("/").headers.get_all("Cache-Control") == ["max-age=60"]


def test_one_connection_serves_many_requests_of_any_size(servers: Servers) -> None:
    client = servers.client(servers.start({"/x": Route(sized)}))
    for size in (0, 1, 65_536, 65_537, 3_000_001, 5):
        assert body(client.request(f"/x?bytes={size}")) == pattern(size)


def test_pipelined_requests_get_their_responses_in_order(servers: Servers) -> None:
    client = servers.client(servers.start({"/x": Route(sized)}))
    sizes = [7, 400_000, 0, 3, 1_000_000, 9]
    client.send(b"".join(b"GET /x?bytes=%d HTTP/1.1\r\nHost: h\r\n\r\n" % size for size in sizes))
    assert [len(body(client.response())) for _ in sizes] == sizes


def test_a_body_is_read_and_ignored(servers: Servers) -> None:
    client = servers.client(servers.start({"/": Route(hello, methods=("POST",))}))
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /")
    assert client.response().status == 200
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert client.response().status == 200


def test_a_client_that_expects_100_continue_gets_it(servers: Servers) -> None:
    client = servers.client(servers.start({"/": Route(hello, methods=("POST",))}))
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    assert client.socket.recv(100).startswith(b"HTTP/1.1 100 ")
    client.send(b"x")
    assert client.response().status == 200


@pytest.mark.parametrize(
    "request_head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"]
)
def test_the_connection_is_closed_if_the_client_asks_for_it(servers: Servers, request_head: bytes) -> None:
    client = servers.client(servers.start())
    client.send(request_head)
    assert client.response().headers["Connection"] == "close"
    assert client.socket.recv(1) == b""


def test_a_client_that_shut_down_its_sending_side_gets_its_response(servers: Servers) -> None:
    server = servers.start({"/x": Route(sized)})
    client = servers.client(server)
    client.send(b"GET /x?bytes=2000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    client.socket.shutdown(socket.SHUT_WR)
    assert len(body(client.response())) == 2_000_000
    assert client.socket.recv(1) == b""


def test_a_slow_threaded_handler_delays_no_other_client(servers: Servers) -> None:
    go_on = threading.Event()

    def slow(request: Request) -> Response:
        assert go_on.wait(20)
        return hello(request)

    server = servers.start({"/": Route(hello), "/-/reload": Route(slow, methods=("POST",), threaded=True)})
    reloading = servers.client(server)
    reloading.send(b"POST /-/reload HTTP/1.1\r\nHost: h\r\n\r\n")
    assert servers.client(server).request("/").status == 200
    go_on.set()
    assert reloading.response().status == 200


def test_health_paths_are_served_alone_on_their_own_address(servers: Servers) -> None:
    server = servers.start(
        {"/": Route(hello), "/-/healthy": Route(hello)},
        health_routes={"/-/healthy": Route(hello)},
        health_address="127.0.0.1:0",
    )
    assert len(server.addresses) == 1
    health = servers.client(server, address=server.health_addresses[0])
    assert health.request("/-/healthy").status == 200
    assert health.request("/").status == 404


def test_addresses_are_urls_with_the_real_ports(servers: Servers) -> None:
    server = servers.start(listen=["127.0.0.1:0", "[::1]:0", "localhost:0", ":0"])
    hosts = [address.rsplit(":", 1)[0] for address in server.addresses]
    assert hosts == ["http://127.0.0.1", "http://[::1]", "http://127.0.0.1", "http://[::]"]
    for address in server.addresses:
        assert servers.client(server, address=address).request().status == 200
    everywhere = server.addresses[-1].rsplit(":", 1)[1]
    assert servers.client(server, address=f"http://127.0.0.1:{everywhere}").request().status == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9", (None, 9)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("a.b-c:1", ("a.b-c", 1)),
    ],
)
def test_a_listen_address_is_host_and_port(text: str, expected: tuple[str | None, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10390",
        "localhost",
        "127.0.0.1:",
        "127.0.0.1:x",
        ":65536",
        ":-1",
        "::1:80",
        "[::1]",
        "http://a:1",
        "a b:1",
        "ä:1",
    ],
)
def test_an_invalid_listen_address_is_refused_and_the_message_shows_the_right_form(text: str) -> None:
    server = Server({}, ["127.0.0.1:0", text])
    with pytest.raises(UsageError, match=r"write HOST:PORT, \[IPV6\]:PORT or :PORT"):
        server.bind()


def test_the_message_names_a_port_in_use_and_the_other_ports_are_released(servers: Servers) -> None:
    taken = servers.start().addresses[0].removeprefix("http://")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    server = Server({}, [f"127.0.0.1:{free}", taken])
    with pytest.raises(StartError, match=f"^cannot listen on {taken}: Address already in use$"):
        server.bind()
    with socket.create_server(("127.0.0.1", free)):
        pass


@pytest.mark.parametrize("address", ["192.0.2.1:0", "host.invalid:0", "a" * 70 + ":0"])
def test_an_address_of_another_machine_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(StartError, match=f"^cannot listen on {address}: .+$"):
        Server({}, [address]).bind()


def test_stop_finishes_a_response_and_releases_the_port(servers: Servers) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Request) -> Response:
        begun.set()
        assert go_on.wait(20)
        return hello(request)

    server = servers.start({"/": Route(hello), "/slow": Route(slow, threaded=True)})
    idle, busy = servers.client(server), servers.client(server)
    assert idle.request("/").status == 200
    busy.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    assert begun.wait(20)
    stopping = threading.Thread(target=server.stop, args=(20,))
    stopping.start()
    assert idle.socket.recv(1) == b""
    go_on.set()
    response = busy.response()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    stopping.join(20)
    with pytest.raises(ConnectionRefusedError):
        servers.client(server)


def test_stop_closes_connections_that_do_not_end_in_time(servers: Servers) -> None:
    server = servers.start({"/x": Route(sized)})
    reader = servers.client(server, receive_buffer=4096)
    reader.send(b"GET /x?bytes=50000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert reader.socket.recv(1)
    server.stop(0)
    reader.wait_until_cut()
    server.stop(0)


def test_a_server_that_was_never_started_releases_its_port() -> None:
    server = Server({}, ["127.0.0.1:0"])
    server.bind()
    port = int(server.addresses[0].rsplit(":", 1)[1])
    server.stop(1)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
