"""Reading VideoDB's responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.errors import InvalidResponseError
from exporter.providers.base import ParseOptions, VendorResponse
from exporter.providers.videodb import fetch_invoices, parse_auto_recharge, parse_invoices, parse_usage
from exporter.readings import AutoRecharge, Invoices, Pool, Usage
from tests.providers.responses import VIDEODB, videodb


def read(document: Any, **options: Any) -> Usage:
    return parse_usage(document, ParseOptions(**options))


def test_the_documented_response_gives_every_figure() -> None:
    assert read(json.loads(VIDEODB)) == Usage(
        balance=100.5,
        monthly_used=25.75,
        used_by_operation={"ai_generation": 9.0, "storage": 2.5, "video_processing": 14.25},
        pools={"balance": Pool(100.5)},
    )


def test_the_names_of_the_example_code_are_read_if_those_of_the_schema_are_absent() -> None:
    usage = read(videodb(credits_remaining=7, total_credits_used=3, monthly_limit=10, credit_balance=None))
    assert (usage.balance, usage.monthly_used, usage.monthly_limit) == (7, 3, 10)
    assert read(videodb(credits_remaining=7, credit_balance=9)).balance == 9


def test_a_rejected_balance_is_not_replaced_by_its_other_name() -> None:
    usage = read(videodb(credit_balance="lots", credits_remaining=7))
    assert usage.balance is None
    assert usage.rejected == ("data.credit_balance",)


def test_more_operations_than_allowed_are_summed() -> None:
    usage = read(videodb(breakdown={"a": 1, "b": 5, "c": 3, "d": 2}), max_operations=2)
    assert usage.used_by_operation == {"(other)": 3, "b": 5, "c": 3}
    assert usage.folded_operations == 2


def test_only_the_operation_that_is_not_a_number_is_rejected() -> None:
    usage = read(videodb(credit_balance=1, breakdown={"a": 1, "b": "?"}))
    assert usage.used_by_operation == {"a": 1}
    assert usage.rejected == ("data.breakdown.b",)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"success": True},
        {"success": False, "message": "no", "data": {}},
        {"success": "true", "data": {}},
        {"data": {}},
        {"status": "processing", "data": {"output_url": "x"}},
    ],
)
def test_a_wrong_envelope_fails_the_poll(document: object) -> None:
    with pytest.raises(InvalidResponseError):
        read(document)


def invoice(status: str, at: str | None, amount: float = 100, **more: object) -> dict[str, object]:
    return {"id": "in_1", "amount": amount, "currency": "usd", "status": status, "created_at": at, **more}


def test_the_newest_invoice_is_found_whatever_the_order() -> None:
    invoices = parse_invoices(
        {
            "success": True,
            "data": [
                invoice("paid", "2026-01-01T00:00:00Z"),
                invoice("failed", None, amount=7, date="2026-03-01T00:00:00Z"),
                invoice("pending", "2026-02-01T00:00:00Z"),
            ],
        }
    )
    assert invoices == Invoices({"paid": 1, "pending": 1, "failed": 1}, 7, "usd", "failed", 1772323200)


def test_only_the_latest_twelve_invoices_count() -> None:
    data = [invoice("failed", "2020-01-01T00:00:00Z")] * 5
    data += [invoice("paid", f"2026-01-{day:02}T00:00:00Z") for day in range(1, 13)]
    assert parse_invoices({"success": True, "data": data}).by_status == {
        "paid": 12,
        "pending": 0,
        "failed": 0,
    }


def test_without_invoices_every_status_is_0_and_there_is_no_last_invoice() -> None:
    assert parse_invoices({"success": True, "data": []}) == Invoices({"paid": 0, "pending": 0, "failed": 0})


def test_an_unknown_status_and_an_invalid_entry_are_rejected() -> None:
    invoices = parse_invoices({"success": True, "data": [7, invoice("void", "2026-01-01T00:00:00Z")]})
    assert invoices.rejected == ("data[0]", "data[1].status")
    assert invoices.last_status == "void"


def test_invoices_are_requested_with_the_vendors_paging() -> None:
    asked: list[object] = []

    def get(path: str, params: Any = None, accept: tuple[int, ...] = (), **_more: object) -> VendorResponse:
        asked.append((path, params))
        return VendorResponse(200, {"success": True, "data": []})

    fetch_invoices(get, ParseOptions())
    assert asked == [("/billing/invoices", {"limit": "12", "offset": "0"})]


def test_auto_recharge_is_read() -> None:
    data = {"enabled": True, "threshold": 10, "amount": "50"}
    assert parse_auto_recharge({"success": True, "data": data}) == AutoRecharge(True, 10, 50)
    assert parse_auto_recharge({"success": True, "data": {"enabled": 1}}).rejected == ("data.enabled",)


def test_names_that_are_cut_to_the_same_label_have_no_sum_if_one_of_them_cannot_be_read() -> None:
    long = "x" * 300
    usage = read(videodb(breakdown={long + "1": 5, long + "2": "oops", "b": 2}))
    assert usage.used_by_operation == {"b": 2}
