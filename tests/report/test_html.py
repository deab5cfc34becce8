"""The HTML file, which must load no other file."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.report.conftest import CLIPS, MEDIA, SEARCH, Reporter
from tests.report.lives import DAY, OCTOBER, World


@pytest.fixture
def page(accounts: World, reporter: Reporter) -> str:
    for day in range(-2, 20):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 500.0 - day * 2, used={"<script>alert(1)</script>": day * 2})
        accounts.poll(SEARCH, OCTOBER + day * DAY, 500.0 - day + (90 if day > 9 else 0))
        accounts.poll(CLIPS, OCTOBER + day * DAY, 5.5)
    return reporter("operation", "html", month="2026-10", now=OCTOBER + 20 * DAY)


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_well_formed_and_loads_no_other_file(page: str) -> None:
    elements = Elements(page)
    assert elements.open == []
    assert {name for name, _ in elements.attributes} & {"src", "href", "srcset", "action", "data", "style"} == set()
    assert not re.search(r"url\(|@import|https?://", page)
    names = [value for name, value in elements.attributes if name == "id"]
    assert len(names) == len(set(names))


def test_it_has_no_script_and_escapes_what_vendors_name(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_it_shows_money_apart_a_forecast_and_the_notes(page: str, reporter: Reporter) -> None:
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Cost 4.00 USD Expected by 31 Oct 2026 6.40 USD" in text
    assert "Cost 3.80 EUR Expected by 31 Oct 2026 6.20 EUR" in text
    assert "Credits without a price Spent" in text
    assert "31 Oct 2026 has not ended. The numbers are those until 20 Oct 2026, 00:00 UTC." in text
    assert "1 account has no price, so the cost is not known: videodb/clips." in text
    assert "11 Oct 2026 89 – credits vidnavigator/search" in text
    assert reporter.err == ""


def test_many_rows_are_one_colour_and_long_spans_have_a_bar_for_each_month(accounts: World, reporter: Reporter) -> None:
    used = {f"operation-{number}": 0.0 for number in range(9)}
    for day in range(-200, 3):
        used = {name: amount + number for number, (name, amount) in enumerate(used.items())}
        accounts.poll(MEDIA, OCTOBER + day * DAY, 9e5 - 40.0 * day, used=used)
    page = reporter("operation", "html", first="2026-05-01", last="2026-10-02")
    legend = re.findall(r'class="c(\d)"/></svg>([^<]+)</li>', page)
    assert legend == [*((str(n), f"operation-{9 - n}") for n in range(1, 6)), ("6", "4 others")]
    assert "Spent each month, in USD" in page
    assert page.count('class="hit"') == 6


@pytest.mark.needs("chromium")
def test_a_browser_shows_it_without_a_request_or_a_fault(page: str, folder: Path) -> None:
    (folder / "report.html").write_text(page)
    address = (folder / "report.html").as_uri()
    seen: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme, width in (("light", 1100), ("dark", 390)):
            tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]  # a scheme
            tab.on("request", lambda request: seen.append(request.url))
            tab.on("console", lambda message: seen.append(message.text))
            tab.goto(address)
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            violations = Axe().run(tab).response["violations"]
            assert [(found["id"], [node["html"] for node in found["nodes"]]) for found in violations] == []
        browser.close()
    assert seen == [address] * 2


def test_the_cost_of_a_team_is_one_sum_whatever_units_it_was_spent_in(
    accounts: World, reporter: Reporter, folder: Path
) -> None:
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("media}}\n", "media}, price: {amount: 0.5, currency: USD}}\n"))
    for day in range(3):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 100.0 - day)
        accounts.poll(SEARCH, OCTOBER + day * DAY, 100.0 - day)
        accounts.poll(CLIPS, OCTOBER + day * DAY, 100.0 - day, unit="minutes")
    text = " ".join(re.sub(r"<[^>]+>", " ", reporter("label:team", "html", month="2026-10")).split())
    assert "Team Cost in EUR Cost in USD search 0.40 – media – 1.20 " in text


def test_a_team_that_also_spent_without_a_price_is_marked_beside_its_money_and_money_has_a_total(
    accounts: World, reporter: Reporter, folder: Path
) -> None:
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(
        config.replace("EUR}}", "USD}}").replace("{team: search}", "{team: media}")
        + "- {name: more, provider: vidnavigator, api_key_env: KEY, labels: {team: extra},"
        + " price: {amount: 1, currency: USD}}\n"
    )
    for day in range(3):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 100.0 - day)
        accounts.poll(CLIPS, OCTOBER + day * DAY, 100.0 - day / 4)
        accounts.poll(("vidnavigator", "more"), OCTOBER + day * DAY, 100.0 - day)
    text = " ".join(re.sub(r"<[^>]+>", " ", reporter("label:team", "html", month="2026-10")).split())
    assert "Team Cost in USD extra 2.00 media + 0.50 credits without a price 0.20 Total 2.20 " in text


def test_the_file_has_every_account_that_a_note_is_about(accounts: World, reporter: Reporter, folder: Path) -> None:
    names = [f"extra-{number}" for number in range(8)]
    more = "".join(f"- {{name: {name}, provider: videodb, api_key_env: KEY}}\n" for name in names)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + more)
    for name in names:
        for day in range(3):
            accounts.poll(("videodb", name), OCTOBER + (day - 1) * DAY, 9.0 - day)
    notes = reporter("provider", "html", month="2026-10").partition("Read this first")[2].partition("</section>")[0]
    assert "and 3 more." in notes
    assert "<summary>The other 3</summary>" in notes
    assert all(f"videodb/{name}" in notes for name in names)
    assert "videodb/extra-7" not in reporter("provider", "csv", month="2026-10") + reporter.err


def test_a_chart_names_the_first_day_with_numbers(accounts: World, reporter: Reporter) -> None:
    for day in range(4, 8):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 9.0 - day)
    assert "in USD. Nothing is known before 5 Oct 2026.</figcaption>" in reporter("account", "html", month="2026-10")
    page = reporter("account", "html", first="2026-10-06", last="2026-10-07")
    assert "in USD</figcaption>" in page


def test_paper_is_never_dark(page: str) -> None:
    assert len(re.findall(r"@media screen and \(prefers-color-scheme: dark\)", page)) == 2
    assert page.count("prefers-color-scheme") == 2
