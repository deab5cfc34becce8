"""Both built-in vendors give the same exposition if they are written as declared providers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.errors import PollError
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.view import View
from exporter.providers import PROVIDERS
from exporter.providers.base import ParseOptions, Provider, Refuses, VendorResponse, refusal
from exporter.providers.declared import provider_of
from exporter.readings import AccountState, Usage
from tests.conftest import MakeAccount
from tests.providers.declaring import declaration
from tests.providers.responses import NO_SUBSCRIPTION, VIDEODB, voyager

HERE = Path(__file__).parent


@cache
def written(name: str, folder: Path) -> Provider:
    return provider_of(declaration((HERE / f"{name}.yaml").read_text(), folder))


def outcome(provider: Provider, status: int, document: object, most: int) -> Usage | str:
    """Return what a poll makes of a response, or the reason of its failure."""

    def get(
        path: str,
        params: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        refuses: Refuses | None = None,
    ) -> VendorResponse:
        if refuses is None:
            error = None if 200 <= status < 300 or status in accept else refusal(status, document)
        else:
            error = refuses(status, document)
        if error is not None:
            raise error
        return VendorResponse(status, document)

    try:
        part = provider.endpoints["usage"].fetch(get, ParseOptions(max_operations=most))
    except PollError as error:
        return error.reason
    assert isinstance(part, Usage)
    return part


def exposed(usage: Usage | str, make_account: MakeAccount, name: str) -> object:
    """Return every sample of the reading, and the pools that the ledger compares."""
    if isinstance(usage, str):
        return usage
    view = View(make_account(name), AccountState({"usage": usage}, polls=1), usage, None, None)
    samples = {family.name: sorted(family.samples(view)) for family in FAMILIES}
    return samples, usage.pools


Same = Callable[..., None]


@pytest.fixture
def same(make_account: MakeAccount, tmp_path_factory: pytest.TempPathFactory) -> Same:
    folder = tmp_path_factory.mktemp("vendors")

    def check(name: str, document: object, status: int = 200, most: int = 100) -> None:
        coded = outcome(PROVIDERS[name], status, document, most)
        declared = outcome(written(name, folder), status, document, most)
        assert exposed(declared, make_account, name) == exposed(coded, make_account, name)

    return check


RESPONSES = [
    voyager(),
    voyager(credits={"monthly_total": "unlimited", "monthly_remaining": "unlimited", "purchased": 0}),
    voyager(subscription=None, usage=None, storage=None),
    voyager(storage={"used_bytes": "?", "limit_bytes": 0}),
    voyager(billing_period=[], usage="text"),
    json.loads(NO_SUBSCRIPTION),
    {"status": "processing", "data": {}},
    {"status": "success"},
    {"success": True, "data": []},
    json.loads(VIDEODB),
    [],
    None,
    "text",
]


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("status", [200, 404, 401, 403, 429, 503])
@pytest.mark.parametrize("document", RESPONSES, ids=range(len(RESPONSES)))
def test_a_known_response_gives_the_same(name: str, status: int, document: object, same: Same) -> None:
    same(name, document, status)


numbers: st.SearchStrategy[Any] = (
    st.integers(-(10**6), 10**9)
    | st.floats(-1e6, 1e12, allow_nan=False).map(lambda value: round(value, 3))
    | st.sampled_from(["unlimited", "62.5", "1e400", "0x1", "", True, None, math.nan, math.inf, 10**400, [], {}])
)
texts: st.SearchStrategy[Any] = st.sampled_from(
    ["hours", "pro", "active", "trialing", "canceled", "", None, 5, [], "x" * 300]
)
times: st.SearchStrategy[Any] = st.sampled_from(
    ["2026-03-01T00:00:00Z", "2026-03-01", "20260301T101112+0530", "soon", "", None, 5, 1772323200]
)
WRONG: st.SearchStrategy[Any] = st.sampled_from([None, [], "text", 5, False])
percentages = st.integers(0, 12000).map(lambda n: n / 100) | st.sampled_from([None, "unlimited", "much", "33.3", True])


def block(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects with any of these fields, and sometimes something that is no object."""
    return st.fixed_dictionaries({}, optional=fields) | WRONG


names = st.sampled_from(
    ["video_uploads", "video_searches", "dubbing", "a", "b", "x" * 256 + "1", "x" * 256 + "2", "(other)"]
)
quotas = {"remaining": numbers, "percentage": percentages}
vidnavigator = st.fixed_dictionaries(
    {"status": st.sampled_from(["success", "success", "success", "error", "processing"])},
    optional={
        "data": block(
            credits=block(monthly_total=numbers, monthly_remaining=numbers, purchased=numbers),
            usage=st.dictionaries(names, block(used=numbers, unit=texts), max_size=6) | WRONG,
            storage=block(used_bytes=numbers, limit_bytes=numbers, remaining_bytes=numbers, percentage=percentages),
            channels_indexed=block(used=numbers, limit=numbers, **quotas),
            usage_period=block(start=times, end=times),
            billing_period=block(start=times, end=times),
            subscription=st.fixed_dictionaries(
                {"plan_name": texts.filter(lambda text: text is not None)},
                optional={"plan_id": texts, "status": texts, "cancel_at_period_end": st.sampled_from([True, 1, None])},
            ),
            generated_at=times,
        ),
        "error": st.sampled_from(["no_subscription", "other", None]),
        "error_code": st.sampled_from(["no_subscription", 5, None]),
    },
)
videodb = st.fixed_dictionaries(
    {"success": st.sampled_from([True, True, True, 1, "true", False])},
    optional={
        "data": block(
            credit_balance=numbers,
            credits_remaining=numbers,
            usage_this_month=numbers,
            total_credits_used=numbers,
            monthly_limit=numbers,
            breakdown=st.dictionaries(names, numbers, max_size=6) | WRONG,
        ),
        "status": st.sampled_from(["processing", "done"]),
    },
)
ANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY
@given(document=vidnavigator, status=st.sampled_from([200, 200, 404, 500]), most=st.sampled_from([100, 2]))
def test_any_response_of_vidnavigator_gives_the_same(document: object, status: int, most: int, same: Same) -> None:
    same("vidnavigator", document, status, most)


@ANY
@given(document=videodb, status=st.sampled_from([200, 200, 404, 500]), most=st.sampled_from([100, 2]))
def test_any_response_of_videodb_gives_the_same(document: object, status: int, most: int, same: Same) -> None:
    same("videodb", document, status, most)
