"""Fixtures of the transport."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from exporter.demo.vendors import Vendors
from exporter.transport.client import Transport


@pytest.fixture(scope="package", autouse=True)
def no_way_of_the_testers_own() -> Iterator[None]:
    """Leave out the tester's proxies and authorities, because the vendors of the tests are on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def transport(vendors: Vendors) -> Transport:
    return Transport(vendors.vidnavigator_url, "test")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()
