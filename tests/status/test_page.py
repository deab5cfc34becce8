"""The overview and its JSON, and the parameters of their queries."""

from __future__ import annotations

import gzip
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.metrics.view import View
from exporter.readings import AccountState, Failure, Period, Quota
from exporter.status.cells import row
from exporter.status.selection import SORTS, Selection
from exporter.status.summary import SEVERITIES, summary
from tests.conftest import START, FakeClock, MakeAccount
from tests.status.conftest import Site, usage

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def named(value: object) -> Iterator[str]:
    """Yield the name of every field in a JSON value, but those of labels, which users choose."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield name
            yield from named(below if name != "labels" else None)
    elif isinstance(value, list):
        for below in value:
            yield from named(below)


def fleet(site: Site) -> None:
    """Serve one account of each severity, the worst last, and one with nothing limited."""
    fine, unlimited, unknown, low, refused = site.serve(
        [
            site.make("fine", labels={"team": "media"}),
            site.make("unlimited"),
            site.make("unpolled"),
            site.make("low", "videodb", labels={"team": "search"}),
            site.make("refused"),
        ]
    )
    site.polled(fine, usage(60.0))
    site.polled(unlimited, usage(inf, monthly_limit=inf, storage=Quota(1e9, inf, inf, 0.0)))
    site.polled(low, usage(10.0))
    site.polled(refused, None, Failure("auth", "HTTP 401: no such key"))
    assert unknown.name == "unpolled"


class TestWords:
    def test_before_the_first_poll_the_page_says_so_and_shows_no_figure(self, site: Site) -> None:
        site.accounts("a", "b")
        page = site.get("/").text
        assert "No account has been polled yet" in page
        row = re.search(r"<tbody>(.*?)</tr>", page, re.S)
        assert row is not None
        texts = re.sub(r"<[^>]*>", " ", row[1])
        assert texts.count("not known") == 6 and "never" in texts
        assert not re.search(r"\d", texts)

    @pytest.mark.parametrize(
        ("reasons", "words"),
        [
            (("timeout", "connection"), "No vendor can be reached. Check the exporter's own network"),
            (("auth", "auth"), "failed for the same reason. The vendor does not know this key"),
            (("auth", "timeout"), "The last poll of every account failed, for several reasons."),
        ],
    )
    def test_when_all_accounts_fail_the_page_says_what_to_check_first(
        self, site: Site, reasons: tuple[str, ...], words: str
    ) -> None:
        for account, reason in zip(site.accounts("a", "b"), reasons, strict=True):
            site.polled(account, None, Failure(reason, "what happened"))
        assert words in site.get("/").text.replace("&#39;", "'")

    def test_there_is_no_notice_if_one_account_works(self, site: Site) -> None:
        first, second = site.accounts("a", "b")
        site.polled(first, usage())
        site.polled(second, None, Failure("auth", "HTTP 401"))
        assert 'class="notice"' not in site.get("/").text

    def test_a_failure_is_explained_with_the_time_of_the_last_good_response(self, site: Site) -> None:
        (account,) = site.accounts("a")
        site.polled(account, usage())
        site.clock.advance(90)
        site.failed(account, "server_error", "HTTP 502: Bad gateway.")
        page = site.get("/").text.replace("\N{NO-BREAK SPACE}", " ")
        assert "The vendor has an internal error." in page
        assert "HTTP 502: Bad gateway." in page
        assert "Last good response 2 min ago." in page
        assert "60 of 80 a month" in page

    def test_stale_figures_are_withdrawn_and_the_page_says_why(self, site: Site) -> None:
        (account,) = site.accounts("a", stale_after=180.0)
        site.polled(account, usage(balance=61.7))
        site.clock.advance(181)
        page = site.get("/").text
        assert "too old to be shown" in page
        assert "61.7" not in page

    def test_a_cooldown_is_shown_with_its_remaining_time(self, site: Site) -> None:
        (account,) = site.accounts("a")
        site.polled(account, usage(), cooldown_until=site.clock.wall() + 125)
        assert re.search(r">cool-down</time><small>2.min more<", site.get("/").text)

    def test_a_shard_without_accounts_says_so(self, clock: FakeClock, make_account: MakeAccount) -> None:
        site = Site(clock, make_account, shard_index=1, shard_count=3)
        try:
            page = site.get("/").text
        finally:
            site.server.stop(0.0)
        assert "This exporter polls no account, because none belongs to this shard." in page
        assert "video-api-exporter 1.2.3, shard 1 of 3" in page

    def test_the_page_links_to_metrics_json_and_health_with_relative_addresses(
        self, clock: FakeClock, make_account: MakeAccount
    ) -> None:
        site = Site(clock, make_account, telemetry_path="/deep/metrics")
        try:
            page = site.get("/").text
        finally:
            site.server.stop(0.0)
        for path in ("deep/metrics", "api/v1/accounts", "-/healthy", "-/ready"):
            assert f'href="{path}"' in page
        assert not re.search(r'(?:href|src|action)="(?:/|\w+:)', page)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a pure function
    @given(
        missing=st.sampled_from(["balance", "monthly_limit", "monthly_used", "subscription", "storage", "channels"]),
        balance=st.floats(0, 1e12),
    )
    def test_a_missing_field_is_never_shown_as_a_number(
        self, make_account: MakeAccount, missing: str, balance: float
    ) -> None:
        nothing: dict[str, Any] = {missing: None}
        reading = replace(usage(balance), **nothing)
        state = AccountState({"usage": reading}, polls=1, last_success=START)
        account = summary(View(make_account(), state, reading, None, None), START)
        shown = {classes.split()[0]: cell for classes, cell in row(account, START).columns}
        column = {"subscription": "plan", "monthly_used": "runway"}.get(missing, missing)
        if column in shown:
            assert shown[column].text in ("not known", "none") and shown[column].bar is None
        assert missing != "balance" or shown["runway"].text == "not known"
        assert not re.search(r"None|nan|inf", " ".join(f"{cell.text} {cell.note}" for cell in shown.values()))

    @pytest.mark.parametrize(
        ("balance", "used", "text"),
        [
            (None, 5.0, "not known"),
            (inf, 5.0, "unlimited"),
            (5.0, 0.0, "nothing spent yet"),
            (5.0, None, "not known"),
            (0.0, 5.0, "used up"),
            (5.0, 5.0, "2\N{NO-BREAK SPACE}h"),
        ],
    )
    def test_the_runway_is_the_time_until_the_balance_is_used_up(
        self, make_account: MakeAccount, balance: float | None, used: float | None, text: str
    ) -> None:
        reading = usage(balance, monthly_used=used, billing_period=Period(START - 7200, None))
        account = summary(View(make_account(), AccountState({"usage": reading}, polls=1), reading, None, None), START)
        assert dict(row(account, START).columns)["runway" + (" not-known" if text == "not known" else "")].text == text


class TestSelection:
    def test_what_needs_attention_comes_first(self, site: Site) -> None:
        fleet(site)
        assert site.get("/api/v1/accounts").accounts == ["refused", "low", "unpolled", "fine", "unlimited"]

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("q=MEDIA", ["fine"]),
            ("q=team%3Dsearch", ["low"]),
            ("q=401+refused", ["refused"]),
            ("q=nothing+like+it", []),
            ("provider=videodb", ["low"]),
            ("severity=unknown", ["unpolled"]),
            ("severity=ok&q=fine", ["fine"]),
            ("sort=account", ["fine", "low", "refused", "unlimited", "unpolled"]),
            ("sort=-account", ["unpolled", "unlimited", "refused", "low", "fine"]),
            ("sort=balance", ["low", "fine", "unlimited", "refused", "unpolled"]),
            ("sort=-balance", ["unlimited", "fine", "low", "refused", "unpolled"]),
            ("sort=storage", ["fine", "unlimited", "refused", "low", "unpolled"]),
            ("unknown=parameter&severity=critical", ["refused"]),
        ],
    )
    def test_query_parameters_filter_and_sort_page_and_json_alike(
        self, site: Site, query: str, names: list[str]
    ) -> None:
        fleet(site)
        assert site.get(f"/api/v1/accounts?{query}").accounts == names
        assert re.findall(r"<bdi>(.*?)</bdi>", site.get(f"/?{query}").text) == names

    @pytest.mark.parametrize("sort", [sign + name for name in SORTS for sign in ("", "-")])
    def test_every_order_sorts_accounts_with_unknown_values(self, site: Site, sort: str) -> None:
        fleet(site)
        assert len(site.get(f"/api/v1/accounts?sort={sort}").accounts) == 5
        assert f'<option value="{sort}" selected>' in site.get(f"/?sort={sort}").text

    @pytest.mark.parametrize("path", ["/", "/api/v1/accounts"])
    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("sort=size", "sort=size: must be one of attention, account,"),
            ("severity=bad", "severity=bad: must be one of critical, warning, unknown, ok"),
            ("page=0", "page=0: must be a whole number of at least 1"),
            ("page=%D9%A1", "page=\u0661: must be a whole number of at least 1"),
        ],
    )
    def test_a_wrong_parameter_is_refused_with_the_allowed_values(
        self, site: Site, path: str, query: str, message: str
    ) -> None:
        response = site.get(f"{path}?{query}")
        assert response.status == 400
        assert response.headers["Content-Type"].startswith("text/plain")
        assert message in response.text

    def test_if_nothing_matches_the_page_offers_to_show_everything(self, site: Site) -> None:
        fleet(site)
        page = site.get("/?q=zzz").text
        assert "No account matches." in page and "Show all 5" in page

    @given(
        st.builds(
            Selection,
            q=TEXTS.map(str.strip),
            severity=st.sampled_from(["", *SEVERITIES]),
            provider=TEXTS,
            sort=st.sampled_from([sign + name for name in SORTS for sign in ("", "-")]),
            page=st.integers(1, 999),
        )
    )
    def test_a_link_leads_to_the_selection_it_was_made_for(self, selection: Selection) -> None:
        link = selection.href(page=selection.page)
        assert Selection.parse(dict(parse_qsl(link.removeprefix("?")))) == selection

    def test_a_long_table_continues_on_a_second_page(self, site: Site) -> None:
        site.serve([site.make(f"account-{number:04}") for number in range(1003)])
        first, second = site.get("/?sort=account").text, site.get("/?sort=account&page=2").text
        assert first.count("<bdi>") == 1000 and second.count("<bdi>") == 3
        assert '<a id="page-after" href="?sort=account&amp;page=2">' in first
        assert "1001 to 1003 of 1003" in second and "page-after" not in second


class TestJson:
    def test_the_page_shows_its_time_and_the_version(self, site: Site) -> None:
        fleet(site)
        response = site.get("/api/v1/accounts")
        document = json.loads(response.body)
        assert response.headers["Content-Type"] == "application/json"
        assert document["generated"] == "2027-01-15T08:00:00Z"
        assert document["version"] == "1.2.3"
        assert document["shard"] == {"index": 0, "count": 1}

    def test_no_account_is_an_empty_list(self, site: Site) -> None:
        assert json.loads(site.get("/api/v1/accounts").body)["accounts"] == []

    @pytest.mark.parametrize("count", [199, 200, 401])
    def test_a_long_list_comes_in_pieces_and_is_whole(self, site: Site, count: int) -> None:
        names = [f"account-{number:04}" for number in range(count)]
        site.accounts(*names)
        response = site.get("/api/v1/accounts?sort=account", Accept_Encoding="gzip")
        assert [row["account"] for row in json.loads(gzip.decompress(response.body))["accounts"]] == names

    def test_unlimited_is_a_word_and_unknown_is_null(self, site: Site) -> None:
        fleet(site)
        rows = {row["account"]: row for row in json.loads(site.get("/api/v1/accounts").body)["accounts"]}
        assert rows["unlimited"]["credits"]["balance"] == "unlimited"
        assert rows["unlimited"]["storage"]["limit"] == "unlimited"
        assert rows["unpolled"]["credits"]["balance"] is None
        assert rows["unpolled"]["up"] is None

    def test_every_field_and_parameter_is_documented(self, site: Site) -> None:
        fleet(site)
        text = (Path(__file__).parents[2] / "docs" / "status-page.md").read_text()
        document = json.loads(site.get("/api/v1/accounts").body)
        fields = {field for row in document["accounts"] for field in named(row)} | set(document)
        missing = [
            name for name in (*fields, *SORTS, *SEVERITIES, *Selection.__dataclass_fields__) if f"`{name}`" not in text
        ]
        assert missing == []

    def test_names_in_any_script_are_shown_unchanged(self, site: Site) -> None:
        names = ["<b>\"&'", "\u202eevil\u2066", "\U0001f600" * 256, "\u05d0\u05d1", "lone \ud800"]
        site.accounts(*names)
        assert set(site.get("/api/v1/accounts").accounts) == set(names)
        assert site.get("/").status == 200


class TestHttp:
    @pytest.mark.parametrize("path", ["/", "/api/v1/accounts"])
    def test_the_response_is_compressed_if_the_client_accepts_gzip(self, site: Site, path: str) -> None:
        fleet(site)
        plain, packed = site.get(path), site.get(path, Accept_Encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
        assert gzip.decompress(packed.body) == plain.body
        assert plain.headers["Vary"] == packed.headers["Vary"] == "accept-encoding"

    def test_browsers_cache_files_whose_address_changes_with_the_content(self, site: Site) -> None:
        for path in re.findall(r'(?:href|src)="(static/[^"]+\?v=[0-9a-f]{12})"', site.get("/").text):
            response = site.get("/" + path)
            assert response.status == 200
            assert response.headers["Cache-Control"] == "max-age=31536000, immutable"
        assert site.get("/static/").status == site.get("/static/../page.py").status == 404

    def test_the_page_needs_no_inline_script_or_style(self, site: Site) -> None:
        fleet(site)
        page = site.get("/").text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
        assert "script-src 'self'" in site.get("/").headers["Content-Security-Policy"]

    def test_no_key_appears_on_the_page_or_in_the_json(self, site: Site) -> None:
        key = secrets.token_hex(16)
        site.serve([site.make("a", key=key)])
        assert key not in site.get("/").text + site.get("/api/v1/accounts").text
