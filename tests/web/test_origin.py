"""Requests that a browser sends for a page of another site, and the host names that are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import UsageError
from exporter.web.messages import Route
from exporter.web.server import Server

from .conftest import Client, Servers, hello

ROUTES = {"/": Route(hello), "/-/reload": Route(hello, methods=("POST",), threaded=True)}
FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://test:1"},
    {"Origin": "http://evil.example/http://test"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://test", "Sec-Fetch-Site": "cross-site"},
]
OWN = [
    {},
    {"Origin": "http://test"},
    {"Origin": "https://TEST"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://test", "Sec-Fetch-Site": "same-origin"},
]


@pytest.fixture(params=[True, False], ids=["with a web configuration", "without one"])
def client(servers: Servers, tmp_path: Path, request: pytest.FixtureRequest) -> Client:
    (tmp_path / "web.yml").write_text("{}")
    return servers.client(servers.start(ROUTES, web_config=tmp_path / "web.yml" if request.param else None))


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_cannot_reload(client: Client, headers: dict[str, str]) -> None:
    assert client.request("/-/reload", "POST", headers).status == 403


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_our_own_page_and_programs_can_reload(client: Client, headers: dict[str, str]) -> None:
    assert client.request("/-/reload", "POST", headers).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_every_method_that_could_change_something_is_refused_to_another_site(client: Client, method: str) -> None:
    assert client.request("/", method, FOREIGN[0]).status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_links_from_other_sites_are_served(client: Client, method: str) -> None:
    assert client.request("/", method, FOREIGN[6]).status == 200


def test_a_request_from_another_site_is_refused_before_its_password_is_checked(
    servers: Servers, tmp_path: Path
) -> None:
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: '$2y$04${'a' * 53}'}}\n")
    client = servers.client(servers.start(ROUTES, web_config=tmp_path / "web.yml"))
    assert client.request("/-/reload", "POST", FOREIGN[0]).status == 403


def request(client: Client, host: str, target: str = "/") -> int:
    client.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return client.response().status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("exporter.example.org", 200),
        ("EXPORTER.example.org:10390", 200),
        ("exporter.example.org.", 200),
        ("localhost:1", 200),
        ("10.1.2.3:10390", 200),
        ("[2001:db8::1]:10390", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("exporter.example.org.evil.example", 421),
        ("evil.exporter.example.org", 421),
        ("10.1.2.3.evil.example", 421),
        ("10.1.2.3:evil.example", 421),
        ("evil.example:exporter.example.org", 421),
        ("", 421),
    ],
)
def test_with_a_list_of_hosts_only_they_and_addresses_are_served(servers: Servers, host: str, status: int) -> None:
    server = servers.start(ROUTES, allowed_hosts=["Exporter.example.org", "localhost"])
    assert request(servers.client(server), host) == status


def test_the_host_of_a_whole_url_counts_and_not_the_header_beside_it(servers: Servers) -> None:
    client = servers.client(servers.start(ROUTES, allowed_hosts=["good.example"]))
    assert request(client, "good.example", "http://evil.example/") == 421
    assert request(client, "evil.example", "http://good.example/") == 200


def test_without_a_list_any_host_is_served(servers: Servers) -> None:
    assert request(servers.client(servers.start(ROUTES)), "evil.example") == 200


def test_the_health_address_serves_any_host_because_probes_use_many(servers: Servers) -> None:
    server = servers.start(
        ROUTES, allowed_hosts=["good.example"], health_routes={"/h": Route(hello)}, health_address="127.0.0.1:0"
    )
    assert request(servers.client(server, address=server.health_addresses[0]), "any.example", "/h") == 200


@pytest.mark.parametrize("text", ["http://a", "a:1", "*", "*.a", "a/b", "a b", "-a", "a..b", ""])
def test_an_invalid_allowed_host_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(UsageError, match=r"--web.allowed-hosts: .* is no host name"):
        Server({}, ["127.0.0.1:0"], allowed_hosts=[text])
