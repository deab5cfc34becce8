"""The overview in Debian's Chromium, as people see and use it."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from exporter.readings import Failure, Quota
from tests.status.conftest import DESKTOP, PHONE, OpenTab, Site, usage

pytestmark = pytest.mark.needs("chromium")
MARKUP = """<img src=x onerror="document.title='owned'"></th></table><script>alert(1)</script>'&amp;{{7*7}}"""


def fleet(site: Site) -> None:
    """Serve accounts of every kind, the worst last."""
    accounts = site.serve(
        [
            site.make("fine", labels={"team": "media"}),
            site.make("unlimited"),
            site.make("unpolled"),
            site.make("filling"),
            site.make("low", "videodb", labels={"team": "search"}),
            site.make("failing"),
            site.make("refused"),
        ]
    )
    fine, unlimited, _, filling, low, failing, refused = accounts
    site.polled(fine, usage(60.0))
    site.polled(unlimited, usage(float("inf"), monthly_limit=float("inf"), channels=Quota(3, float("inf"), None, 0.0)))
    site.polled(filling, usage(50.0, storage=Quota(85.0, 100.0, 15.0, 0.85)))
    site.polled(low, usage(10.0))
    site.polled(failing, usage(70.0), cooldown_until=site.clock.wall() + 60)
    site.failed(failing, "rate_limited", "HTTP 429: Too many requests.")
    site.polled(refused, None, Failure("auth", "HTTP 401: The API key is not valid."))


WORST_FIRST = ("refused", "low", "filling", "failing", "unpolled", "fine", "unlimited")


def test_what_needs_attention_is_at_the_top(site: Site, tab: OpenTab) -> None:
    fleet(site)
    shown = tab().open()
    shown.shows(*WORST_FIRST)
    expect(shown.page).to_have_title(re.compile("^1 critical, 3 warning, 1 unknown "))


def test_typing_filters_in_place(site: Site, tab: OpenTab) -> None:
    fleet(site)
    shown = tab().open()
    shown.mark()
    search = shown.page.get_by_label("Find")
    search.press_sequentially("team=media")
    shown.shows("fine")
    expect(search).to_be_focused()
    expect(search).to_have_value("team=media")
    expect(shown.page).to_have_url(re.compile("q=team%3Dmedia$"))
    search.fill("")
    shown.shows(*WORST_FIRST)
    assert shown.is_the_same_document()


def test_a_severity_is_filtered_by_its_count_and_kept_while_typing(site: Site, tab: OpenTab) -> None:
    fleet(site)
    shown = tab().open()
    shown.page.get_by_role("link", name="3 Warning").click()
    shown.shows("low", "filling", "failing")
    expect(shown.page.get_by_role("link", name="3 Warning")).to_have_attribute("aria-current", "true")
    shown.page.get_by_label("Find").fill("429")
    shown.shows("failing")
    shown.page.get_by_label("Find").fill("")
    shown.page.get_by_role("combobox", name="Provider").select_option("videodb")
    shown.shows("low")


def test_if_nothing_matches_one_click_shows_everything_again(site: Site, tab: OpenTab) -> None:
    fleet(site)
    shown = tab().open()
    shown.page.get_by_label("Find").fill("no such thing")
    shown.page.get_by_role("link", name="Show all 7").click()
    shown.shows(*WORST_FIRST)
    expect(shown.page.get_by_label("Find")).to_have_value("")


def test_a_heading_sorts_and_a_second_press_reverses(site: Site, tab: OpenTab) -> None:
    fleet(site)
    shown = tab().open()
    shown.mark()
    heading = shown.page.get_by_role("link", name="Balance")
    heading.focus()
    shown.page.keyboard.press("Enter")
    shown.shows("low", "filling", "fine", "failing", "unlimited", "refused", "unpolled")
    expect(shown.page.get_by_role("columnheader", name="Balance")).to_have_attribute("aria-sort", "ascending")
    expect(heading).to_be_focused()
    shown.page.keyboard.press("Enter")
    shown.shows("unlimited", "failing", "fine", "filling", "low", "refused", "unpolled")
    expect(shown.page.get_by_role("columnheader", name="Balance")).to_have_attribute("aria-sort", "descending")
    expect(shown.page.get_by_role("combobox", name="Sort by")).to_have_value("-balance")
    shown.page.get_by_role("combobox", name="Sort by").select_option("attention")
    shown.shows(*WORST_FIRST)
    assert shown.is_the_same_document()


