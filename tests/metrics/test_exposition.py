"""A page is complete and of one moment, and only changed parts are made again."""

from __future__ import annotations

import gzip
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.account_id import AccountId
from exporter.metrics import compression
from exporter.metrics import grid as grid_module
from exporter.metrics.compression import compress
from exporter.metrics.family import Family
from exporter.metrics.grid import SEGMENT
from exporter.metrics.page import Exposition
from exporter.metrics.render import Renderer

OPENMETRICS = "application/openmetrics-text"
FAMILIES = [
    Family("video_api_first", "gauge", 'The\\first\n"family".', (), lambda view: ()),
    Family("video_api_second_total", "counter", "The second.", (), lambda view: ()),
    Family("video_api_third", "gauge", "The third.", ("operation",), lambda view: ()),
]
HEADERS = [
    b'# HELP video_api_first The\\\\first\\n"family".\n# TYPE video_api_first gauge\n',
    b"# HELP video_api_second_total The second.\n# TYPE video_api_second_total counter\n",
    b"# HELP video_api_third The third.\n# TYPE video_api_third gauge\n",
]


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Page:
    """An exposition, its clock and its registry."""

    def __init__(self, families: Sequence[Family] = FAMILIES, accounts: Sequence[AccountId] = ()) -> None:
        self.clock, self.registry = FakeClock(), CollectorRegistry()
        self.exposition = Exposition(families, self.registry, self.clock)
        self.exposition.reset(accounts)
        self.put = self.exposition.put

    def text(self, accept: str = "") -> bytes:
        return self.exposition.body(accept, "").data

    def gzipped(self, accept: str = "") -> bytes:
        return self.exposition.body(accept, "gzip").data

    def parts(self, accept: str = "", encoding: str = "gzip") -> tuple[bytes, ...]:
        return self.exposition.body(accept, encoding).parts


def keys(count: int) -> list[AccountId]:
    return [("videodb", f"account-{number}") for number in range(count)]


def fragments(account: AccountId, *values: float | None) -> list[bytes]:
    """Return one sample for each family and value, none where the value is None."""
    render = Renderer(("provider", "account"), account)
    return [
        render(family, () if value is None else [(("op",) * len(family.labels), value)])
        for family, value in zip(FAMILIES, values, strict=True)
    ]


def unpack(data: bytes) -> bytes:
    """Decompress one gzip member, with nothing after it."""
    decompressor = zlib.decompressobj(31)
    text = decompressor.decompress(data)
    assert decompressor.eof
    assert decompressor.unused_data == b""
    return text


class Scrapes(RuleBasedStateMachine):
    """Polls, reloads and scrapes in any order: the page is always what a join of all fragments would give."""

    sizes: tuple[int, int]

    @initialize(sizes=st.sampled_from([(1, 1), (2, 1), (4, 2), (8, 8), (512, 16)]), count=st.integers(0, 12))
    def start(self, sizes: tuple[int, int], count: int) -> None:
        self.before = grid_module.SEGMENT, grid_module._STRIP
        grid_module.SEGMENT, grid_module._STRIP = sizes
        self.page = Page()
        self.known: dict[AccountId, list[bytes]] = {}
        self.served = keys(count)
        self.page.exposition.reset(self.served)

    def teardown(self) -> None:
        grid_module.SEGMENT, grid_module._STRIP = self.before

    @rule(number=st.integers(0, 11), values=st.tuples(*[st.none() | st.integers(0, 2) for _ in FAMILIES]))
    def poll(self, number: int, values: tuple[int | None, ...]) -> None:
        account = keys(12)[number]
        made = fragments(account, *values)
        self.page.put(account, made)
        if account in self.served:
            self.known[account] = made

    @rule(served=st.lists(st.sampled_from(keys(12)), unique=True))
    def reload(self, served: list[AccountId]) -> None:
        self.served = served
        self.known = {account: made for account, made in self.known.items() if account in served}
        self.page.exposition.reset(served)

    @rule(removed=st.sets(st.sampled_from(keys(12)), max_size=3))
    def remove(self, removed: set[AccountId]) -> None:
        self.reload([account for account in self.served if account not in removed])

    @rule()
    def scrape(self) -> None:
        assert unpack(self.page.gzipped()) == self.expected()
        assert unpack(self.page.gzipped(OPENMETRICS)) == self.page.text(OPENMETRICS)

    @invariant()
    def plain(self) -> None:
        assert self.page.text() == self.expected()

    def expected(self) -> bytes:
        lines: list[bytes] = []
        for family, header in enumerate(HEADERS):
            column = [self.known[account][family] for account in self.served if account in self.known]
            if any(column):
                lines += [header, *column]
        return b"".join(lines)


TestScrapes = Scrapes.TestCase
TestScrapes.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


@given(st.integers(0, 1100), st.data())
@settings(max_examples=15, deadline=None)
def test_pages_of_any_size_are_one_gzip_member(count: int, data: st.DataObject) -> None:
    accounts = keys(count)
    page = Page(accounts=accounts)
    for account in accounts:
        page.put(account, fragments(account, 1, 2, 3))
    assert unpack(page.gzipped()) == page.text()
    if accounts:
        account = data.draw(st.sampled_from(accounts))
        page.put(account, fragments(account, 4, None, 6))
    assert unpack(page.gzipped()) == page.text()


