"""The program with its state in a real PostgreSQL. Responses, polls and the stop do not wait for the database."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from exporter.demo.vendors import Vendors, vidnavigator_account
from tests.program.running import Program, run, running, until, write_config
from tests.state.postgresql import Server

pytestmark = pytest.mark.needs("pg_ctlcluster")


@pytest.fixture
def config(vendors: Vendors, tmp_path: Path, postgresql: Server) -> Path:
    key = vendors.add(vidnavigator_account())
    account = {"name": "a", "provider": "vidnavigator", "api_key": key, "base_url": vendors.vidnavigator_url}
    (tmp_path / "url").write_text(postgresql.new_database() + "\n")
    poll = {"interval": "10s", "timeout": "9s"}
    return write_config(tmp_path / "c.yaml", [account], state={"url_file": "url"}, poll=poll)


def own(program: Program, name: str) -> float | None:
    return program.metrics().get(f"video_api_exporter_{name}")


def test_a_restart_continues_with_the_state_in_the_database(config: Path, postgresql: Server) -> None:
    with running(f"--config.file={config}") as program:
        program.ready()
        assert own(program, "state_up") == 1
        program.stop()
    url = (config.parent / "url").read_text().strip()
    postgresql.run(
        "UPDATE video_api_exporter.accounts SET state = jsonb_set(state::jsonb, '{polls}', '100')::text", url
    )
    with running(f"--config.file={config}") as program:
        assert (program.value("polls_total", "a") or 0) >= 100


def test_it_continues_to_poll_and_serve_while_the_database_is_stopped(config: Path, postgresql: Server) -> None:
    with running(f"--config.file={config}") as program:
        program.ready()
        postgresql.stop()
        try:
            polls = program.value("polls_total", "a") or 0
            until(lambda: (program.value("polls_total", "a") or 0) > polls, "polled without the database", 60)
            until(lambda: own(program, "state_up") == 0, "told")
            until(lambda: own(program, "state_write_failures_total"), "counted", 60)
            polls = program.value("polls_total", "a") or 0
        finally:
            postgresql.start()
        until(lambda: own(program, "state_up") == 1, "connected again")
        until(lambda: "the state database can be used again" in program.log, "told")
        assert "Traceback" not in program.log
        program.stop()
    with running(f"--config.file={config}") as program:
        assert (program.value("polls_total", "a") or 0) >= polls


def test_a_database_that_does_not_respond_delays_neither_scrapes_nor_the_stop(config: Path) -> None:
    with running(f"--config.file={config}") as program:
        program.ready()
        with psycopg.connect((config.parent / "url").read_text().strip()) as other:
            other.execute("LOCK TABLE video_api_exporter.keys, video_api_exporter.accounts")
            polls = program.value("polls_total", "a") or 0
            until(lambda: (program.value("polls_total", "a") or 0) > polls, "polled without the database", 60)
            assert program.get("/-/healthy") == (200, "healthy\n")
            assert program.stop() == 0


def test_a_start_without_the_database_polls_nothing_until_it_is_reached(
    config: Path, postgresql: Server, vendors: Vendors
) -> None:
    (key,) = vendors.accounts
    postgresql.stop()
    try:
        with running(f"--config.file={config}") as program:
            until(lambda: "cannot be used" in program.log, "tried")
            not_reached = 503, "the state database has not been reached yet\n"
            until(lambda: program.get("/-/ready") == not_reached, "told")
            assert program.get("/-/healthy")[0] == 200
            assert own(program, "state_up") == 0
            assert not vendors.requests_of(key)
            postgresql.start()
            program.ready()
            assert own(program, "state_up") == 1
            assert vendors.requests_of(key)
    finally:
        if postgresql.process is None:
            postgresql.start()


def test_a_poll_by_hand_sends_nothing_without_the_database_because_others_may_use_the_key(
    config: Path, postgresql: Server, vendors: Vendors
) -> None:
    (key,) = vendors.accounts
    postgresql.stop()
    try:
        done = run("poll", f"--config.file={config}")
    finally:
        postgresql.start()
    assert done.returncode == 1
    assert not vendors.requests_of(key)
    assert "the state database cannot be reached" in done.stderr
    assert "trying again" not in done.stderr
    assert done.stdout.splitlines()[1].split()[:2] == ["vidnavigator/a", "waits"]
    assert run("poll", f"--config.file={config}").returncode == 0
