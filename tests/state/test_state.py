"""Saving and reading a state file without faults."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from exporter.errors import StartError
from exporter.readings import (
    AccountState,
    AutoRecharge,
    Failure,
    Invoices,
    Kept,
    Ledger,
    NamedQuota,
    Period,
    Pool,
    Quota,
    ServiceUse,
    Subscription,
    Usage,
)
from exporter.runtime.clock import SystemClock
from exporter.state.codec import decoder
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.sqlite import StateFile
from tests.state.everything import everything

INF = float("inf")
MEDIA, ARCHIVE = ("vidnavigator", "media"), ("videodb", "archive")

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False)
by_name = st.dictionaries(names, numbers, max_size=3)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=0, max_value=10**30)


def some(kind: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return instances of a dataclass: every field is given, left to the simple type of its hint."""
    simple = {
        str: names,
        float: numbers,
        int: st.integers(0, 10**9),
        bool: st.booleans(),
        float | None: st.none() | numbers,
        bool | None: st.none() | st.booleans(),
        Decimal: decimals,
        tuple[str, ...]: st.lists(names, max_size=2).map(tuple),
    }
    for name, hint in get_type_hints(kind).items():
        if name not in fields:
            fields[name] = simple.get(hint, by_name)
    return st.builds(kind, **fields)


def maybe(kind: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | some(kind, **fields)


pools = st.dictionaries(names, some(Pool), max_size=2)
usages = some(
    Usage,
    services=st.lists(some(ServiceUse), max_size=2).map(tuple),
    storage=maybe(Quota),
    channels=maybe(Quota),
    subscription=maybe(Subscription),
    usage_period=maybe(Period),
    billing_period=maybe(Period),
    pools=pools,
    quotas=st.lists(some(NamedQuota, amounts=some(Quota)), max_size=2).map(tuple),
)
counts = st.dictionaries(names, st.integers(0, 10**9), max_size=3)
invoices = some(Invoices, by_status=counts)
parts = st.fixed_dictionaries({}, optional={"usage": usages, "invoices": invoices, "auto_recharge": some(AutoRecharge)})
ledgers = maybe(Ledger, pools=pools, doubted=pools)
times = st.dictionaries(st.sampled_from(["usage", "invoices"]), st.floats(0, 1e11))
states = some(
    AccountState,
    parts=parts,
    part_times=times,
    last_status=st.none() | st.integers(100, 599),
    ledger=ledgers,
    failures=counts,
    failure=maybe(Failure),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_every_state_is_loaded_as_it_was_saved(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:

        @given(state=states)
        @settings(max_examples=100, deadline=None)
        def comes_back(state: AccountState) -> None:
            file.save(MEDIA, state)
            assert everything(file) == {MEDIA: state}

        comes_back()
        assert file.write_failures == 0


def test_amounts_keep_their_last_digit_and_unlimited_stays_unlimited(path: Path, clock: Any) -> None:
    state = AccountState(
        parts={"usage": Usage(balance=INF, pools={"monthly": Pool(INF)})},
        ledger=Ledger(spent=Decimal("0.1000000000000000000000000000000000000000001")),
    )
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, state)
        (loaded,) = everything(file).values()
    assert loaded == state
    assert str(loaded.ledger.spent) == "0.1000000000000000000000000000000000000000001"  # type: ignore[union-attr]  # equal


def test_half_a_surrogate_pair_becomes_one_question_mark(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(failure=Failure("auth", "bad \ud800 key"), polls=3))
        assert everything(file) == {MEDIA: AccountState(failure=Failure("auth", "bad ? key"), polls=3)}
        assert file.write_failures == 0


def test_the_last_save_of_each_account_survives_a_restart(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        for polls in range(3):
            file.save(MEDIA, AccountState(polls=polls))
            file.save(ARCHIVE, AccountState(polls=polls * 10))
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert everything(file) == {MEDIA: AccountState(polls=2), ARCHIVE: AccountState(polls=20)}


def test_a_save_is_committed_when_it_returns(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=7))
        with closing(StateFile.open(path, clock, exclusive=False)) as other:
            assert everything(other) == {MEDIA: AccountState(polls=7)}


def test_a_save_changes_no_other_account(path: Path, clock: Any) -> None:
    with (
        closing(StateFile.open(path, clock, exclusive=True)) as daemon,
        closing(StateFile.open(path, clock, exclusive=False)) as poll,
    ):
        daemon.save(MEDIA, AccountState(polls=1))
        poll.save(MEDIA, AccountState(polls=2))
        daemon.save(ARCHIVE, AccountState(polls=1))
        assert everything(daemon)[MEDIA] == AccountState(polls=2)


def test_parallel_threads_lose_no_save(path: Path, clock: Any) -> None:
    def poll(thread: int) -> None:
        for account in range(20):
            file.save(("videodb", f"{thread}-{account}"), AccountState(polls=thread))

    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        threads = [threading.Thread(target=poll, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(everything(file)) == 160
        assert file.write_failures == 0


def test_an_unreadable_row_affects_one_account_and_is_logged(
    path: Path, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=1))
        file.save(ARCHIVE, AccountState(polls=2))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE accounts SET state = CAST(replace(state, '1', '9') AS BLOB) WHERE account LIKE '%media%'")
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        assert everything(file) == {ARCHIVE: AccountState(polls=2)}
    assert "media" in caplog.text
    assert "checksum" in caplog.text


def test_a_removed_account_is_kept_for_thirty_days(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=1))
        file.save(ARCHIVE, AccountState(polls=2))
        file.kept = Kept(0, 0)
        clock.advance(29 * 86400)
        file.forget(keep=[ARCHIVE])
        assert set(everything(file)) == {MEDIA, ARCHIVE}
        clock.advance(2 * 86400)
        file.forget(keep=[ARCHIVE])
        assert set(everything(file)) == {ARCHIVE}


def test_a_removed_account_is_kept_for_as_long_as_its_history(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=1, last_poll=clock.wall()))
        clock.advance(399 * 86400)
        file.forget(keep=[])
        assert set(everything(file)) == {MEDIA}
        clock.advance(2 * 86400)
        file.forget(keep=[])
        assert file.read(lambda db: [*db.execute("SELECT 1 FROM accounts"), *db.execute("SELECT 1 FROM polls")]) == []


def test_only_the_owner_can_read_the_file(path: Path, clock: Any) -> None:
    before = os.umask(0)
    try:
        with closing(StateFile.open(path, clock, exclusive=True)) as file:
            file.save(MEDIA, AccountState())
            modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["state.db", "state.db-shm", "state.db-wal", "state.db.lock"], 0o600)


