"""Fixtures of the transport."""

from __future__ import annotations

import pytest
import trustme

from exporter.demo.vendors import Vendors
from exporter.transport.client import Transport


@pytest.fixture
def transport(vendors: Vendors) -> Transport:
    return Transport(vendors.vidnavigator_url, "test")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()