def test_the_page_refreshes_in_place(site: Site, tab: OpenTab) -> None:
    (account,) = site.accounts("a")
    site.polled(account, usage(60.0))
    shown = tab()
    shown.page.clock.install()
    shown.open("/?sort=account")
    shown.mark()
    expect(shown.page.locator("td.balance")).to_contain_text("60 of 80")
    site.polled(account, usage(59.0))
    shown.page.clock.fast_forward(15_000)
    expect(shown.page.locator("td.balance")).to_contain_text("59 of 80")
    expect(shown.page).to_have_url(re.compile(r"\?sort=account$"))
    assert shown.is_the_same_document()


def test_the_page_does_not_refresh_while_paused_or_while_text_is_selected(site: Site, tab: OpenTab) -> None:
    (account,) = site.accounts("a")
    site.polled(account, usage(60.0))
    shown = tab()
    shown.page.clock.install()
    shown.open()
    pause = shown.page.get_by_role("button", name="Pause")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    before = len(shown.requests)
    shown.page.clock.fast_forward(60_000)
    assert len(shown.requests) == before
    site.clock.advance(1)
    pause.click()
    expect(shown.page.locator("caption")).to_contain_text("08:00:01")
    shown.names.select_text()
    shown.page.clock.fast_forward(60_000)
    assert shown.page.evaluate("getSelection().toString()") == "a"
    assert len(shown.requests) == before + 1
    site.clock.advance(1)
    shown.page.evaluate("getSelection().removeAllRanges()")
    shown.page.clock.fast_forward(15_000)
    expect(shown.page.locator("caption")).to_contain_text("08:00:02")


def test_the_page_says_that_it_is_out_of_date_when_the_exporter_stops(site: Site, tab: OpenTab) -> None:
    site.accounts("a")
    shown = tab()
    shown.page.clock.install()
    shown.open()
    site.server.stop(0.0)
    shown.page.clock.fast_forward(15_000)
    expect(shown.page.get_by_role("alert")).to_contain_text("This page is out of date")
    shown.shows("a")
    assert all("ERR_CONNECTION_REFUSED" in complaint for complaint in shown.complaints)
    shown.complaints.clear()


def test_markup_in_a_name_a_label_or_an_error_is_text(site: Site, tab: OpenTab) -> None:
    (account,) = site.accounts(MARKUP, labels={"team": MARKUP})
    site.polled(account, None, Failure("invalid_response", MARKUP))
    shown = tab().open()
    shown.shows(MARKUP)
    expect(shown.page.locator("td code")).to_have_text(MARKUP)
    expect(shown.page.locator("th .labels")).to_have_text("team=" + MARKUP)
    shown.page.get_by_label("Find").fill(MARKUP[:30])
    expect(shown.page).to_have_url(re.compile("q=%3Cimg"))
    shown.shows(MARKUP)
    assert shown.page.locator("img, script:not([src])").count() == 0
    expect(shown.page).to_have_title(re.compile("^1 warning "))


@pytest.mark.parametrize("width", [320, 390, 1024, 1440])
def test_long_and_right_to_left_names_stay_inside_their_cells(site: Site, tab: OpenTab, width: int) -> None:
    long, wide, arabic, turned = "W" * 256, "\U0001f9ff" * 256, "\u0639" * 256, "\u202eabc"
    for account in site.accounts(long, wide, arabic, turned, labels={"team": "\u202e" + "x" * 200}):
        site.polled(account, None, Failure("connection", "/" * 300))
    shown = tab(viewport={"width": width, "height": 6000}).open("/?sort=account")
    expect(shown.names).to_have_count(4)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    cut = shown.page.locator("tbody th, tbody td").evaluate_all(
        "cells => cells.filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)"
    )
    assert cut == []
    # The override in the name turns nothing around but the name.
    row = shown.page.get_by_role("row").filter(has_text="abc")
    name, provider = row.locator("bdi").bounding_box(), row.locator("small").first.bounding_box()
    assert name is not None and provider is not None
    assert name["x"] == pytest.approx(provider["x"], abs=1)