def test_gzip_is_at_most_half_as_large_again_as_the_best_gzip() -> None:
    for count in (1, 10, 100, 600):
        accounts = keys(count)
        page = Page(accounts=accounts)
        for number, account in enumerate(accounts):
            page.put(account, fragments(account, number * 7919 % 1000, number * 104729 % 1000, number))
        assert len(page.gzipped()) < 1.5 * len(gzip.compress(page.text(), 9)) + 100


def test_a_scrape_without_changes_gets_the_same_bytes() -> None:
    page = Page(accounts=keys(2))
    page.put(keys(2)[0], fragments(keys(2)[0], 1, 2, 3))
    for encoding in ("", "gzip"):
        for accept in ("", OPENMETRICS):
            before = page.parts(accept, encoding)
            page.put(keys(2)[0], fragments(keys(2)[0], 1, 2, 3))
            assert page.parts(accept, encoding) is before


def test_a_poll_compresses_only_the_segments_whose_values_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = keys(1100)
    page = Page(accounts=accounts)
    for account in accounts:
        page.put(account, fragments(account, 1, 2, 3))
    page.gzipped()
    compressed: list[bytes] = []
    compress = compression.compress

    def counted(text: bytes) -> compression.Segment:
        compressed.append(text)
        return compress(text)

    monkeypatch.setattr("exporter.metrics.page.compress", counted)
    page.put(accounts[700], fragments(accounts[700], 1, 2, 3))
    page.gzipped()
    assert compressed == []
    page.put(accounts[700], fragments(accounts[700], 1, 99, 3))
    page.gzipped()
    segment, own = compressed
    assert own == b""
    assert segment.count(b"\n") == SEGMENT
    assert b'video_api_second_total{account="account-700",provider="videodb"} 99.0\n' in segment


def test_two_pages_share_most_of_what_did_not_change() -> None:
    accounts = keys(20 * SEGMENT)
    page = Page(accounts=accounts)
    for account in accounts:
        page.put(account, fragments(account, 1, 2, 3))
    before = page.parts()
    page.put(accounts[700], fragments(accounts[700], 1, 99, 3))
    after = page.parts()
    assert len(after) == len(before) > 4
    # One with the segment, and the end with the checksum.
    assert len({id(part) for part in after} - {id(part) for part in before}) == 2


def two_scrapes(page: Page) -> None:
    page.gzipped()
    page.clock.now += 15
    page.gzipped()


@pytest.mark.parametrize("pack", [two_scrapes, lambda page: page.exposition.pack()])
def test_text_that_does_not_change_is_kept_compressed(pack: Callable[[Page], object]) -> None:
    accounts = keys(2000)
    page = Page(accounts=accounts)
    tracemalloc.start()
    for account in accounts:
        page.put(account, fragments(account, 1, 2, 3))
    open_text, _ = tracemalloc.get_traced_memory()
    pack(page)
    packed, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert packed < open_text / 2
    page.put(accounts[700], fragments(accounts[700], 1, 99, 3))
    assert b'video_api_second_total{account="account-700",provider="videodb"} 99.0\n' in unpack(page.gzipped())
    assert unpack(page.gzipped()) == page.text()


def test_a_family_has_no_header_until_it_has_a_sample() -> None:
    account = keys(1)[0]
    page = Page(accounts=[account])
    assert page.text() == b""
    page.put(account, fragments(account, None, 1, None))
    assert page.text() == HEADERS[1] + fragments(account, None, 1, None)[1]
    page.put(account, fragments(account, None, None, None))
    assert page.text() == unpack(page.gzipped()) == b""


def test_openmetrics_ends_with_one_eof_and_names_counters_without_their_suffix() -> None:
    account = keys(1)[0]
    page = Page(accounts=[account])
    page.put(account, fragments(account, 1, 2, 3))
    Counter("own", "Our own.", registry=page.registry).inc()
    text = page.text(OPENMETRICS).decode()
    assert text.count("# EOF\n") == 1
    assert text.endswith("# EOF\n")
    assert "# TYPE video_api_second counter\n" in text
    assert [family.name for family in parse_openmetrics(text)][:4] == [
        "video_api_first",
        "video_api_second",
        "video_api_third",
        "own",
    ]
    assert '# HELP video_api_first The\\\\first\\n\\"family\\".\n' in text
    assert page.text(OPENMETRICS) == unpack(page.gzipped(OPENMETRICS))


def test_own_metrics_are_at_the_end_and_are_read_at_most_once_a_second() -> None:
    account = keys(1)[0]
    page = Page(accounts=[account])
    page.put(account, fragments(account, 1, 2, 3))
    gauge = Gauge("own", "Our own.", registry=page.registry)
    accounts_text = page.text().removesuffix(generate_latest(page.registry))
    assert page.text() == accounts_text + generate_latest(page.registry)
    before = page.parts()
    gauge.set(5)
    page.clock.now += 0.9
    assert page.parts() is before
    assert page.text().endswith(b"own 0.0\n")
    page.clock.now += 0.2
    assert page.text() == accounts_text + generate_latest(page.registry)
    assert page.text().endswith(b"own 5.0\n")
    assert unpack(page.gzipped()) == page.text()


