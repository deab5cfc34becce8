"""Real TLS handshakes under each setting of the web configuration."""

from __future__ import annotations

import gc
import platform
import re
import socket
import ssl
import sys
import warnings
from asyncio import sslproto
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from exporter.errors import ConfigError
from exporter.web import tls as tls_module
from exporter.web.messages import Route
from exporter.web.tls import TlsSettings, make_context

from .conftest import (
    PATIENT,
    Client,
    Servers,
    body,
    hello,
    in_parts,
    notice_change,
    pattern,
    sized,
    wait_for,
    web_config_of,
)

CA = trustme.CA()
OTHER_CA = trustme.CA()
FILES = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
CLIENTS = FILES + "  client_ca_file: ca.pem\n  client_auth_type: "


def write_certificate(directory: Path, authority: trustme.CA = CA, **options: object) -> trustme.LeafCert:
    certificate = authority.issue_cert("localhost", **options)  # type: ignore[arg-type]  # any of its options
    (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (directory / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    return certificate


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_certificate(tmp_path)
    (tmp_path / "ca.pem").write_bytes(CA.cert_pem.bytes())
    return tmp_path


def trusting(*authorities: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in authorities or (CA,):
        authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


class Site:
    """A server whose web configuration can be rewritten."""

    def __init__(self, servers: Servers, directory: Path, text: str) -> None:
        self.file = directory / "web.yml"
        self.file.write_text(text)
        self._servers = servers
        self.server = servers.start(
            {"/": Route(hello), "/x": Route(sized), "/parts": Route(in_parts)}, web_config=self.file
        )

    def change(self, text: str) -> None:
        self.file.write_text(text)
        self.notice_change()

    def notice_change(self) -> None:
        notice_change(web_config_of(self.server))

    def connect(self, context: ssl.SSLContext) -> Client:
        return self._servers.client(self.server, context=context)

    def refuses(self, context: ssl.SSLContext) -> bool:
        """Return whether a client gets no response; with TLS 1.3 it hears so only after its own handshake."""
        try:
            self.connect(context).request()
        except (ssl.SSLError, ConnectionError):
            return True
        return False


def test_https_serves_responses_of_any_size_and_many_of_them(servers: Servers, directory: Path) -> None:
    site = Site(servers, directory, FILES)
    assert site.server.addresses[0].startswith("https://127.0.0.1:")
    client = site.connect(trusting())
    assert client.socket.version() == "TLSv1.3"  # type: ignore[attr-defined]  # it is an SSLSocket
    for size in (1, 300_000, 5_000_000, 0):
        for path in ("/x", "/parts"):
            assert body(client.request(f"{path}?bytes={size}")) == pattern(size)


def test_a_client_that_trusts_another_authority_does_not_connect(servers: Servers, directory: Path) -> None:
    site = Site(servers, directory, FILES)
    assert site.refuses(trusting(OTHER_CA))
    assert not site.refuses(trusting())


def test_certificate_and_key_may_stand_in_the_file_itself(servers: Servers, directory: Path) -> None:
    def block(name: str, file: str) -> str:
        lines = (directory / file).read_text().strip().splitlines()
        return f"  {name}: |\n" + "".join(f"    {line}\n" for line in lines)

    text = "tls_server_config:\n" + block("cert", "cert.pem") + block("key", "key.pem") + block("client_ca", "ca.pem")
    site = Site(servers, directory, text + "  client_auth_type: RequireAndVerifyClientCert\n")
    assert not site.refuses(trusting(certificate=CA.issue_cert("prometheus")))
    assert site.refuses(trusting())


def test_a_failed_handshake_is_explained_at_debug_level(
    servers: Servers, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site = Site(servers, directory, CLIENTS + "RequireAndVerifyClientCert\n")
    assert site.refuses(trusting())
    wait_for(lambda: "a client was lost before its first request" in caplog.text)
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in caplog.text


def only_tls11() -> ssl.SSLContext:
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def with_certificate_of(authority: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = trusting(certificate=authority.issue_cert("prometheus"))
    context.maximum_version = version
    return context


def without_certificate(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = trusting()
    context.maximum_version = version
    return context


@pytest.mark.parametrize(
    ("client", "alert"),
    [
        (only_tls11(), "PROTOCOL_VERSION"),
        (without_certificate(ssl.TLSVersion.TLSv1_2), "HANDSHAKE_FAILURE"),
        (without_certificate(ssl.TLSVersion.TLSv1_3), "CERTIFICATE_REQUIRED"),
        (with_certificate_of(OTHER_CA, ssl.TLSVersion.TLSv1_2), "UNKNOWN_CA"),
        (with_certificate_of(OTHER_CA, ssl.TLSVersion.TLSv1_3), "UNKNOWN_CA"),
    ],
    ids=["TLS 1.1", "no certificate, 1.2", "no certificate, 1.3", "other authority, 1.2", "other authority, 1.3"],
)
def test_an_alert_says_why_a_handshake_failed(
    servers: Servers, directory: Path, client: ssl.SSLContext, alert: str
) -> None:
    site = Site(servers, directory, CLIENTS + "RequireAndVerifyClientCert\n")
    with pytest.raises(ssl.SSLError, match=alert):
        site.connect(client).request()


def test_a_client_that_sends_plain_http_to_tls_gets_no_response(servers: Servers, directory: Path) -> None:
    site = Site(servers, directory, FILES)
    client = servers.client(site.server)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    client.wait_until_cut()


def test_the_health_address_serves_plain_http(servers: Servers, directory: Path) -> None:
    (directory / "web.yml").write_text(CLIENTS + "RequireAndVerifyClientCert\n")
    server = servers.start(
        web_config=directory / "web.yml",
        health_routes={"/-/healthy": Route(hello)},
        health_address="127.0.0.1:0",
    )
    assert server.health_addresses[0].startswith("http://")
    assert servers.client(server, address=server.health_addresses[0]).request("/-/healthy").status == 200


@pytest.mark.parametrize(
    ("policy", "without", "right", "foreign"),
    [
        ("NoClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
def test_the_policy_decides_which_client_certificates_are_accepted(
    servers: Servers, directory: Path, policy: str, without: bool, right: bool, foreign: bool
) -> None:
    site = Site(servers, directory, FILES if policy == "NoClientCert" else f"{CLIENTS}{policy}\n")
    assert site.refuses(trusting()) is not without
    assert site.refuses(trusting(certificate=CA.issue_cert("prometheus"))) is not right
    assert site.refuses(trusting(certificate=OTHER_CA.issue_cert("prometheus"))) is not foreign


def test_without_client_ca_file_the_systems_authorities_are_trusted(
    servers: Servers, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca.pem"))
    site = Site(servers, directory, FILES + "  client_auth_type: RequireAndVerifyClientCert\n")
    assert site.refuses(trusting())
    assert not site.refuses(trusting(certificate=CA.issue_cert("prometheus")))
    assert site.refuses(trusting(certificate=OTHER_CA.issue_cert("prometheus")))


def test_an_intermediate_authority_can_be_the_trusted_one(servers: Servers, directory: Path) -> None:
    intermediate = CA.create_child_ca()
    (directory / "ca.pem").write_bytes(intermediate.cert_pem.bytes())
    site = Site(servers, directory, CLIENTS + "RequireAndVerifyClientCert\n")
    assert not site.refuses(trusting(certificate=intermediate.issue_cert("prometheus")))
    assert site.refuses(trusting(certificate=CA.issue_cert("prometheus")))


@pytest.mark.parametrize("name", ["prometheus.example", "10.1.2.3", "2001:db8::1", "ops@example.org"])
def test_a_client_certificate_needs_one_of_the_allowed_names(servers: Servers, directory: Path, name: str) -> None:
    site = Site(servers, directory, f"{CLIENTS}RequireAndVerifyClientCert\n  client_allowed_sans: [other, '{name}']\n")
    assert not site.refuses(trusting(certificate=CA.issue_cert("x.example", name)))
    assert site.refuses(trusting(certificate=CA.issue_cert("x.example", "not-" + name.replace(":", "-"))))


@pytest.mark.parametrize("wanted", ["TLSv1.1", "TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize(
    ("range_", "served"),
    [
        ("", {"TLSv1.2", "TLSv1.3"}),
        ("  min_version: TLS13\n", {"TLSv1.3"}),
        ("  max_version: TLS12\n", {"TLSv1.2"}),
        ("  min_version: TLS10\n  max_version: TLS11\n", {"TLSv1.1"}),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", {"TLSv1.3"}),
    ],
)
def test_only_the_configured_tls_versions_are_accepted(
    servers: Servers, directory: Path, range_: str, served: set[str], wanted: str
) -> None:
    site = Site(servers, directory, FILES + range_)
    client = trusting()
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = ssl.TLSVersion[wanted.replace(".", "_").replace("_0", "")]
    assert site.refuses(client) is (wanted not in served)


def only_tls12(ciphers: str) -> ssl.SSLContext:
    context = trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    return context


def cipher(client: Client) -> str:
    return str(client.socket.cipher()[0])  # type: ignore[attr-defined]  # it is an SSLSocket


def test_cipher_suites_are_chosen_in_the_order_of_the_configured_side(servers: Servers, directory: Path) -> None:
    write_certificate(directory, key_type=trustme.KeyType.RSA)
    suites = "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
    site = Site(servers, directory, FILES + suites)
    other_way_round = only_tls12("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384")
    assert cipher(site.connect(other_way_round)) == "ECDHE-RSA-AES256-GCM-SHA384"
    site.change(FILES + suites + "  prefer_server_cipher_suites: false\n")
    assert cipher(site.connect(other_way_round)) == "ECDHE-RSA-AES128-GCM-SHA256"
    assert site.refuses(only_tls12("ECDHE-RSA-CHACHA20-POLY1305"))


@pytest.mark.parametrize("name", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_only_the_configured_curve_is_accepted(servers: Servers, directory: Path, name: str) -> None:
    write_certificate(directory, key_type=trustme.KeyType.RSA)
    matching, other = trusting(), trusting()
    names = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
    try:
        matching.set_ecdh_curve(names.pop(name))
    except ssl.SSLError:  # X25519 in Debian 12's own Python, 3.11.2
        with pytest.raises(
            ConfigError, match=f"curve_preferences: {name} is not possible with the ssl module of Python 3"
        ):
            Site(servers, directory, f"{FILES}  curve_preferences: [{name}]\n")
        return
    site = Site(servers, directory, f"{FILES}  curve_preferences: [{name}]\n")
    other.set_ecdh_curve(next(iter(names.values())))
    assert not site.refuses(matching)
    assert site.refuses(other)


@pytest.mark.parametrize(
    ("version", "name", "refused"),
    [
        ((3, 11, 2), "X25519", f"the ssl module of Python {platform.python_version()}. Use CurveP256, or Python 3.12"),
        ((3, 12, 1), "X25519", f"{ssl.OPENSSL_VERSION}. Use another curve"),
        ((3, 11, 2), "CurveP521", f"{ssl.OPENSSL_VERSION}. Use another curve"),
    ],
)
def test_a_curve_that_cannot_be_selected_is_refused_with_the_library_and_a_remedy(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], name: str, refused: str
) -> None:
    def refuse(_context: ssl.SSLContext, _name: str) -> None:
        raise ssl.SSLError("unknown group")

    monkeypatch.setattr(ssl.SSLContext, "set_ecdh_curve", refuse)
    monkeypatch.setattr(tls_module, "sys", SimpleNamespace(version_info=version))
    with pytest.raises(ValueError, match=re.escape(f"{name} is not possible with {refused}")):
        make_context(TlsSettings(b"", b"", curves=(name,)))


def test_of_several_curves_the_first_is_used(servers: Servers, directory: Path) -> None:
    site = Site(servers, directory, f"{FILES}  curve_preferences: [X25519MLKEM768, CurveP384, CurveP521]\n")
    first, second = trusting(), trusting()
    first.set_ecdh_curve("secp384r1")
    second.set_ecdh_curve("secp521r1")
    assert not site.refuses(first)
    assert site.refuses(second)


def test_a_new_certificate_serves_new_connections_and_old_ones_go_on(servers: Servers, directory: Path) -> None:
    site = Site(servers, directory, FILES)
    old = site.connect(trusting(CA))
    assert old.request().status == 200
    write_certificate(directory, OTHER_CA)
    site.notice_change()
    assert site.refuses(trusting(CA))
    assert not site.refuses(trusting(OTHER_CA))
    assert old.request().status == 200


def test_every_tls_setting_follows_a_change_of_the_file(servers: Servers, directory: Path) -> None:
    site = Site(servers, directory, FILES)
    assert not site.refuses(trusting())
    site.change(CLIENTS + "RequireAndVerifyClientCert\n  client_allowed_sans: [a.example]\n")
    assert site.refuses(trusting())
    assert site.refuses(trusting(certificate=CA.issue_cert("b.example")))
    assert not site.refuses(trusting(certificate=CA.issue_cert("a.example")))
    site.change(FILES + "  min_version: TLS13\n")
    assert site.refuses(only_tls12("ALL"))


def test_a_session_from_before_a_change_cannot_be_resumed_past_it(servers: Servers, directory: Path) -> None:
    site = Site(servers, directory, CLIENTS + "RequireAndVerifyClientCert\n")
    context = trusting(certificate=CA.issue_cert("prometheus"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    first = site.connect(context)
    assert first.request().status == 200
    (directory / "ca.pem").write_bytes(OTHER_CA.cert_pem.bytes())
    site.notice_change()
    session = first.socket.session  # type: ignore[attr-defined]  # it is an SSLSocket
    resuming = _Resuming(context, session)
    assert site.refuses(resuming)  # type: ignore[arg-type]  # it wraps sockets, which is all that is asked of it
    assert resuming.tried


class _Resuming:
    """A client's context that offers a former session to whom it connects."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession) -> None:
        self._context = context
        self._session = session
        self.tried = False

    def wrap_socket(self, sock: socket.socket, server_hostname: str) -> ssl.SSLSocket:
        self.tried = True
        return self._context.wrap_socket(sock, server_hostname=server_hostname, session=self._session)


def test_a_connection_does_not_cost_the_quarter_megabyte_that_asyncio_would_give_it(
    servers: Servers, directory: Path
) -> None:
    site = Site(servers, directory, FILES)
    assert site.connect(trusting()).request().status == 200
    protocols = [each for each in gc.get_objects() if isinstance(each, sslproto.SSLProtocol)]
    assert protocols
    for protocol in protocols:
        # Before 3.11 asyncio set nothing aside.
        assert hasattr(protocol, "_ssl_buffer") is (sys.version_info >= (3, 11))
        assert len(getattr(protocol, "_ssl_buffer", b"")) <= 16 * 1024


def test_a_handshake_that_does_not_end_is_disconnected(servers: Servers, directory: Path) -> None:
    (directory / "web.yml").write_text(FILES)
    server = servers.start(web_config=directory / "web.yml", limits=replace(PATIENT, request_seconds=0.3))
    silent = servers.client(server)
    silent.wait_until_cut()
    half = servers.client(server)
    half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    half.wait_until_cut()


def test_handshakes_that_do_not_end_cannot_keep_a_new_client_out(servers: Servers, directory: Path) -> None:
    (directory / "web.yml").write_text(FILES)
    server = servers.start(web_config=directory / "web.yml", limits=replace(PATIENT, connections=4))
    silent = [servers.client(server) for _ in range(6)]
    assert servers.client(server, context=trusting()).request().status == 200
    silent[0].wait_until_cut()
    assert server.open_connections <= 4


def test_a_client_that_stops_reading_is_disconnected_under_tls_too(servers: Servers, directory: Path) -> None:
    (directory / "web.yml").write_text(FILES)
    limits = replace(PATIENT, response_seconds=0.5)
    server = servers.start({"/x": Route(sized)}, web_config=directory / "web.yml", limits=limits)
    reader = servers.client(server, context=trusting(), receive_buffer=4096)
    reader.send(b"GET /x?bytes=30000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert reader.socket.recv(1)
    reader.wait_until_reset()
