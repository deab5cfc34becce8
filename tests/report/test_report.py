"""Rows, notes, outputs and error messages of the command."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from exporter import commands
from exporter.errors import StartError, UsageError
from exporter.report.figures import figure
from exporter.state.copying import copy_state
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.sqlite import StateFile
from tests.conftest import FakeClock
from tests.report.conftest import ACCOUNTS, CLIPS, MEDIA, NOVEMBER, SEARCH, Reporter
from tests.report.lives import DAY, OCTOBER, World
from tests.state.postgresql import Server


@pytest.fixture
def month(accounts: World) -> World:
    """Three accounts that are polled every day of October and of five days around it."""
    for day in range(-3, 34):
        accounts.poll(MEDIA, OCTOBER + day * DAY + 80000, 1000.0 - day)
        accounts.poll(SEARCH, OCTOBER + day * DAY + 80000, 1000.0 - day / 4 + (500 if day >= 10 else 0))
        accounts.poll(CLIPS, OCTOBER + day * DAY + 80000, 100.5, period=float(day >= 20))
    return accounts


def figures(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in ("name", "spent", "added", "money", "currency")) for row in rows]


def test_rows_follow_the_flag_and_currencies_are_separate(month: World, reporter: Reporter) -> None:
    media, search = (Decimal(31), 0, Decimal("3.1"), "USD"), (Decimal("7.5"), Decimal("499.75"), Decimal("1.5"), "EUR")
    clips = (0, Decimal("100.5"), None, None)
    assert figures(reporter.rows(month="2026-10")) == [
        ("vidnavigator/search", *search),
        ("vidnavigator/media", *media),
        ("videodb/clips", *clips),
    ]
    assert figures(reporter.rows("provider", month="2026-10")) == [
        ("vidnavigator", *search),
        ("vidnavigator", *media),
        ("videodb", *clips),
    ]
    assert figures(reporter.rows("label:team", month="2026-10")) == [
        ("search", *search),
        ("media", *media),
        ("media", *clips),
    ]
    assert reporter.err == "Note: 1 account has no price, so the cost is not known: videodb/clips.\n"


def test_days_and_months_are_rows(month: World, reporter: Reporter) -> None:
    days = [row for row in reporter.rows("day", first="2026-10-05", last="2026-10-07") if row["currency"] == "USD"]
    assert figures(days) == [(f"2026-10-0{day}", 1, 0, Decimal("0.1"), "USD") for day in (5, 6, 7)]
    months = [row for row in reporter.rows("month", first="2026-09-29", last="2026-11-02") if row["currency"] == "USD"]
    assert [(row["name"], row["spent"]) for row in months] == [("2026-09", 2), ("2026-10", 31), ("2026-11", 2)]


def test_the_table_has_a_total_of_money_where_it_was_spent_in_several_units(
    accounts: World, reporter: Reporter, folder: Path
) -> None:
    (folder / "config.yaml").write_text(ACCOUNTS.replace("media}}\n", "media}, price: {amount: 2, currency: USD}}\n"))
    for day in range(3):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 100.0 - day)
        accounts.poll(SEARCH, OCTOBER + day * DAY, 100.0 - day)
        accounts.poll(CLIPS, OCTOBER + day * DAY, 100.0 - day, unit="minutes")
    lines = reporter("account", month="2026-10").splitlines()
    assert [line.split() for line in lines if line.startswith("total")] == [["total", "USD", "4.20", "USD"]]


def test_a_sum_of_credits_of_several_vendors_has_a_note(accounts: World, reporter: Reporter, folder: Path) -> None:
    note = "Sums in credits are of several providers, whose credits are not worth the same: videodb, vidnavigator."
    for day in range(3):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 100.0 - day)
        accounts.poll(CLIPS, OCTOBER + day * DAY, 100.0 - day)
    assert note not in reporter("label:team", month="2026-10"), "one of them has a price"
    (folder / "config.yaml").write_text(ACCOUNTS.replace("media}}\n", "media}, price: {amount: 2, currency: USD}}\n"))
    assert note in reporter("label:team", month="2026-10")


def test_a_day_without_a_reading_is_not_known(accounts: World, reporter: Reporter) -> None:
    for day in (-1, 0, 3):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 100.0 - day)
    rows = reporter.rows("day", first="2026-10-01", last="2026-10-05")
    assert [row["spent"] for row in rows] == [1, None, None, 3, None]
    assert "1 account was not read on some days" in reporter.err
    assert "vidnavigator/media (2 Oct 2026 to 3 Oct 2026)" in reporter.err
    assert "1 account was not read up to the end" in reporter.err
    assert "vidnavigator/media (last on 4 Oct 2026)" in reporter.err


def test_a_month_that_has_not_ended_has_a_note_with_its_forecast(month: World, reporter: Reporter) -> None:
    table = reporter(month="2026-11", now=OCTOBER + 34 * DAY)
    assert "30 Nov 2026 has not ended. The numbers are those until 3 Nov 2026, 22:13 UTC." in table
    assert "EXPECTED BY 30 NOV 2026" in table
    media = next(line for line in table.splitlines() if line.startswith("vidnavigator/media"))
    assert media.split()[1:] == ["3.00", "0.00", "0.00", "credits", "0.30", "USD", "3.01", "USD"]


def test_one_month_has_a_total_because_the_forecast_is_there(month: World, reporter: Reporter) -> None:
    lines = reporter("month", month="2026-11", now=OCTOBER + 34 * DAY).splitlines()
    assert ["2026-11", "3.00", "0.00", "0.00", "credits", "0.30", "USD"] in [line.split() for line in lines]
    assert ["total", "3.00", "0.00", "0.00", "credits", "0.30", "USD", "3.01", "USD"] in [
        line.split() for line in lines
    ]


def test_a_forecast_without_a_price_has_its_unit_and_decimals(accounts: World, reporter: Reporter) -> None:
    for day in range(-1, 19):
        accounts.poll(CLIPS, OCTOBER + day * DAY, 1000.0 - day / 4)
    clips = next(
        line for line in reporter(now=OCTOBER + 18 * DAY + 60, month="2026-10").splitlines() if "clips" in line
    )
    assert clips.split() == ["videodb/clips", "4.75", "0.00", "0.00", "credits", "8.00", "credits"]


def test_a_forecast_follows_the_last_week_alone(accounts: World, reporter: Reporter) -> None:
    balance = 1000.0
    for day in range(-1, 20):
        accounts.poll(MEDIA, OCTOBER + day * DAY, balance := balance - (10 if day < 10 else 1))
    table = reporter(month="2026-10", now=OCTOBER + 19 * DAY + 60)
    media = next(line for line in table.splitlines() if line.startswith("vidnavigator/media"))
    assert media.split()[-4:] == ["11.00", "USD", "12.20", "USD"], "110 spent, and 12 days of 1 to come"


def test_readings_of_a_clock_that_ran_ahead_do_not_count(month: World, reporter: Reporter) -> None:
    spent = [row["spent"] for row in reporter.rows(month="2026-10", now=OCTOBER + 2 * DAY) if row["currency"] == "USD"]
    assert spent == [2]


def test_one_day_without_a_reading_has_a_note(accounts: World, reporter: Reporter) -> None:
    for day in (-1, 0, 2):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 9.0)
    reporter.rows(first="2026-10-01", last="2026-10-03")
    assert "vidnavigator/media (2 Oct 2026)" in reporter.err


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Decimal("100.625"), "100.63"),
        (Decimal("-0.125"), "−0.13"),
        (Decimal("1234567.884999"), "1,234,567.88"),
        (Decimal("0.004"), "less than 0.01"),
        (Decimal("-0.004"), "just below 0"),
        (Decimal(0), "0.00"),
    ],
)
def test_money_is_rounded_as_on_an_invoice(amount: Decimal, text: str) -> None:
    assert figure(amount, 2) == text


def test_what_was_added_and_lapsed_is_listed_by_day(month: World, reporter: Reporter) -> None:
    table = reporter(month="2026-10")
    assert "11 Oct 2026  499.75    0.00  credits  vidnavigator/search" in table
    assert "21 Oct 2026  100.50  100.50  credits  videodb/clips" in table


def test_an_account_without_a_reading_has_no_numbers(accounts: World, reporter: Reporter) -> None:
    for day in range(3):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 9.0)
    rows = {row["name"]: row["spent"] for row in reporter.rows(month="2026-10")}
    assert rows == {"vidnavigator/media": 0, "vidnavigator/search": None, "videodb/clips": None}
    assert "2 accounts have fewer than two readings with a balance" in reporter.err
    assert reporter.status == 0


def test_a_removed_account_counts_and_has_a_note(month: World, reporter: Reporter, folder: Path) -> None:
    lines = ACCOUNTS.splitlines(keepends=True)
    (folder / "config.yaml").write_text("".join(line for line in lines if "search" not in line))
    rows = {row["name"]: row["spent"] for row in reporter.rows("label:team", month="2026-10")}
    assert rows == {"media": 0, "(none)": Decimal("7.5")}
    assert (
        "1 account was removed from the configuration, which has labels and price: vidnavigator/search." in reporter.err
    )


def test_csv_has_the_columns_of_the_json_and_no_formula(accounts: World, reporter: Reporter) -> None:
    for day in range(2):
        accounts.poll(MEDIA, OCTOBER + day * DAY, 10.0 - 0.000001 * day, used={"=1+1": day})
    table = list(csv.reader(io.StringIO(reporter("account", "csv", month="2026-10"))))
    assert table[0] == ["name", "unit", "spent", "added", "lapsed", "money", "currency"]
    assert table[1] == ["vidnavigator/media", "credits", "0.000001", "0", "0", "0.0000001", "USD"]
    assert table[2] == ["vidnavigator/search", "credits", "", "", "", "", "EUR"]
    accounts.poll(MEDIA, OCTOBER + 2 * DAY, 5.0, used={"=1+1": 3})
    assert "'=1+1,credits,3,,,0.3,USD" in reporter("operation", "csv", month="2026-10")


def test_json_has_three_keys(month: World, reporter: Reporter) -> None:
    document = json.loads(reporter("account", "json", month="2026-10"))
    assert list(document) == ["from", "to", "rows"]
    assert (document["from"], document["to"]) == ("2026-10-01", "2026-10-31")


@pytest.mark.parametrize(
    ("span", "sentence"),
    [
        ({"month": "2026-13"}, "--month must be a month such as 2026-10"),
        ({"month": "October"}, "--month must be a month such as 2026-10"),
        ({"month": "2026-10", "first": "2026-10-01"}, "give either --month or --from and --to"),
        ({"first": "2026-02-30"}, "--from must be a day such as 2026-10-01"),
        ({"first": "2026-10-01", "last": "20261031"}, "--to must be a day such as 2026-10-31"),
        ({"last": "2026-10-31"}, "--to needs --from"),
        ({"first": "2026-10-31", "last": "2026-10-01"}, "--to is before --from"),
        ({"first": "2026-12-01"}, "the span has not begun. Today is 2026-11-06 in UTC"),
        ({"month": "2027-01"}, "the span has not begun"),
        ({"first": "2026-10-01", "last": "9998-12-31"}, "--to is more than a year ahead"),
        ({"by": "team"}, "--by must be account, provider, operation, day, month or label:NAME, such as label:team"),
        ({"by": "label:"}, "--by must be account"),
        ({"by": "label:env"}, "there is no such label in config.yaml. The labels are team"),
    ],
)
def test_a_wrong_span_or_label_is_reported(
    span: dict[str, str], sentence: str, folder: Path, reporter: Reporter
) -> None:
    with pytest.raises(UsageError, match=f"^report: {sentence}"):
        reporter(**span)  # type: ignore[arg-type]  # the names are those of the function


def test_without_a_state_there_is_no_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.yaml").write_text(ACCOUNTS.replace("state: {path: state.db}", ""))
    assert commands.run(["report"]) == 2
    assert capsys.readouterr().err == "report: config.yaml has no `state:`, so there is no history to report on\n"


def test_a_report_without_standard_output_fails(
    month: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "k" * 20)
    monkeypatch.setattr(sys, "stdout", None)
    assert commands.run(["report", "--month=2026-10"]) == 1
    assert capsys.readouterr().err == "report: standard output is closed, so there is nowhere to write\n"


def broken(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
        return
    if how == "empty":
        path.write_bytes(b"")
        return
    if how == "damaged":
        path.write_bytes(os.urandom(9000))
        return
    with closing(sqlite3.connect(path)) as db:
        if how == "later":
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        elif how == "earlier":
            db.executescript("DROP TABLE history; DROP TABLE polls; PRAGMA user_version = 1")
        else:
            db.execute("PRAGMA application_id = 5")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("missing", "there is no such file. The exporter makes it when it starts"),
        ("empty", "it is empty"),
        ("damaged", "file is not a database"),
        ("later", "it has schema 3 of a later release, and this release reads 2"),
        ("earlier", "not the schema that this release writes"),
        ("foreign", "another program's SQLite file"),
    ],
)
def test_a_state_that_cannot_be_read_exits_1_with_a_sentence(
    how: str, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "state.db"
    StateFile.open(path, FakeClock(), exclusive=True).close()
    broken(path, how)
    assert commands.run(["report"]) == 1
    assert capsys.readouterr() == ("", f"report: state file {path} cannot be read: {sentence}\n")


def test_a_file_that_another_program_locks_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    StateFile.open(folder / "state.db", FakeClock(), exclusive=True).close()
    with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        assert commands.run(["report"]) == 1
    assert "cannot be read: database is locked" in capsys.readouterr().err


def test_a_span_that_the_history_does_not_cover_exits_1_and_says_so(month: World, reporter: Reporter) -> None:
    rows = reporter.rows(month="2026-01")
    assert reporter.status == 1
    assert {row["spent"] for row in rows} == {None}
    assert "3 accounts have fewer than two readings with a balance" in reporter.err


def test_damaged_readings_are_reported(month: World, reporter: Reporter, folder: Path) -> None:
    statements = (
        "UPDATE history SET readings = x'00' WHERE account = (SELECT id FROM accounts WHERE account LIKE '%media%')",
        "UPDATE accounts SET reading = x'00' WHERE account LIKE '%search%'",
    )
    with closing(sqlite3.connect(folder / "state.db")) as db:
        for statement in statements:
            assert db.execute(statement).rowcount
        db.commit()
    reporter.rows(month="2026-10", now=NOVEMBER + DAY)
    told = [note for note in reporter.err.splitlines() if "media" in note or "search" in note]
    assert told == [
        "Note: 2 accounts have damaged readings in the state, so what was spent then counts on a later day or is not in"
        " the numbers: vidnavigator/media, vidnavigator/search."
    ]


def test_a_report_does_not_write_beside_a_daemon(month: World, reporter: Reporter, folder: Path) -> None:
    def content() -> dict[Path, bytes]:
        # SQLite counts its readers in shared memory.
        return {each: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")}

    before = content()
    for output in ("table", "csv", "json", "html"):
        assert reporter(output=output, month="2026-10")
    assert content() == before


@pytest.mark.parametrize(("target", "status"), [("/dev/full", 1), ("pipe", 1)])
def test_output_that_cannot_be_written_causes_no_traceback(
    target: str, status: int, month: World, folder: Path
) -> None:
    month.file.close()
    command = [sys.executable, "-m", "exporter", "report", "--month=2026-10", "--output=html"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    if target == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
    os.close(writer)
    assert done.returncode == status
    assert done.stderr == ("" if target == "pipe" else "standard output: No space left on device\n")


@pytest.mark.needs("pg_ctlcluster")
def test_a_report_on_a_database_is_that_on_the_file_that_was_copied_there(
    month: World, reporter: Reporter, folder: Path, postgresql: Server
) -> None:
    outputs = ("table", "csv", "json")
    expected = [reporter("day", output, month="2026-10") for output in outputs]
    month.file.close()
    (folder / "url").write_text(postgresql.new_database())
    copy_state(str(folder / "state.db"), str(folder / "url"))
    (folder / "config.yaml").write_text(ACCOUNTS.replace("path: state.db", "url_file: url"))
    assert [reporter("day", output, month="2026-10") for output in outputs] == expected
    (folder / "url").write_text("postgresql://127.0.0.1:9/none")
    with pytest.raises(StartError, match=r"^report: the state database cannot be read: "):
        reporter()
