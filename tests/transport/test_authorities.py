"""The authorities for a vendor's certificate, and the failure if they cannot be used."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from exporter.demo.vendors import Vendors, vidnavigator_account
from exporter.errors import UnreachableError
from exporter.transport.client import Transport

PATIENT = 20.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def vendors(authority: trustme.CA) -> Iterator[Vendors]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Vendors(tls=context) as running:
        yield running


@pytest.fixture
def good(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "good.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def is_trusted(
    vendors: Vendors, environ: Mapping[str, str], ca_file: Path | None = None, common_ca_file: Path | None = None
) -> bool:
    transport = Transport(vendors.vidnavigator_url, "test", ca_file, common_ca_file, environ=environ)
    key = vendors.add(vidnavigator_account())
    try:
        return transport.get("/usage", {}, {"X-API-Key": key}, PATIENT).status == 200
    except UnreachableError as error:
        if not str(error).startswith("TLS: "):
            raise
        return False


ORDER = ["ca_file", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]


@pytest.mark.parametrize("winner", range(len(ORDER)))
def test_the_first_source_of_authorities_that_is_set_is_used_alone(
    vendors: Vendors, good: Path, other: Path, winner: int
) -> None:
    for first, rest in ((good, other), (other, good)):
        named = dict.fromkeys(ORDER[winner + 1 :], rest) | {ORDER[winner]: first}
        ca_file = named.pop("ca_file", None)
        environ = {name: str(path) for name, path in named.items()}
        assert is_trusted(vendors, environ, ca_file) == (first is good)


def test_poll_ca_file_is_used_beside_variables_and_not_beside_an_accounts_own_ca_file(
    vendors: Vendors, good: Path, other: Path
) -> None:
    assert is_trusted(vendors, {}, common_ca_file=good)
    assert is_trusted(vendors, {"SSL_CERT_FILE": str(other)}, common_ca_file=good)
    assert is_trusted(vendors, {"SSL_CERT_FILE": str(good)}, common_ca_file=other)
    assert is_trusted(vendors, {}, ca_file=good, common_ca_file=other)
    assert not is_trusted(vendors, {}, ca_file=other, common_ca_file=good)


def test_empty_variables_count_as_not_set(vendors: Vendors, good: Path) -> None:
    assert is_trusted(vendors, {"REQUESTS_CA_BUNDLE": "", "SSL_CERT_FILE": str(good)})
    assert not is_trusted(vendors, {"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""})


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_directory_counts_with_every_certificate_in_it(vendors: Vendors, good: Path, other: Path, name: str) -> None:
    os.mkfifo(good.parent / "pipe")
    (good.parent / "README").write_text("none here")
    assert is_trusted(vendors, {name: str(good.parent)})


def test_ssl_cert_file_and_ssl_cert_dir_count_together(vendors: Vendors, good: Path, other: Path) -> None:
    directory = good.parent / "more"
    directory.mkdir()
    good.rename(directory / "good.pem")
    several = os.pathsep.join([str(good.parent / "missing"), str(directory)])
    assert is_trusted(vendors, {"SSL_CERT_FILE": str(other), "SSL_CERT_DIR": several})
    assert is_trusted(vendors, {"SSL_CERT_FILE": str(good.parent / "missing"), "SSL_CERT_DIR": several})


def test_a_file_added_to_a_directory_is_used_by_the_next_handshake(vendors: Vendors, good: Path, other: Path) -> None:
    directory = good.parent / "certs"
    directory.mkdir()
    transport = Transport(vendors.vidnavigator_url, "test", environ={"SSL_CERT_DIR": str(directory)})
    key = vendors.add(vidnavigator_account())
    with pytest.raises(UnreachableError, match=r"environment variable SSL_CERT_DIR: .* no file with a"):
        transport.get("/usage", {}, {"X-API-Key": key}, PATIENT)
    good.rename(directory / "good.pem")
    assert transport.get("/usage", {}, {"X-API-Key": key}, PATIENT).status == 200


def test_the_failure_names_a_variable_without_usable_authorities(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    transport = Transport("https://127.0.0.1:9", "test", environ={"SSL_CERT_FILE": str(missing)})
    with pytest.raises(UnreachableError) as caught:
        transport.get("/", {}, {}, PATIENT)
    assert str(caught.value) == (
        f"environment variable SSL_CERT_FILE: {missing} cannot be read: No such file or directory"
    )


def test_a_missing_ca_file_fails_the_request_and_not_the_making_of_the_transport(tmp_path: Path) -> None:
    transport = Transport("https://127.0.0.1:9", "test", ca_file=tmp_path / "missing", environ={})
    with pytest.raises(UnreachableError, match=r"^ca_file: cannot be read: No such file"):
        transport.get("/", {}, {}, PATIENT)


def test_authorities_are_not_read_for_plain_http(tmp_path: Path) -> None:
    with Vendors() as plain:
        transport = Transport(plain.vidnavigator_url, "test", ca_file=tmp_path / "missing", environ={})
        key = plain.add(vidnavigator_account())
        assert transport.get("/usage", {}, {"X-API-Key": key}, PATIENT).status == 200
