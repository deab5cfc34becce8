"""The page of one account, and the data that it reads from the state."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from math import inf
from pathlib import Path

import pytest
import yaml

from exporter.charts.axes import date_text
from exporter.providers.base import Price
from exporter.readings import AutoRecharge, Failure, Invoices, Kept, Ledger, NamedQuota, Period, Pool, Quota, Series
from exporter.state.base import DAY
from exporter.state.sqlite import StateFile
from exporter.status import account as account_page
from exporter.status import summary
from exporter.status.account import RUNBOOKS
from tests.conftest import START, FakeClock, MakeAccount
from tests.status.conftest import Site, lived, usage

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"


def text_of(page: str) -> str:
    """Return the words of a page, without its markup."""
    words = (
        re.sub(r"<[^>]*>", " ", page).replace("&nbsp;", " ").replace("&#39;", "'").replace("\N{NO-BREAK SPACE}", " ")
    )
    return re.sub(r"\s+", " ", words)


def body(page: str, caption: str) -> list[list[str]]:
    """Return the rows of the table with a caption."""
    table = re.search(rf"<caption>{re.escape(caption)}</caption>.*?<tbody>(.*?)</tbody>", page, re.S)
    assert table is not None, caption
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table[1], re.S)
    return [[text_of(cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)] for row in rows]


def since() -> str:
    """Return the day of the first reading."""
    return date_text(START, exact=False)


class TestWords:
    def test_the_page_says_what_the_account_is_and_which_alert_that_means(self, site: Site) -> None:
        (account,) = site.accounts("media", labels={"team": "media"})
        site.polled(account, usage(10.0))
        site.failed(account, "server_error", "HTTP 502: Bad gateway.")
        page = site.get("/accounts/vidnavigator/media").text
        assert "<title>media, Warning " in page
        words = text_of(page)
        assert "Credits are below the warning level of 16. VideoApiCreditsLow" in words
        assert "The vendor has an internal error. VideoApiPollFailing" in words
        assert "HTTP 502: Bad gateway. Last good response just now." in words
        assert "team=media" in words and "10 of 80 a month" in words
        assert f'href="{RUNBOOKS}videoapicreditslow"' in page

    def test_every_alert_that_a_page_can_name_is_a_rule_with_that_runbook(self) -> None:
        rules = [
            rule
            for path in RULES.glob("*.yml")
            for group in yaml.safe_load(path.read_text())["groups"]
            for rule in group["rules"]
        ]
        runbooks = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
        sources = [Path(summary.__file__), Path(account_page.__file__)]
        named = {name for path in sources for name in re.findall(r'"(VideoApi\w+)"', path.read_text())}
        named |= {f"VideoApi{kind}NearLimit" for kind in ("Storage", "Channels", "Quota")}
        assert len(named) > 15
        assert {name: RUNBOOKS + name.lower() for name in named} == {name: runbooks[name] for name in named}

    def test_money_is_shown_beside_credits_if_a_price_is_set(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media", price=Price(0.5, "EUR"))
        lived(remembering, past, account)
        page = remembering.get("/accounts/vidnavigator/media").text
        words = text_of(page)
        assert "Price of a credit 0.5 EUR" in words and "Balance in money 58.00 EUR" in words
        assert body(page, "Spent, added and lapsed, in credits")[-1] == [
            *(f"Since {since()}", "27", "13.50 EUR", "94", "51")
        ]

    def test_a_price_is_of_the_unit_that_the_account_counts_in(self, site: Site) -> None:
        (account,) = site.accounts("media", price=Price(0.0002, "EUR"))
        site.polled(account, usage(unit="characters"))
        assert "Price of one (characters) 0.0002 EUR" in text_of(site.get("/accounts/vidnavigator/media").text)

    def test_a_balance_that_is_money_already_is_not_priced_again(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media", price=Price(1.0, "USD"))
        lived(remembering, past, account, unit="USD")
        page = remembering.get("/accounts/vidnavigator/media").text
        assert "Spent, added and lapsed, in USD" in page
        assert "Money" not in page and "Price of a credit" not in page

    @pytest.mark.parametrize(
        ("recharge", "words"),
        [
            (AutoRecharge(True, 25.0, 200.0), "Auto recharge 200 below 25"),
            (AutoRecharge(True), "Auto recharge on"),
            (AutoRecharge(False, 25.0, 200.0), "Auto recharge off"),
        ],
    )
    def test_invoices_and_recharges_are_shown(self, site: Site, recharge: AutoRecharge, words: str) -> None:
        account = site.make("media", "videodb")
        site.serve([account])
        parts = {"usage": usage(), "invoices": Invoices({"paid": 1}, 200.0, "usd", "paid"), "auto_recharge": recharge}
        site.polled(account, usage(), parts=parts, part_times=dict.fromkeys(parts, site.clock.wall()))
        page = text_of(site.get("/accounts/videodb/media").text)
        assert words in page and "Newest invoice paid, 200.00 USD" in page

    def test_fields_that_could_not_be_read_are_named(self, site: Site) -> None:
        (account,) = site.accounts("media")
        site.polled(account, usage(rejected=("credits.balance", "plan <i>")))
        page = site.get("/accounts/vidnavigator/media").text
        assert "<li><code>credits.balance</code></li>" in page and "plan &lt;i&gt;" in page

    def test_named_quotas_are_a_table_with_when_they_end(self, site: Site) -> None:
        (account,) = site.accounts("media")
        ends = site.clock.wall() + 3600
        quotas = (
            NamedQuota("voices", "voices", Quota(18, 20, 2, 0.9), resets_at=ends),
            NamedQuota("pack", "credits", Quota(None, None, 40, None), expires_at=ends),
            NamedQuota("exports", "files", Quota(None, inf, None, None)),
            NamedQuota("seats", "seats", Quota(None, 5, None, None)),
            NamedQuota("clips", "files", Quota(3, inf, inf, None)),
        )
        site.polled(account, usage(quotas=quotas))
        assert body(site.get("/accounts/vidnavigator/media").text, "Named quotas") == [
            ["voices (voices)", "18 of 20", "2", "refilled in 1 h"],
            ["pack (credits)", "not known", "40", "expires in 1 h"],
            ["exports (files)", "not known, without a limit", "unlimited", ""],
            ["seats (seats)", "not known, the limit is 5", "not known", ""],
            ["clips (files)", "3, without a limit", "unlimited", ""],
        ]
        assert "clips: 3 files, unlimited" in text_of(site.get("/").text)

    def test_an_account_that_was_never_polled_has_a_page(self, site: Site) -> None:
        site.accounts("media")
        words = text_of(site.get("/accounts/vidnavigator/media").text)
        assert "Unknown" in words and "Not polled yet." in words and "none yet" in words


class TestHistory:
    def test_the_charts_have_their_values_as_tables(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account)
        page = remembering.get("/accounts/vidnavigator/media").text
        assert page.count('class="chart" role="img"') == page.count("<summary>As a table</summary>") == 8
        balances = body(page, "Balance, the last 8 days")
        assert len(balances) == 30
        assert balances[0][1] == "116" and balances[-1][1] == "100"
        hours = body(page, "Spend of each hour, the last 8 days")
        assert [row[1:] for row in hours if row[2] != "0"] == [["0", "34", "0"], ["0", "60", "51"]]
        assert sum(float(row[1]) for row in hours) == 27
        assert sum(float(row[1]) for row in body(page, f"Spend of each day, since {since()}")) == 27

    def test_top_ups_and_resets_are_marked(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account)
        page = remembering.get("/accounts/vidnavigator/media").text
        assert re.search(r'class="mark reset">.*?<title>[^<]*: new period, 60 added, 51 lapsed</title>', page)
        assert re.search(r'class="mark added">.*?<title>[^<]*: \d+ added</title>', page)

    def test_the_balance_goes_on_to_the_end_of_the_period(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        period = Period(START - 10 * DAY, START + 2 * DAY)
        lived(remembering, past, account, hours=3, billing_period=period, monthly_used=60.0)
        page = remembering.get("/accounts/vidnavigator/media").text
        ahead = re.findall(r'class="ahead" d="M(\d+) (\d+)L(\d+) (\d+)"', page)
        assert len(ahead) == 2
        for begin, high, end, low in ahead:
            assert int(begin) < int(end) and int(high) < int(low), "it falls"
        assert page.count(": the period ends</title>") == 2
        assert "The dotted line goes on" in page

    @pytest.mark.parametrize("period", [Period(end=START + 2 * DAY), Period(START - 10 * DAY, START + 90 * DAY)])
    def test_no_dotted_line_is_drawn_or_explained_without_a_start_or_to_an_end_far_away(
        self, remembering: Site, past: StateFile, period: Period
    ) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account, hours=3, billing_period=period, monthly_used=60.0)
        page = remembering.get("/accounts/vidnavigator/media").text
        assert "a new period." in page
        assert 'class="ahead"' not in page and "dotted line" not in page

    def test_an_operation_that_no_bar_has_room_for_is_among_the_others(
        self, remembering: Site, past: StateFile
    ) -> None:
        (account,) = remembering.accounts("media")
        for hour in range(3):
            split = {f"operation-{number}": float(hour * (10 - number)) for number in range(8)}
            spent = 2.0 * sum(split.values())
            reading = usage(1000.0 - spent, used_by_operation=split, pools={"monthly": Pool(1000.0 - spent)})
            ledger = Ledger(Decimal(str(spent)), pools=reading.pools)
            remembering.polled(account, reading, ledger=ledger)
            past.save(account.id, remembering.store.state(account.id))
            remembering.clock.advance(3600)
        page = remembering.get("/accounts/vidnavigator/media").text
        rows = body(page, "Use by operation, in credits")
        assert rows[0][0] == "operation-0" and rows[-1] == ["not split by operation", "104", "104", "50 %"]
        assert "others 64" in page, "3 operations without a colour, and what no operation tells of"

    @pytest.mark.parametrize("spent", [0, 104, 400])
    def test_bars_table_and_description_show_the_same_spend(
        self, remembering: Site, past: StateFile, spent: int
    ) -> None:
        (account,) = remembering.accounts("media")
        for hour in range(3):
            split = {f"operation-{number}": float(hour * (9 - number)) for number in range(8)}
            reading = usage(inf, monthly_limit=inf, used_by_operation=split, pools={})
            remembering.polled(account, reading, ledger=Ledger(Decimal(spent * hour) / 2))
            past.save(account.id, remembering.store.state(account.id))
            remembering.clock.advance(3600)
        page = remembering.get("/accounts/vidnavigator/media").text
        each = max(44, spent // 2)
        rows = body(page, "Spend of each hour, the last 8 days")
        assert [row[1] for row in rows] == [str(each), str(each)]
        assert f">{2 * each} in all.</desc>" in page
        assert page.count(f"UTC: {each} (operation-0 9, ") == 2
        assert page.count(f", others {each - 35})") == 2

    def test_use_is_split_by_operation(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account)
        rows = body(remembering.get("/accounts/vidnavigator/media").text, "Use by operation, in credits")
        assert [row[0] for row in rows] == ["search", "scene &lt;b&gt;"]
        assert [row[-1] for row in rows] == ["75 %", "25 %"]

    def test_the_last_polls_are_listed_with_their_outcome(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account)
        rows = body(remembering.get("/accounts/vidnavigator/media").text, "The last 30 polls, newest first")
        assert rows[0][1:] == ["0.25 s", "good", "200", ""]
        assert rows[5][1:] == ["0.25 s", "server_error", "502", "HTTP 502: Bad &lt;gateway&gt;."]

    def test_the_paces_say_how_long_the_balance_lasts(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account)
        caption = "How long the balance lasts at the spend of the last hours and days"
        paces = body(remembering.get("/accounts/vidnavigator/media").text, caption)
        assert [row[:2] for row in paces] == [["Last hour", "1"], ["Last 6 hours", "6"], ["Last day", "22"]]
        assert paces[0][2] == "4 d 20 h"

    def test_an_unlimited_balance_has_no_chart_and_no_end(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        state = lived(remembering, past, account, hours=3)
        assert state.usage is not None
        for _ in range(3):
            remembering.clock.advance(3600)
            remembering.polled(account, usage(inf, monthly_limit=inf, pools={}))
            past.save(account.id, remembering.store.state(account.id))
        page = remembering.get("/accounts/vidnavigator/media").text
        assert "unlimited" in page and not re.search(r"\binf", text_of(page))
        assert "Spent, added and lapsed" not in page

    def test_before_the_second_hour_the_page_says_when_charts_begin(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account, hours=1)
        assert "Charts begin with the second hour." in remembering.get("/accounts/vidnavigator/media").text
        remembering.kept = Kept(hourly=0.0)
        assert "Charts begin with the second day." in remembering.get("/accounts/vidnavigator/media").text

    def test_the_page_says_if_the_configuration_keeps_no_history(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        past.kept = remembering.kept = Kept(0.0, 0.0)
        lived(remembering, past, account, hours=3)
        page = remembering.get("/accounts/vidnavigator/media").text
        assert "the configuration keeps no history" in page and "Charts begin" not in page


class TestState:
    def test_without_a_state_the_page_is_served_and_says_what_the_history_needs(
        self, clock: FakeClock, make_account: MakeAccount
    ) -> None:
        site = Site(clock, make_account)
        (account,) = site.accounts("media")
        site.polled(account, usage())
        try:
            page, table = site.get("/accounts/vidnavigator/media"), site.get("/accounts/vidnavigator/media?format=csv")
        finally:
            site.server.stop(0.0)
        assert page.status == 200 and "Set state.path or state.url in the configuration" in page.text
        assert 'class="chart"' not in page.text and "60 of 80 a month" in page.text
        assert (table.status, table.text) == (
            503,
            "The history needs a state. Set state.path or state.url in the configuration and restart the exporter.\n",
        )

    def test_a_state_that_cannot_be_read_gives_the_page_without_charts(
        self, remembering: Site, past: StateFile, caplog: pytest.LogCaptureFixture
    ) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account, hours=2)
        past.close()
        past.path.write_bytes(b"no database" * 1000)
        page = remembering.get("/accounts/vidnavigator/media")
        assert page.status == 200
        assert "The history cannot be read from the state now." in page.text.replace("&#39;", "'")
        assert 'class="spark"' not in remembering.get("/").text
        assert len([record for record in caplog.records if "reading the history failed" in record.message]) == 1

    def test_a_state_without_history_gives_the_page_without_charts(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account, hours=2)
        past.write(lambda db: db.execute("DROP TABLE history"))
        assert "The history cannot be read" in remembering.get("/accounts/vidnavigator/media").text

    def test_the_page_does_not_wait_for_a_writer(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account, hours=3)
        with closing(sqlite3.connect(past.path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM history")
            page = remembering.get("/accounts/vidnavigator/media").text
        assert len(body(page, "Balance, the last 8 days")) == 3

    def test_the_csv_has_a_row_for_each_reading(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account, unit="=credits")
        response = remembering.get("/accounts/vidnavigator/media?format=csv")
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert [row["span"] for row in rows] == ["hour"] * 30 + ["day"] * 2
        newest = rows[29]
        assert newest["balance"] == "116.0" and newest["spent_total"] == "27.0"
        assert newest["used search"] == "6.75"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", newest["time"])
        assert newest["unit"] == "'=credits", "a spreadsheet would run it"

    def test_the_csv_names_its_file(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts('Größe "1"/b')
        lived(remembering, past, account, hours=1)
        (link,) = re.findall(r'href="(accounts/[^"]+)"', remembering.get("/").text)
        header = remembering.get(f"/{link}?format=csv").headers["Content-Disposition"]
        assert header == "attachment; filename*=UTF-8''vidnavigator-Gr%C3%B6%C3%9Fe%20%221%22%2Fb.csv"

    def test_the_csv_says_unlimited_and_marks_the_period(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        remembering.polled(account, usage(inf), ledger=Ledger(pools={"monthly": Pool(inf, inf, START + DAY)}))
        past.save(account.id, remembering.store.state(account.id))
        row = next(csv.DictReader(io.StringIO(remembering.get("/accounts/vidnavigator/media?format=csv").text)))
        assert row["balance"] == "unlimited"
        assert row["period"] == "2027-01-16T08:00:00Z" and "period_start" not in row


class TestAddress:
    def test_an_account_that_is_not_served_is_404_with_a_sentence(self, site: Site) -> None:
        site.accounts("media")
        for path in ("videodb/media", "vidnavigator/other", "vidnavigator", "", "vidnavigator/media/"):
            response = site.get(f"/accounts/{path}")
            assert response.status == 404
            assert response.text.startswith("404 Not Found: this exporter serves no such account.")
        assert site.get("/accounts").status == 404

    @pytest.mark.parametrize("name", ["a/b", "50% off?", "Größe #1", "<b>&amp;"])
    def test_a_name_of_any_characters_has_a_page_that_the_overview_links_to(self, site: Site, name: str) -> None:
        site.accounts(name)
        (link,) = re.findall(r'href="(accounts/[^"]+)"', site.get("/").text)
        page = site.get("/" + link)
        assert page.status == 200
        for path in re.findall(r'(?:href|src)="\.\./\.\./([^"]+)"', page.text):
            assert site.get("/" + path).status in (200, 404) and not path.startswith("/")

    def test_another_format_is_400(self, site: Site) -> None:
        site.accounts("media")
        response = site.get("/accounts/vidnavigator/media?format=pdf")
        assert (response.status, response.text) == (400, "format=pdf: must be html or csv\n")

    def test_no_key_is_on_the_page(self, remembering: Site, past: StateFile) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account)
        for path in ("", "?format=csv"):
            assert account.key.secret not in remembering.get(f"/accounts/vidnavigator/media{path}").text


class TestOverview:
    def test_each_row_has_a_line_of_its_last_week(self, remembering: Site, past: StateFile) -> None:
        media, quiet = remembering.accounts("media", "quiet")
        lived(remembering, past, media)
        remembering.polled(quiet, None, Failure("auth", "HTTP 401"))
        page = remembering.get("/").text
        assert re.findall(r'class="spark"[^>]*aria-label="([^"]*)"', page) == [
            "Balance in the last week: from 100 to 116"
        ]

    def test_with_many_rows_the_line_has_a_point_for_each_day(
        self, remembering: Site, past: StateFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (account,) = remembering.accounts("media")
        lived(remembering, past, account)

        def points() -> int:
            line = re.search(r'class="spark".*? d="([^"]*)"', remembering.get("/").text)
            return 0 if line is None else line[1].count("L") + 1

        assert points() == 30
        monkeypatch.setattr("exporter.status.page._DETAILED_ROWS", 0)
        assert points() == 2

    def test_the_history_is_read_only_for_the_rows_that_are_shown(
        self, remembering: Site, past: StateFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for account in remembering.accounts("a", "b", "c"):
            lived(remembering, past, account, hours=3)
        monkeypatch.setattr("exporter.status.page.ROWS", 2)
        assert remembering.get("/?sort=account").text.count('class="spark"') == 2
        assert remembering.get("/?sort=account&page=2").text.count('class="spark"') == 1


@pytest.mark.parametrize(
    ("days", "words", "begin"),
    [(5, "since 10 Jan 2027", 30), (60, "since 16 Nov 2026", 60), (500, "the last 13 months", 400)],
)
def test_charts_of_days_begin_with_the_first_reading_but_show_a_month_at_least(
    days: int, words: str, begin: int
) -> None:
    readings = Series(at=[int(START - days * DAY)], unit=["credits"])
    _, months = account_page._parts(account_page.AccountPast(days=readings), START)
    assert (months.words, months.begin) == (words, START - begin * DAY)