def test_on_a_phone_every_figure_has_its_label(site: Site, tab: OpenTab) -> None:
    fleet(site)
    shown = tab(viewport=PHONE, is_mobile=True).open()
    assert shown.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    expect(shown.page.locator("thead")).to_be_hidden()
    labels = (
        shown.page.locator("tbody tr")
        .first.locator("td:not(.state)")
        .evaluate_all("cells => cells.map((cell) => getComputedStyle(cell, '::before').content)")
    )
    assert labels == [
        f'"{name}"' for name in ("Plan", "Balance", "Runway", "Storage", "Channels", "Last poll", "Next poll")
    ]
    shown.page.get_by_role("combobox", name="Sort by").select_option("runway")
    expect(shown.names.first).to_have_text("low")


def test_without_javascript_forms_and_links_do_the_same(site: Site, tab: OpenTab) -> None:
    fleet(site)
    shown = tab(java_script_enabled=False).open()
    shown.shows(*WORST_FIRST)
    expect(shown.page.get_by_role("button", name="Pause")).to_be_hidden()
    shown.page.get_by_label("Find").fill("vidnavigator")
    shown.page.get_by_role("combobox", name="Sort by").select_option("account")
    shown.page.get_by_role("button", name="Apply").click()
    shown.shows("failing", "filling", "fine", "refused", "unlimited", "unpolled")
    shown.page.get_by_role("link", name="2 OK").click()
    shown.shows("fine", "unlimited")
    shown.page.get_by_role("link", name="Balance").click()
    shown.page.get_by_role("link", name="Balance").click()
    shown.shows("unlimited", "fine")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_barrier(site: Site, tab: OpenTab, scheme: str, viewport: dict[str, int]) -> None:
    fleet(site)
    shown = tab(viewport=viewport, color_scheme=scheme).open("/?sort=account")
    found = Axe().run(shown.page)
    assert found.response["passes"], "axe did not run"
    assert found.violations_count == 0, found.generate_report()


def test_axe_finds_no_barrier_on_an_empty_page(site: Site, tab: OpenTab) -> None:
    assert Axe().run(tab().open().page).violations_count == 0
    site.accounts("a", "b")
    assert Axe().run(tab().open("/?q=zzz").page).violations_count == 0


def test_the_dark_scheme_is_dark(site: Site, tab: OpenTab) -> None:
    def brightness(scheme: str) -> int:
        page = tab(color_scheme=scheme).open().page
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)))

    assert brightness("light") > 600 > 150 > brightness("dark")


def test_severity_is_a_word_and_a_shape_and_not_a_colour_alone(site: Site, tab: OpenTab) -> None:
    fleet(site)
    page = tab().open().page
    badges = page.locator("td.state b")
    shapes = badges.evaluate_all("all => all.map((b) => [b.textContent, getComputedStyle(b, '::before').clipPath])")
    assert {word for word, _ in shapes} == {"Critical", "Warning", "Unknown", "OK"}
    assert len({shape for _, shape in shapes}) == 4


def test_the_table_stays_a_table_for_screen_readers(site: Site, tab: OpenTab) -> None:
    fleet(site)
    for viewport in (DESKTOP, PHONE):
        page = tab(viewport=viewport).open().page
        expect(page.get_by_role("table")).to_have_count(1)
        expect(page.get_by_role("rowheader", name="refused")).to_have_count(1)
        expect(page.get_by_role("row", name="refused").get_by_role("cell")).to_have_count(8)


def test_the_browser_lays_out_only_the_visible_accounts_of_a_thousand(site: Site, tab: OpenTab) -> None:
    for account in site.serve([site.make(f"account-{number:04}") for number in range(1000)]):
        site.polled(account, usage(60.0))
    shown = tab().open()
    expect(shown.names).to_have_count(1000)
    devtools = shown.page.context.new_cdp_session(shown.page)
    devtools.send("Performance.enable")
    metrics = {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}
    # 50,000 when all of them are; the time that a thousand take is measured in bench/.
    assert metrics["LayoutObjects"] < 8_000
    assert metrics["Nodes"] < 60_000
    # Not by the End key: rows that come into view get their real height, and the end moves on.
    shown.page.locator("tbody tr").last.scroll_into_view_if_needed()
    expect(shown.page.locator("tbody tr").last).to_be_in_viewport()