def test_a_file_that_others_can_read_is_made_private(path: Path, clock: Any) -> None:
    StateFile.open(path, clock, exclusive=True).close()
    path.chmod(0o644)
    StateFile.open(path, clock, exclusive=True).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_made_by_root_belong_to_the_owner_of_the_folder(path: Path, clock: Any) -> None:
    if os.geteuid() == 0:
        os.chown(path.parent, 65534, 65534)
    owner = path.parent.stat().st_uid
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState())
        assert {name.stat().st_uid for name in path.parent.iterdir()} == {owner}
        assert len(list(path.parent.iterdir())) == 4


def test_missing_folders_are_made_private(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "var" / "exporter" / "state.db"
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        file.save(MEDIA, AccountState(polls=1))
        assert file.write_failures == 0
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_second_daemon_is_refused_by_file_and_pid(path: Path, clock: Any) -> None:
    with (
        closing(StateFile.open(path, clock, exclusive=True)),
        pytest.raises(StartError, match=rf"{path} is in use by another exporter \(pid {os.getpid()}\)"),
    ):
        StateFile.open(path, clock, exclusive=True)


def test_a_refused_daemon_does_not_touch_the_file_of_the_first(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as first:
        for _ in range(2):
            with pytest.raises(StartError):
                StateFile.open(path, clock, exclusive=True)
        first.save(MEDIA, AccountState(polls=1))
        assert first.write_failures == 0


def test_the_next_daemon_can_use_a_closed_file(path: Path, clock: Any) -> None:
    for polls in range(3):
        with closing(StateFile.open(path, clock, exclusive=True)) as file:
            file.save(MEDIA, AccountState(polls=polls))
            assert file.write_failures == 0


def test_a_save_after_the_close_is_ignored(path: Path, clock: Any) -> None:
    file = StateFile.open(path, clock, exclusive=True)
    file.close()
    file.save(MEDIA, AccountState())
    assert (everything(file), file.write_failures) == ({}, 0)
    file.close()


def test_a_poll_by_hand_opens_the_file_while_a_daemon_uses_it(path: Path, clock: Any) -> None:
    with (
        closing(StateFile.open(path, clock, exclusive=True)) as daemon,
        closing(StateFile.open(path, clock, exclusive=False)) as poll,
    ):
        poll.save(ARCHIVE, AccountState(polls=1))
        daemon.save(MEDIA, AccountState(polls=2))
        assert everything(daemon) == everything(poll) == {ARCHIVE: AccountState(polls=1), MEDIA: AccountState(polls=2)}


def test_many_polls_by_hand_can_make_the_file_at_the_same_time(path: Path) -> None:
    files: list[StateFile] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        files.append(StateFile.open(path, SystemClock(), exclusive=False))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, file in enumerate(files):
        file.save(("videodb", str(number)), AccountState())
    assert [file.write_failures for file in files] == [0] * 8
    assert len(everything(files[0])) == 8
    for file in files:
        file.close()


def test_the_write_ahead_log_does_not_grow_with_the_polls(path: Path, clock: Any) -> None:
    with closing(StateFile.open(path, clock, exclusive=True)) as file:
        for number in range(1000):
            file.save(MEDIA, AccountState(failure=Failure("auth", f"{number:04}" * 5000)))
        sizes = [path.with_name(name).stat().st_size for name in ("state.db", "state.db-wal")]
    assert sum(sizes) < 6_000_000


def test_the_schema_has_a_version_and_an_application_id(path: Path, clock: Any) -> None:
    StateFile.open(path, clock, exclusive=True).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert db.execute("PRAGMA application_id").fetchone() != (0,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_first_start_does_not_wait_for_what_reads_states(tmp_path: Path) -> None:
    decoder.cache_clear()
    with closing(StateFile.open(tmp_path / "state.db", SystemClock(), exclusive=True)) as state:
        assert state.load([MEDIA, ARCHIVE]) == {}
    assert decoder.cache_info().misses == 0
