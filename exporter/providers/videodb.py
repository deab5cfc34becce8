"""Reads ``/billing/usage``, ``/billing/invoices`` and ``/billing/auto_recharge`` of VideoDB.

They are documented at https://docs.videodb.io. The schema and the example code of the usage page name some fields
differently, so both names are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from exporter import errors
from exporter.providers.base import Endpoint, Get, ParseOptions, Provider, data_object, envelope
from exporter.providers.fields import FieldReader, label
from exporter.providers.operations import fold_services, readable
from exporter.readings import AutoRecharge, Invoices, Pool, Usage

BILLING_INTERVAL_SECONDS = 3600.0
LATEST_INVOICES = 12
STATUSES = ("paid", "pending", "failed")


def _succeeded(document: Mapping[str, object]) -> bool:
    return document.get("success") is True


def fetch_usage(get: Get, options: ParseOptions) -> Usage:
    """Request the balance and this month's use."""
    return parse_usage(get("/billing/usage").document, options)


def parse_usage(document: object, options: ParseOptions) -> Usage:
    """Read a response of ``/billing/usage``. Raise InvalidResponseError for a wrong envelope."""
    rejected: list[str] = []
    data = FieldReader(data_object(envelope(document, _succeeded)), "data", rejected)
    balance = data.number("credit_balance", "credits_remaining")
    breakdown = data.nested("breakdown")
    rows = [(label(name), "", breakdown.number(name)) for name in breakdown.names()] if breakdown is not None else []
    operations, _, folded = fold_services(readable(rows), {}, options.max_operations)
    return Usage(
        balance=balance,
        monthly_limit=data.number("monthly_limit"),
        monthly_used=data.number("usage_this_month", "total_credits_used"),
        used_by_operation={use.operation: use.used for use in operations},
        folded_operations=folded,
        pools={"balance": Pool(balance)},
        rejected=tuple(rejected),
    )


def fetch_invoices(get: Get, _options: ParseOptions) -> Invoices:
    """Request the latest invoices."""
    return parse_invoices(get("/billing/invoices", {"limit": str(LATEST_INVOICES), "offset": "0"}).document)


def parse_invoices(document: object) -> Invoices:
    """Read a response of ``/billing/invoices`` in any order. Raise InvalidResponseError for a wrong envelope."""
    data = envelope(document, _succeeded)
    if not isinstance(data, list):
        raise errors.InvalidResponseError("the response has no data list")
    rejected: list[str] = []
    dated: list[tuple[float, int, FieldReader]] = []
    for position, entry in enumerate(data):
        path = f"data[{position}]"
        if not isinstance(entry, Mapping):
            rejected.append(path)
            continue
        invoice = FieldReader(entry, path, rejected)
        at = invoice.time("created_at", "date")
        dated.append((at if at is not None else float("-inf"), -position, invoice))
    dated.sort(key=lambda item: item[:2], reverse=True)
    by_status = dict.fromkeys(STATUSES, 0)
    for _, _, invoice in dated[:LATEST_INVOICES]:
        status = invoice.text("status")
        if status in by_status:
            by_status[status] += 1
        elif status is not None:
            invoice.reject("status")
    if not dated:
        return Invoices(by_status, rejected=tuple(rejected))
    at, _, newest = dated[0]
    return Invoices(
        by_status,
        last_amount=newest.number("amount"),
        last_currency=label(newest.text("currency") or ""),
        last_status=label(newest.text("status") or ""),
        last_at=at if at != float("-inf") else None,
        rejected=tuple(dict.fromkeys(rejected)),
    )


def fetch_auto_recharge(get: Get, _options: ParseOptions) -> AutoRecharge:
    """Request the settings of the automatic top-up."""
    return parse_auto_recharge(get("/billing/auto_recharge").document)


def parse_auto_recharge(document: object) -> AutoRecharge:
    """Read a response of ``/billing/auto_recharge``. Raise InvalidResponseError for a wrong envelope."""
    rejected: list[str] = []
    data = FieldReader(data_object(envelope(document, _succeeded)), "data", rejected)
    return AutoRecharge(
        enabled=data.flag("enabled"),
        threshold=data.number("threshold"),
        amount=data.number("amount"),
        rejected=tuple(rejected),
    )


PROVIDER = Provider(
    title="VideoDB",
    base_url="https://api.videodb.io",
    key_header="x-access-token",
    endpoints={
        "usage": Endpoint(fetch_usage),
        "invoices": Endpoint(fetch_invoices, every=BILLING_INTERVAL_SECONDS),
        "auto_recharge": Endpoint(fetch_auto_recharge, every=BILLING_INTERVAL_SECONDS),
    },
)
