"""The page of one account in Debian's Chromium."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from exporter.providers.base import Price
from exporter.readings import NamedQuota, Quota
from exporter.state.sqlite import StateFile
from tests.status.conftest import DESKTOP, PHONE, OpenTab, Site, lived

pytestmark = pytest.mark.needs("chromium")
PAGE = "/accounts/vidnavigator/media"


@pytest.fixture
def site(remembering: Site, past: StateFile) -> Site:
    """Serve an account that has everything that a page can show."""
    (account,) = remembering.accounts("media", price=Price(0.5, "EUR"), labels={"team": "media"})
    lived(remembering, past, account, hours=22, rejected=("plan.name",))
    remembering.clock.advance(60)
    remembering.failed(account, "rate_limited", "HTTP 429: Too many requests. " + "x" * 200)
    return remembering


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop-light", "phone-dark"]
)
def test_axe_finds_no_barrier(tab: OpenTab, viewport: dict[str, int], scheme: str) -> None:
    page = tab(viewport=viewport, color_scheme=scheme).open(PAGE).page
    page.locator("summary").first.click()
    found = Axe().run(page)
    assert found.response["passes"], "axe did not run"
    assert found.violations_count == 0, found.generate_report()


def test_the_page_is_as_wide_as_the_screen_and_its_letters_keep_their_size(tab: OpenTab) -> None:
    page = tab().open(PAGE).page
    for width in (320, 390, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        letter = page.locator("svg.chart text").first.evaluate("text => getComputedStyle(text).fontSize")
        assert letter == "11px"
        inside = page.locator("svg.chart").evaluate_all(
            "all => all.every((svg) => svg.getBoundingClientRect().right <= document.documentElement.clientWidth)"
        )
        assert inside


@pytest.mark.parametrize("hours", [0, 63])
def test_no_label_of_the_time_lies_beyond_its_chart(tab: OpenTab, site: Site, past: StateFile, hours: int) -> None:
    account = site.make("other")
    site.serve([account])
    site.clock.advance(hours * 3600)
    lived(site, past, account, hours=26)
    page = tab().open("/accounts/vidnavigator/other").page
    for width in (320, 390, 705, 1020, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        beyond = page.locator("svg.chart").evaluate_all(
            """all => all.flatMap((chart) => [...chart.querySelectorAll(".grid text:not(.value)")].map((label) =>
                Math.round(label.getBoundingClientRect().right - chart.getBoundingClientRect().right)
            )).filter((pixels) => pixels > 0)"""
        )
        assert beyond == [], width


def test_long_names_and_texts_stay_on_the_screen(tab: OpenTab, site: Site, past: StateFile) -> None:
    name, quota = "W" * 200 + "\u202eabc", NamedQuota("Q" * 200, "u" * 100, Quota(1, 2, 1, 0.5))
    (account,) = site.accounts(name, labels={"team": "x" * 200})
    lived(site, past, account, hours=3, used_by_operation={"o" * 200: 1.0}, rejected=("f" * 300,), quotas=(quota,))
    page = tab(viewport={"width": 320, "height": 844}).open("/accounts/vidnavigator/" + quote(name)).page
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_a_screen_reader_meets_headings_pictures_and_tables(tab: OpenTab) -> None:
    page = tab().open(PAGE).page
    assert page.get_by_role("heading", level=2).all_inner_texts()[1:] == [
        *("Balance", "Spend", "Storage", "Channels", "Fields that could not be read", "Polls")
    ]
    expect(page.get_by_role("img", name="Balance, the last 8 days")).to_have_count(1)
    expect(page.get_by_role("table", name="The last 22 polls, newest first")).to_have_count(1)
    first = page.locator("figure details").first
    first.locator("summary").press("Enter")
    expect(first.get_by_role("table", name="Balance, the last 8 days")).to_be_visible()


def test_without_javascript_the_page_and_the_way_to_it_are_the_same(tab: OpenTab) -> None:
    page = tab(java_script_enabled=False).open("/").page
    page.get_by_role("link", name="media").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("media")
    expect(page.locator("svg.chart")).to_have_count(8)
    page.get_by_text("As a table").first.click()
    expect(page.get_by_role("cell", name="124", exact=True).first).to_be_visible()
    page.get_by_role("link", name="All accounts").click()
    expect(page.locator("svg.spark")).to_have_count(1)


def test_a_name_on_the_overview_leads_to_its_page_with_javascript_too(tab: OpenTab, site: Site) -> None:
    shown = tab().open("/")
    shown.page.get_by_role("link", name="media").click()
    expect(shown.page).to_have_url(site.url + PAGE)
    expect(shown.page.get_by_role("link", name="VideoApiRateLimited")).to_have_attribute(
        "href", "https://video-api-exporter.github.io/video-api-exporter/runbooks/#videoapiratelimited"
    )
