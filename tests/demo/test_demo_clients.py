"""The vendors' own clients read the simulated vendors and raise their errors."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
import videodb
import vidnavigator
from vidnavigator.exceptions import (
    AuthenticationError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitExceeded,
    ServerError,
    SystemOverloadError,
)

from exporter.demo import faults
from exporter.demo.apis import ODYSSEY
from exporter.demo.faults import Fault
from exporter.demo.vendors import KeyLimit, Vendors, videodb_account, vidnavigator_account


@contextmanager
def videodb_client(vendors: Vendors, key: str) -> Iterator[videodb.Connection]:
    connection = videodb.connect(api_key=key, base_url=vendors.videodb_url)
    with connection.session:
        yield connection


@contextmanager
def vidnavigator_client(vendors: Vendors, key: str) -> Iterator[vidnavigator.VidNavigatorClient]:
    with requests.Session() as session:
        yield vidnavigator.VidNavigatorClient(key, base_url=vendors.vidnavigator_url, session=session)


def test_the_videodb_client_reads_usage_and_invoices(vendors: Vendors) -> None:
    account = videodb_account()
    with videodb_client(vendors, vendors.add(account)) as client:
        assert client.check_usage() == account.responses["/billing/usage"]
        assert client.get_invoices() == account.responses["/billing/invoices"]


def test_the_vidnavigator_client_reads_every_field(vendors: Vendors) -> None:
    account = vidnavigator_account()
    with vidnavigator_client(vendors, vendors.add(account)) as client:
        response = client.get_usage()
        assert client.health_check().status == "success"
    assert response.status == "success"
    read = response.data.model_dump(exclude_none=True)
    assert read == account.responses["/usage"]


def test_the_vidnavigator_client_reads_an_unlimited_plan(vendors: Vendors) -> None:
    key = vendors.add(vidnavigator_account(plan=ODYSSEY, purchased=0))
    with vidnavigator_client(vendors, key) as client:
        data = client.get_usage().data
    assert (data.credits.monthly_total, data.credits.monthly_remaining) == ("unlimited", "unlimited")
    assert (data.storage.limit_bytes, data.storage.remaining_bytes) == ("unlimited", "unlimited")
    assert (data.channels_indexed.limit, data.channels_indexed.remaining) == ("unlimited", "unlimited")


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (faults.status(401, message="Bad key."), videodb.AuthenticationError, "Bad key."),
        (faults.status(403, message="Not yours."), videodb.InvalidRequestError, "Not yours."),
        (faults.success_false("Locked."), videodb.InvalidRequestError, "Locked."),
        (faults.garbage(), videodb.InvalidRequestError, "Invalid request"),
        (faults.reset(), videodb.InvalidRequestError, "Connection error"),
    ],
)
def test_the_videodb_client_raises_its_own_errors(
    vendors: Vendors, fault: Fault, error: type[Exception], message: str
) -> None:
    key = vendors.add(videodb_account())
    vendors.accounts[key].fault = fault
    with videodb_client(vendors, key) as client, pytest.raises(error, match=message):
        client.check_usage()


def test_the_videodb_client_reads_processing_as_no_figures_yet(vendors: Vendors) -> None:
    key = vendors.add(videodb_account())
    vendors.accounts[key].fault = faults.processing()
    with videodb_client(vendors, key) as client:
        assert client.check_usage() is None


@pytest.mark.parametrize("field", ["error", "error_code"])
def test_the_vidnavigator_client_knows_no_subscription_in_either_spelling(vendors: Vendors, field: str) -> None:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = faults.no_subscription(field)
    with vidnavigator_client(vendors, key) as client, pytest.raises(NotFoundError) as caught:
        client.get_usage()
    assert caught.value.error_code == "no_subscription"


@pytest.mark.parametrize(
    ("fault", "error"),
    [(faults.status(402), PaymentRequiredError), (faults.status(500), ServerError)],
)
def test_the_vidnavigator_client_raises_its_own_errors(vendors: Vendors, fault: Fault, error: type[Exception]) -> None:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = fault
    with vidnavigator_client(vendors, key) as client, pytest.raises(error):
        client.get_usage()


def test_the_vidnavigator_client_reads_how_long_to_wait(vendors: Vendors) -> None:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].fault = faults.status(503, retry_after_seconds=17)
    with vidnavigator_client(vendors, key) as client, pytest.raises(SystemOverloadError) as caught:
        client.get_usage()
    assert caught.value.retry_after_seconds == 17


def test_the_clients_know_a_key_that_is_not_accepted(vendors: Vendors) -> None:
    with (
        vidnavigator_client(vendors, secrets.token_hex(16)) as client,
        pytest.raises(AuthenticationError),
    ):
        client.get_usage()
    with (
        videodb_client(vendors, secrets.token_hex(16)) as connection,
        pytest.raises(videodb.AuthenticationError),
    ):
        connection.check_usage()


def test_the_vidnavigator_client_sees_the_rate_limit(vendors: Vendors) -> None:
    key = vendors.add(vidnavigator_account())
    vendors.accounts[key].rate_limit = KeyLimit(1)
    with vidnavigator_client(vendors, key) as client:
        client.get_usage()
        with pytest.raises(RateLimitExceeded) as caught:
            client.get_usage()
    assert caught.value.payload["retry_after_seconds"] == 60
