"""The state in a real PostgreSQL. Saved states can be read again, and polls continue without the database."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
from hypothesis import given, settings

from exporter.account_id import AccountId
from exporter.errors import StateUnavailableError
from exporter.polling.limits import Limits
from exporter.readings import AccountState, Kept, Ledger
from exporter.runtime.clock import SystemClock
from exporter.state.base import KeyTarget, State
from exporter.state.codec import decoder
from exporter.state.opening import open_state
from exporter.state.postgresql import faults, link, schema
from exporter.state.postgresql.accounts import PostgresAccounts
from exporter.state.postgresql.faults import Faults
from exporter.state.postgresql.keys import PostgresKeys
from exporter.state.source import StateSource
from tests.program.running import PATIENT, until
from tests.state.postgresql import Server
from tests.state.test_state import states

pytestmark = pytest.mark.needs("pg_ctlcluster")

MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")
KEY = KeyTarget("videodb", "https://api.example", "k" * 20)


@contextmanager
def opened(url: str, *, exclusive: bool = True) -> Iterator[State]:
    state = open_state(StateSource("url", url), SystemClock(), exclusive=exclusive)
    with closing(state.accounts):
        if state.replicas is not None:
            with suppress(StateUnavailableError):
                state.replicas.take([KEY], inherit=True)
        yield state


def stored(url: str, *accounts: AccountId) -> dict[AccountId, AccountState]:
    with opened(url, exclusive=False) as state:
        return state.accounts.load(accounts or (MEDIA, ARCHIVE))


def is_up(state: State) -> bool:
    return state.accounts.is_up


def is_idle() -> bool:
    """Return whether nothing that follows a connection is under way."""
    return "state-catch-up" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.usefixtures("patient")
def test_every_state_is_loaded_as_it_was_saved(url: str) -> None:
    with opened(url) as state:

        @given(one=states)
        @settings(max_examples=50, deadline=None)
        def comes_back(one: AccountState) -> None:
            before = state.accounts.load([MEDIA]).get(MEDIA, AccountState())
            state.accounts.save(MEDIA, replace(one, version=before.version))
            assert state.accounts.load([MEDIA]) == {MEDIA: one}

        comes_back()
        assert state.accounts.write_failures == 0


@pytest.mark.usefixtures("patient")
def test_a_restart_has_the_accounts_and_the_cooldowns(url: str) -> None:
    with opened(url) as state:
        state.accounts.save(MEDIA, AccountState(polls=1))
        state.accounts.save(MEDIA, AccountState(polls=2, ledger=Ledger(spent=Decimal("0.1"))))
        Limits(SystemClock(), state.keys).cool_down(KEY, 600)
    assert stored(url) == {MEDIA: AccountState(polls=2, ledger=Ledger(spent=Decimal("0.1")))}
    with opened(url) as state:
        limits = Limits(SystemClock(), state.keys)
        wait = limits.admit(KEY, 50)
        assert wait is not None and wait.reason == "cooldown" and 500 < wait.seconds <= 600.1


def test_a_restart_follows_a_stop_at_once(url: str) -> None:
    for polls in range(20):
        with opened(url) as state:
            state.accounts.save(MEDIA, AccountState(polls=polls))
            assert is_up(state)


def test_an_unreadable_row_affects_one_account(url: str, postgresql: Server, caplog: pytest.LogCaptureFixture) -> None:
    with opened(url) as state:
        state.accounts.save(MEDIA, AccountState(polls=1))
        state.accounts.save(ARCHIVE, AccountState(polls=2))
        postgresql.run("UPDATE video_api_exporter.accounts SET state = '{' WHERE account LIKE '%media%'", url)
        assert state.accounts.load([MEDIA, ARCHIVE]) == {ARCHIVE: AccountState(polls=2)}
    assert "media" in caplog.text


def test_a_removed_account_is_kept_for_as_long_as_its_history(url: str, postgresql: Server) -> None:
    def pass_days(days: int) -> None:
        postgresql.run(f"UPDATE video_api_exporter.accounts SET saved_at = saved_at - interval '{days} days'", url)  # noqa: S608  # a number

    with opened(url) as state:
        state.accounts.save(MEDIA, AccountState(polls=1))
        state.accounts.save(ARCHIVE, AccountState(polls=2))
        pass_days(399)
        state.accounts.forget([ARCHIVE])
        assert set(stored(url)) == {MEDIA, ARCHIVE}
        pass_days(2)
        state.accounts.forget([ARCHIVE])
        assert set(stored(url)) == {ARCHIVE}
        state.accounts.kept = Kept(0, 0)
        state.accounts.save(MEDIA, AccountState(polls=1, last_poll=1.0))
        pass_days(29)
        state.accounts.forget([])
        assert set(stored(url)) == {MEDIA}
        pass_days(2)
        state.accounts.forget([])
        assert stored(url) == {}


@pytest.mark.usefixtures("patient")
def test_two_processes_share_the_limit_of_a_key(url: str) -> None:
    with opened(url) as daemon, opened(url, exclusive=False) as by_hand:
        both = [Limits(SystemClock(), state.keys) for state in (daemon, by_hand)]
        admitted = [limits.admit(KEY, 5) is None for _ in range(4) for limits in both]
        assert sum(admitted) == 5


@pytest.mark.usefixtures("patient")
def test_threads_of_two_processes_never_exceed_the_limit(url: str) -> None:
    with opened(url) as daemon, opened(url, exclusive=False) as by_hand:
        admitted: list[bool] = []

        def ask(limits: Limits) -> None:
            admitted.extend(limits.admit(KEY, 7) is None for _ in range(5))

        both = [Limits(SystemClock(), state.keys) for state in (daemon, by_hand)]
        threads = [threading.Thread(target=ask, args=(limits,)) for limits in both for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(admitted), sum(admitted)) == (30, 7)


@pytest.mark.usefixtures("patient")
def test_a_request_counts_from_its_end_by_the_clock_of_the_database(url: str, postgresql: Server) -> None:
    with opened(url) as daemon, opened(url, exclusive=False) as by_hand:
        clock = SystemClock()
        ours, theirs = Limits(clock, daemon.keys), Limits(clock, by_hand.keys)
        latest = clock.monotonic() + 600
        left = "SELECT extract(epoch FROM times[1] - clock_timestamp())::float8 FROM video_api_exporter.keys"
        assert ours.admit(KEY, 1, latest) is None
        assert postgresql.run(left, url)[0][0] == pytest.approx(600, abs=PATIENT)
        wait = theirs.admit(KEY, 1)
        assert wait is not None and wait.seconds < 61  # it may end at any moment
        ours.end_request(KEY, latest)
        daemon.accounts.save(MEDIA, AccountState(polls=1))
        assert postgresql.run(left, url)[0][0] == pytest.approx(0, abs=PATIENT)
        postgresql.run("UPDATE video_api_exporter.keys SET times[1] = times[1] - interval '61 seconds'", url)
        assert theirs.admit(KEY, 1) is None
        assert postgresql.run("SELECT cardinality(times), cardinality(writers) FROM video_api_exporter.keys", url) == [
            (1, 1)
        ]


def test_a_poll_by_hand_writes_the_end_of_its_requests_when_it_closes_the_state(url: str, postgresql: Server) -> None:
    with opened(url, exclusive=False) as by_hand:
        limits, latest = Limits(SystemClock(), by_hand.keys), SystemClock().monotonic() + 600
        assert limits.admit(KEY, 1, latest) is None
        limits.end_request(KEY, latest)
    assert postgresql.run("SELECT times[1] < clock_timestamp() FROM video_api_exporter.keys", url) == [(True,)]


def test_requests_of_one_key_end_one_by_one(url: str, postgresql: Server) -> None:
    with opened(url) as daemon:
        limits, now = Limits(SystemClock(), daemon.keys), SystemClock().monotonic()
        for latest in (now + 600, now + 500, now + 400):
            assert limits.admit(KEY, 5, latest) is None
        limits.end_request(KEY, now + 500)
        daemon.accounts.save(MEDIA, AccountState(polls=1))
        under_way = "SELECT array_agg(at > clock_timestamp() ORDER BY n) FROM video_api_exporter.keys, unnest(times)"
        assert postgresql.run(under_way + " WITH ORDINALITY AS t(at, n)", url) == [([True, False, True],)]


def test_the_longest_cooldown_is_kept(url: str) -> None:
    with opened(url) as daemon, opened(url, exclusive=False) as by_hand:
        Limits(SystemClock(), daemon.keys).cool_down(KEY, 600)
        other = Limits(SystemClock(), by_hand.keys)
        other.cool_down(KEY, 60)
        assert (other.cooldown(KEY) or 0) > 500


def test_what_could_not_be_written_is_written_when_the_database_is_back(url: str, postgresql: Server) -> None:
    with opened(url) as state:
        limits = Limits(SystemClock(), state.keys)
        state.accounts.save(MEDIA, AccountState(polls=1))
        postgresql.stop()
        try:
            state.accounts.save(MEDIA, AccountState(polls=2))
            state.accounts.save(MEDIA, AccountState(polls=3))
            limits.cool_down(KEY, 600)
            assert limits.admit(KEY, 5) is not None  # memory has the cool-down
            assert not is_up(state)
            assert state.accounts.write_failures > 0
        finally:
            postgresql.start()
        until(lambda: stored(url) == {MEDIA: AccountState(polls=3)}, "caught up")
        until(lambda: postgresql.run("SELECT 1 FROM video_api_exporter.keys WHERE cooldown_until > now()", url), "told")
        assert is_up(state)


def test_the_end_of_an_idle_connection_is_noticed(url: str, postgresql: Server) -> None:
    with opened(url) as state:
        until(is_idle, "nothing is under way")
        postgresql.stop()
        try:
            until(lambda: not is_up(state), "noticed")
        finally:
            postgresql.start()
        until(lambda: is_up(state), "connected again")


def test_connections_that_are_cut_are_made_again(url: str, postgresql: Server) -> None:
    with opened(url) as state:
        state.accounts.save(MEDIA, AccountState(polls=1))
        assert postgresql.cut_connections(url) == 1
        state.accounts.save(MEDIA, AccountState(polls=2))
        until(lambda: is_up(state), "connected again")
        until(lambda: stored(url) == {MEDIA: AccountState(polls=2)}, "caught up")


def test_an_empty_database_in_its_place_gets_every_account(
    url: str, postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with opened(url) as state:
        state.accounts.save(MEDIA, AccountState(polls=1))
        state.accounts.save(ARCHIVE, AccountState(polls=2))
        postgresql.run("DROP SCHEMA video_api_exporter CASCADE", url)
        postgresql.cut_connections(url)
        state.accounts.save(MEDIA, AccountState(polls=3))
        until(
            lambda: stored(url) == {MEDIA: AccountState(polls=3), ARCHIVE: AccountState(polls=2)},
            "every account is there",
        )
    assert caplog.text.count("the state database is a new one. Everything that is known is written to it") == 1


def test_missing_tables_are_reported_in_one_sentence(
    url: str, postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(url) as state:
        until(is_idle, "nothing is under way")
        postgresql.run("DROP SCHEMA video_api_exporter CASCADE", url)
        state.accounts.save(MEDIA, AccountState(polls=1))
        until(lambda: stored(url) == {MEDIA: AccountState(polls=1)}, "written again")
    assert "its tables are gone. They are made again" in caplog.text
    assert "relation" not in caplog.text


def test_a_lock_that_another_holds_delays_a_poll_by_seconds_and_no_more(url: str, postgresql: Server) -> None:
    with opened(url) as state:
        limits = Limits(SystemClock(), state.keys)
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE video_api_exporter.keys, video_api_exporter.accounts")
            assert limits.admit(KEY, 1) is None  # from memory
            assert limits.admit(KEY, 1) is not None
            state.accounts.save(MEDIA, AccountState(polls=1))
            assert state.accounts.load([MEDIA]) == {}
        until(lambda: stored(url) == {MEDIA: AccountState(polls=1)}, "caught up")


def test_a_server_that_is_suspended_delays_a_poll_by_seconds_and_no_more(
    url: str, postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(url) as state:
        until(is_idle, "nothing is under way")
        poll = threading.Thread(target=state.accounts.save, args=(MEDIA, AccountState(polls=1)))
        with postgresql.suspended(url):
            poll.start()
            until(lambda: not poll.is_alive(), "the poll goes on")
            assert not is_up(state)  # the suspended connection still has the lock
        first = next(record.message for record in caplog.records if "cannot be used" in record.message)
        assert first.endswith("it did not respond within 2 seconds")
        until(lambda: stored(url) == {MEDIA: AccountState(polls=1)}, "caught up")


def test_the_wait_for_a_server_that_never_responds_is_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        source = StateSource("url", f"postgresql://exporter@127.0.0.1:{deaf.getsockname()[1]}/exporter")
        state = open_state(source, SystemClock(), exclusive=True)
        assert not is_up(state)
        assert Limits(SystemClock(), state.keys).admit(KEY, 1) is None
        state.accounts.save(MEDIA, AccountState(polls=1))
        state.accounts.close()


@pytest.mark.parametrize("place", ["url", "keywords", "broken"])
def test_no_message_has_the_password(place: str, caplog: pytest.LogCaptureFixture) -> None:
    password = secrets.token_hex(12)
    texts = {
        "url": f"postgresql://exporter:{password}@127.0.0.1:1/exporter",
        "keywords": f"host=127.0.0.1 port=1 user=exporter password={password}",
        "broken": f"postgresql://exporter:{password}%zz@127.0.0.1:1/exporter",
    }
    state = open_state(StateSource("url", texts[place]), SystemClock(), exclusive=True)
    state.accounts.close()
    assert "the state database cannot be used" in caplog.text
    assert password not in caplog.text + repr(StateSource("url", texts[place]))


def convert(url: str, statements: str, oldest_writer: int) -> None:
    """Bring the tables to the schema of a later release, as a replica of that release does at its start."""
    later = (*schema.MIGRATIONS, schema.Migration(statements, oldest_writer))
    with psycopg.connect(url, autocommit=True, application_name="video-api-exporter") as db:
        schema.prepare(db, later)
        schema.prepare(db, later)  # the second replica of that release finds nothing to do


def test_an_older_release_goes_on_beside_a_later_one_that_only_added_something(url: str, postgresql: Server) -> None:
    with opened(url) as state:
        state.accounts.save(MEDIA, AccountState(polls=1))
        convert(url, "ALTER TABLE accounts ADD COLUMN later int NOT NULL DEFAULT 7; CREATE TABLE more()", 1)
        state.accounts.save(MEDIA, AccountState(polls=2))
        assert stored(url) == {MEDIA: AccountState(polls=2)}
        assert postgresql.cut_connections(url) == 1
        until(lambda: not is_up(state), "noticed")
        until(lambda: is_up(state), "connected again")
        state.accounts.save(ARCHIVE, AccountState(polls=3))
        assert stored(url) == {MEDIA: AccountState(polls=2), ARCHIVE: AccountState(polls=3)}
    assert (
        postgresql.run("SELECT meta.version, later FROM video_api_exporter.meta, video_api_exporter.accounts", url)
        == [(len(schema.MIGRATIONS) + 1, 7)] * 2
    )


def test_an_older_release_stops_writing_when_a_later_one_changed_the_tables(
    url: str, postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(url) as state:
        state.accounts.save(MEDIA, AccountState(polls=1))
        convert(url, "ALTER TABLE accounts ALTER state TYPE bytea USING state::bytea", len(schema.MIGRATIONS) + 1)
        until(lambda: "of a later release" in caplog.text, "the older release was told")
        state.accounts.save(MEDIA, AccountState(polls=9))
        assert not is_up(state)
    assert f"it has schema {len(schema.MIGRATIONS) + 1} of a later release" in caplog.text
    saved = "SELECT convert_from(state, 'UTF8')::json ->> 'polls' FROM video_api_exporter.accounts"
    assert postgresql.run(saved, url) == [("1",)]


def test_the_driver_is_imported_only_for_a_state_in_postgresql() -> None:
    script = (
        "import sys, exporter.app, exporter.poll\n"
        "from pathlib import Path\nfrom exporter.runtime.clock import SystemClock\n"
        "from exporter.state.opening import open_state\nfrom exporter.state.source import StateSource\n"
        "import tempfile\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    open_state(StateSource('path', folder + '/s.db'), SystemClock(), exclusive=True).accounts.close()\n"
        "sys.exit('psycopg' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


class InterruptedLink:
    """A link on which another thread saves first, before each transaction that is given one."""

    salt = b""

    def __init__(self) -> None:
        self.before: list[Callable[[], object]] = []
        self.rows: dict[str, str] = {}
        self.written: list[str] = []

    def run(self, work: Callable[[Any], Any], _purpose: str = "write") -> Any:
        if self.before:
            self.before.pop()()
        return work(self)

    def tell_news(self, _db: object) -> None:
        pass

    def cursor(self) -> InterruptedLink:
        return self

    def executemany(self, _statement: str, rows: list[tuple[str, str, int]], *, returning: bool) -> None:
        self.rows.update({name: content for name, content, _ in rows})
        self.written = [name for name, *_ in rows]

    def fetchall(self) -> list[tuple[str]]:
        return [(self.written.pop(),)]

    def nextset(self) -> bool:
        return bool(self.written)


def test_no_thread_writes_a_state_over_a_newer_one_of_another() -> None:
    interrupted = InterruptedLink()
    connection = cast(link.Link, interrupted)
    accounts = PostgresAccounts(connection, PostgresKeys(connection, SystemClock(), is_replica=False))
    interrupted.before.append(lambda: accounts.save(MEDIA, AccountState(polls=2)))
    accounts.save(MEDIA, AccountState(polls=1))
    assert [decoder()(row) for row in interrupted.rows.values()] == [AccountState(polls=2)]


def test_a_database_that_became_read_only_is_one_fault_until_it_is_writable(
    url: str, postgresql: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, attempts = schema.prepare, list[object]()

    def counted(db: psycopg.Connection[Any]) -> bytes:
        attempts.append(db)
        return prepare(db)

    monkeypatch.setattr(schema, "prepare", counted)
    name = url.partition("///")[2].partition("?")[0]
    caplog.set_level("INFO")
    with opened(url) as state:
        until(is_idle, "nothing is under way")
        postgresql.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgresql.cut_connections(url)
        until(lambda: "it is read-only" in caplog.text, "told")
        before = len(attempts)
        until(lambda: len(attempts) >= before + 2, "tried again")
        assert not is_up(state)
        assert caplog.text.count("it is read-only") == 1
        assert "can be used again" not in caplog.text
        postgresql.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        until(lambda: is_up(state), "connected again")
        state.accounts.save(MEDIA, AccountState(polls=1))
    assert caplog.text.count("can be used again") == 1


def test_a_connection_that_became_read_only_is_reported_like_a_new_one(
    url: str, postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(url) as state:
        until(is_idle, "nothing is under way")
        postgresql.run("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            postgresql.run("SELECT pg_reload_conf()")
            until(lambda: (state.accounts.save(MEDIA, AccountState(polls=1)), not is_up(state))[1], "noticed")
        finally:
            with psycopg.connect(postgresql.url(), autocommit=True) as db:
                db.execute("SET default_transaction_read_only = off")
                db.execute("ALTER SYSTEM RESET default_transaction_read_only")
                db.execute("SELECT pg_reload_conf()")
        until(lambda: is_up(state), "connected again")
    assert caplog.text.count("cannot be used") == caplog.text.count("it is read-only") == 1


def test_a_database_whose_tables_cannot_be_prepared_in_time_is_reported_as_slow(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_PREPARE_SECONDS", 0.2)
    with psycopg.connect(url) as other:
        schema.lock(other)
        with opened(url) as state:
            assert not is_up(state)
    assert "it did not respond within 0.2 seconds" in caplog.text


def test_a_fault_is_one_log_line_until_a_save_has_succeeded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    now = Faults(is_replica=True)
    for number in range(3):
        now.begin(f"could not extend file {number}", was_reached=True)
        now.end(has_saved=False)  # a heartbeat was written
    assert len(caplog.messages) == 1
    now.end(has_saved=True)
    assert caplog.messages[1:] == ["the state database can be used again"]
    now.begin("could not extend file 4", was_reached=True)
    assert len(caplog.messages) == 3


def test_a_fault_is_over_after_some_time_without_a_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "QUIET_SECONDS", 0.0)
    caplog.set_level("INFO")
    now = Faults(is_replica=True)
    now.begin("it does not answer", was_reached=False)
    now.end(has_saved=False)
    assert caplog.messages == [
        "the state database cannot be used. Nothing is polled before it was reached, trying again: it does not answer",
        "the state database can be used again",
    ]


def test_a_full_disk_is_named_and_not_what_the_driver_says_of_itself(
    url: str, postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(url) as state:
        until(is_idle, "nothing is under way")
        postgresql.run(f"{FULL_DISK}; {REFUSE_SAVES}", url)
        state.accounts.save(MEDIA, AccountState())
    (told,) = [message for message in caplog.messages if "cannot be used" in message]
    assert told.endswith(": its disk is full")


FULL_DISK = (
    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$"
)
REFUSE_SAVES = (
    "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON video_api_exporter.accounts EXECUTE FUNCTION full_disk()"
)


def test_only_what_had_to_be_written_counts_as_a_failed_write(url: str, postgresql: Server) -> None:
    with opened(url) as state:
        until(is_idle, "nothing is under way")
        before, replicas = state.accounts.write_failures, state.replicas
        assert replicas is not None
        postgresql.stop()
        try:
            for look in (replicas.changes, lambda: replicas.beat((0, 1), "", {})):
                with pytest.raises(StateUnavailableError):
                    look()
            state.accounts.load([MEDIA])
            assert state.accounts.write_failures == before
            state.accounts.save(MEDIA, AccountState())
            assert state.accounts.write_failures > before
        finally:
            postgresql.start()


def test_a_short_password_is_redacted_as_a_word_and_not_within_one() -> None:
    url = "postgresql://ro:db@127.0.0.1:1/rodb"
    assert link.without_password('database "rodb" refuses db\nand ends', url) == (
        'database "rodb" refuses <redacted> and ends'
    )
