"""Measures the command ``report`` over the histories of many accounts."""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.processes import ROOT, workplace
from exporter.readings import AccountState, Ledger, Pool, Quota, Usage
from exporter.runtime.clock import SystemClock
from exporter.state import chunks
from exporter.state.base import DAY
from exporter.state.codec import name_of
from exporter.state.sqlite import StateFile

DAYS = 400
LIVES = 50
"""Different lives, which the accounts share."""
OPERATIONS = ("video_search", "scene_analysis", "transcription_hour", "standard_request", "youtube_transcript")
TEAMS = 20


def spending(count: int, rounds: int = 3) -> dict[str, Any]:
    """Return the CPU time and the time of the report on this month and on 13 months, in seconds."""
    with workplace() as directory:
        today = int(time.time()) // DAY
        config = _configuration(directory, count)
        _fill(directory / "state.db", count, today)
        first = time.strftime("%Y-%m-%d", time.gmtime((today - 395) * DAY))
        spans = {"month": [], "thirteen_months": [f"--from={first}"]}
        return {
            "accounts": count,
            "state_bytes": (directory / "state.db").stat().st_size,
            **{name: _timed(config, span, rounds) for name, span in spans.items()},
        }


def _timed(config: Path, span: list[str], rounds: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "exporter",
        "report",
        f"--config.file={config}",
        "--by=label:team",
        "--output=json",
    ]
    runs = []
    for _ in range(rounds):
        before, began = os.times(), time.monotonic()
        subprocess.run([*command, *span], check=True, capture_output=True, cwd=ROOT)
        after, ended = os.times(), time.monotonic()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        runs.append((cpu, ended - began))
    return {"cpu": statistics.median(run[0] for run in runs), "wall": statistics.median(run[1] for run in runs)}


def _configuration(directory: Path, count: int) -> Path:
    lines = [f"state: {{path: {directory / 'state.db'}}}", "accounts:"]
    for number in range(count):
        lines.append(f"- {{name: customer-{number:06}, provider: vidnavigator, api_key_env: K{number},")
        lines.append(f"   labels: {{team: team-{number % TEAMS}}}, price: {{amount: 0.1, currency: USD}}}}")
    config = directory / "config.yaml"
    config.write_text("\n".join(lines) + "\n")
    return config


def _fill(path: Path, count: int, today: int) -> None:
    """Write the daily readings of every account as the exporter would have left them."""
    lives = [_life(number, today) for number in range(LIVES)]

    def put(db: sqlite3.Connection) -> None:
        for number in range(1, count + 1):
            name = name_of(("vidnavigator", f"customer-{number - 1:06}"))
            packed, last = lives[number % LIVES]
            accounts = (
                "INSERT INTO accounts(id, account, state, checksum, saved_at, reading) VALUES (?, ?, '', 0, 0, ?)"
            )
            db.execute(accounts, (number, name, last))
            chunked = [(number, DAY, *chunk) for chunk in packed]
            db.executemany("INSERT INTO history VALUES (?, ?, ?, ?)", chunked)

    with closing(StateFile.open(path, SystemClock(), exclusive=True)) as state:
        state.write(put)


def _life(number: int, today: int) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the chunks of an account, each with its number, and its last reading."""
    draw, days = random.Random(number), []
    spent, added, used = Decimal(0), Decimal(0), dict.fromkeys(OPERATIONS, 0.0)
    for day in range(today - DAYS, today):
        if day % 30 == 0:
            added, used = added + 5000, dict.fromkeys(OPERATIONS, 0.0)
        for name in OPERATIONS:
            amount = draw.randrange(500_000)
            used[name] = round(used[name] + amount / 10_000, 4)
            spent += Decimal(amount) / 10_000
        pool = Pool(float(100_000 + added - spent), period_start=day // 30 * 30.0 * DAY)
        usage = Usage(pool.balance, used_by_operation=dict(used), storage=Quota(ratio=0.25), channels=Quota(ratio=0.5))
        ledger = Ledger(spent, added, pools={"monthly": pool}, began=(today - DAYS) * DAY)
        reading = chunks.reading(AccountState({"usage": usage}, {"usage": (day + 0.99) * DAY}, ledger=ledger))
        assert reading is not None
        days.append(reading)
    groups = groupby(days, key=lambda each: each.at[0] // DAY // chunks.ROWS)
    return [(chunk, chunks.pack(chunks.joined(list(group)))) for chunk, group in groups], chunks.encode(days[-1])