def test_a_change_of_an_account_shows_at_once_while_own_metrics_wait() -> None:
    account = keys(1)[0]
    page = Page(accounts=[account])
    gauge = Gauge("own", "Our own.", registry=page.registry)
    page.gzipped()
    gauge.set(5)
    page.put(account, fragments(account, 1, 2, 3))
    text = unpack(page.gzipped())
    assert fragments(account, 1, 2, 3)[0] in text
    assert text.endswith(b"own 0.0\n")


def test_a_reload_keeps_remaining_accounts_in_the_new_order_and_drops_the_others() -> None:
    first, second, third = keys(3)
    page = Page(accounts=[first, second])
    for account in (first, second):
        page.put(account, fragments(account, 1, None, None))
    page.exposition.reset([third, second])
    assert page.text() == HEADERS[0] + fragments(second, 1, None, None)[0]
    page.exposition.reset([third, second, first])
    assert page.text() == HEADERS[0] + fragments(second, 1, None, None)[0]


def test_a_reload_that_removes_one_of_many_accounts_compresses_only_the_text_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = keys(3 * grid_module.SEGMENT)
    page = Page(accounts=accounts)
    for account in accounts:
        page.put(account, fragments(account, 1, 2, 3))
    page.exposition.pack()
    made = Mock(side_effect=compress)
    monkeypatch.setattr(grid_module, "compress", made)
    removed = accounts.pop(600)
    page.exposition.reset(accounts)
    page.exposition.pack()
    assert made.call_count == len(FAMILIES)
    columns = zip(*(fragments(account, 1, 2, 3) for account in accounts), strict=True)
    assert page.text() == b"".join(map(b"".join, zip(HEADERS, map(b"".join, columns), strict=True)))
    assert removed[1].encode() not in page.text()


def test_a_poll_of_an_account_that_was_removed_meanwhile_is_not_shown() -> None:
    first, second = keys(2)
    page = Page(accounts=[first])
    page.put(second, fragments(second, 1, 2, 3))
    assert page.text() == b""


def test_an_account_without_one_fragment_for_each_family_is_refused() -> None:
    account = keys(1)[0]
    page = Page(accounts=[account])
    with pytest.raises(ValueError, match="2 fragments for 3 families"):
        page.put(account, [b"", b""])
    assert page.text() == b""


def test_the_body_has_its_content_type_encoding_and_vary() -> None:
    page = Page()
    assert page.exposition.body(OPENMETRICS, "gzip").headers == [
        ("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("Vary", "Accept, Accept-Encoding"),
        ("Content-Encoding", "gzip"),
    ]
    assert page.exposition.body("", "gzip;q=0").headers == [
        ("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),
        ("Vary", "Accept, Accept-Encoding"),
    ]


def test_parallel_scrapes_share_one_body() -> None:
    account = keys(1)[0]
    page = Page(accounts=[account])
    page.put(account, fragments(account, 1, 2, 3))
    together = threading.Barrier(8)

    def scrape() -> tuple[bytes, ...]:
        together.wait()
        return page.parts()

    with ThreadPoolExecutor(8) as pool:
        bodies = [future.result() for future in [pool.submit(scrape) for _ in range(8)]]
    assert all(body is bodies[0] for body in bodies)


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Make threads take turns as often as they can, so that a missing lock shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def values(text: bytes) -> dict[bytes, set[bytes]]:
    """Return the values of each account's samples."""
    found: dict[bytes, set[bytes]] = {}
    for line in text.splitlines():
        if not line.startswith(b"#"):
            found.setdefault(line.split(b'"')[1], set()).add(line.rsplit(b" ", 1)[1])
    return found


@pytest.mark.parametrize("ask", [Page.text, lambda page: unpack(page.gzipped())], ids=["plain", "gzip"])
def test_no_scrape_mixes_two_polls_of_an_account_and_no_poll_is_lost(
    ask: Callable[[Page], bytes], busy_threads: None
) -> None:
    many = [Family(f"video_api_{number:02}", "gauge", "h", (), lambda view: ()) for number in range(40)]
    accounts = keys(20)
    page = Page(many, accounts)
    pollers = [accounts[:10], accounts[10:]]
    together = threading.Barrier(3)
    finished: list[list[AccountId]] = []

    def poll(mine: list[AccountId]) -> None:
        polls = []
        for value in range(30):
            for account in mine:
                render = Renderer(("account",), account[1:])
                polls.append((account, [render(family, [((), float(value))]) for family in many]))
        together.wait()
        for account, made in polls:
            page.put(account, made)
        finished.append(mine)

    def scrape() -> None:
        together.wait()
        while len(finished) < len(pollers):
            assert [found for found in values(ask(page)).values() if len(found) > 1] == []

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(scrape), *(pool.submit(poll, mine) for mine in pollers)]:
            future.result()
    assert values(ask(page)) == {name.encode(): {b"29.0"} for _, name in accounts}
