"""Vendors, exporter and a real Prometheus. A query returns the figures that the vendors sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import videodb
import vidnavigator

from exporter.demo import faults
from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors, videodb_account, vidnavigator_account
from exporter.demo.world import make_world
from tests.program.running import OPENMETRICS, Program, prometheus, running, until, write_config


def account(vendors: Vendors, name: str, provider: str, key: str, **more: Any) -> dict[str, Any]:
    url = vendors.videodb_url if provider == "videodb" else vendors.vidnavigator_url
    return {"name": name, "provider": provider, "api_key": key, "base_url": url, **more}


@pytest.mark.needs("prometheus")
def test_prometheus_scrapes_it_and_every_figure_of_the_demo_comes_back(tmp_path: Path) -> None:
    with Vendors() as vendors:
        config = make_world(vendors, speed=1.0).write_config(tmp_path, tmp_path / "state.db")
        with running(f"--config.file={config}") as program:
            program.ready()
            scrape = {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": [
                    {
                        "job_name": "video-api",
                        "static_configs": [{"targets": [program.url.removeprefix("http://")]}],
                    }
                ],
            }
            import json

            with prometheus(tmp_path / "prometheus", json.dumps(scrape)) as server:
                until(lambda: server.value("up") == 1, "up")
                until(lambda: server.value("count(video_api_up)") == 15, "all accounts")
                page = program.metrics()
                for series, value in page.items():
                    if series.startswith(
                        ("video_api_credits_monthly_limit", "video_api_poll_interval", "video_api_up")
                    ):
                        assert server.value(series) == value, series
                assert server.value('video_api_credits_balance{account="broadcast"}') == float("inf")
                targets = server.query("scrape_samples_scraped")
                assert float(targets[0]["value"][1]) > 500


FAULTS: dict[str, Fault | None] = {
    "auth": faults.status(401),
    "forbidden": faults.status(403),
    "payment_required": faults.status(402),
    "rate_limited": faults.status(429),
    "client_error": faults.status(410),
    "server_error": faults.status(500),
    "timeout": faults.hang(),
    "connection": faults.reset(),
    "invalid_response": faults.garbage(),
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One account for each reason, beside one of each vendor that is well."""
    directory = tmp_path_factory.mktemp("failing")
    with Vendors() as vendors:
        accounts = [account(vendors, "credential", "vidnavigator", "", api_key_file=str(directory / "missing"))]
        del accounts[0]["api_key"]
        for reason, fault in FAULTS.items():
            key = vendors.add(vidnavigator_account())
            vendors.accounts[key].fault = fault
            accounts.append(account(vendors, reason, "vidnavigator", key))
        accounts.append(account(vendors, "well", "vidnavigator", vendors.add(vidnavigator_account())))
        accounts.append(account(vendors, "well", "videodb", vendors.add(videodb_account())))
        nobody = vendors.add(vidnavigator_account())
        vendors.accounts[nobody].fault = faults.no_subscription()
        accounts.append(account(vendors, "nobody", "vidnavigator", nobody))
        config = write_config(directory / "config.yaml", accounts, poll={"interval": "1m", "timeout": "3s"})
        with running(f"--config.file={config}") as program:
            program.ready()
            yield program


@pytest.mark.parametrize("reason", [*FAULTS, "credential"])
def test_each_failure_has_the_right_reason(failing: Program, reason: str) -> None:
    assert failing.value("up", reason) == 0
    assert failing.value("last_poll_failure", reason, reason=reason) == 1
    assert failing.value("poll_failures_total", reason, reason=reason) == 1


def test_failures_of_some_accounts_do_not_affect_the_others(failing: Program) -> None:
    assert failing.value("up", "well", provider="vidnavigator") == 1
    assert failing.value("credits_balance", "well", provider="vidnavigator") == 112.5
    assert failing.value("credits_balance", "well", provider="videodb") == 74.25
    assert sum(failing.metrics()[s] for s in failing.metrics() if s.startswith("video_api_up{")) == 3


def test_an_account_without_a_subscription_is_up_and_inactive(failing: Program) -> None:
    assert failing.value("up", "nobody") == 1
    assert failing.value("subscription_active", "nobody") == 0


def test_openmetrics_is_served_on_request(failing: Program) -> None:
    _, text = failing.get("/metrics", Accept=OPENMETRICS)
    assert text.endswith("# EOF\n")


def test_the_vendors_own_clients_read_what_the_metrics_say(tmp_path: Path) -> None:
    with Vendors() as vendors:
        first, second = vendors.add(videodb_account()), vendors.add(vidnavigator_account())
        accounts = [
            account(vendors, "db", "videodb", first, collect=["usage", "invoices", "auto_recharge"]),
            account(vendors, "nav", "vidnavigator", second),
        ]
        with running(f"--config.file={write_config(tmp_path / 'config.yaml', accounts)}") as program:
            program.ready()
            connection = videodb.connect(api_key=first, base_url=vendors.videodb_url)
            usage = connection.check_usage()
            assert program.value("credits_balance", "db") == usage["credit_balance"]
            assert program.value("credits_monthly_used", "db") == usage["usage_this_month"]
            for operation, credits in usage["breakdown"].items():
                assert program.value("credits_used_by_operation", "db", operation=operation) == credits
            assert program.value("invoice_last_amount", "db") == connection.get_invoices()[0]["amount"]

            client = vidnavigator.VidNavigatorClient(api_key=second, base_url=vendors.vidnavigator_url)
            data = client.get_usage().data
            assert program.value("credits_monthly_limit", "nav") == data.credits.monthly_total
            assert program.value("credits_monthly_remaining", "nav") == data.credits.monthly_remaining
            assert program.value("credits_purchased", "nav") == data.credits.purchased
            assert program.value("storage_used_bytes", "nav") == data.storage.used_bytes
            assert program.value("storage_limit_bytes", "nav") == data.storage.limit_bytes
            assert program.value("channels_indexed", "nav") == data.channels_indexed.used
            assert program.value("channels_limit", "nav") == data.channels_indexed.limit
