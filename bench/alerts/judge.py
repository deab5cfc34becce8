"""When promtool fires alerts for accounts, and what that was worth to those who get them."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import nan
from os import cpu_count
from pathlib import Path
from statistics import fmean, median
from typing import Any

import yaml

from bench.alerts.accounts import END, Account
from bench.alerts.curves import DAY, HISTORY, PERIOD, STEP

HOUR = 3600 // STEP
EVERY = 2
"""Steps between two evaluations."""
AT_ONCE = 15
"""Accounts in one promtool."""

Firings = list[tuple[int, int]]
"""The steps from and to which an alert fires."""


def needed(files: Sequence[Path], alerts: Collection[str]) -> list[dict[str, Any]]:
    """Return the groups of rule files with these alerts alone, and all that they read."""
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    rules = {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}
    wanted, look = set(alerts), list(alerts)
    while look:
        read = set(re.findall(r"\bvideo_api:[\w:]+", rules[look.pop()]["expr"])) - wanted
        wanted |= read
        look += read
    kept = [
        {"name": group["name"], "rules": [r for r in group["rules"] if (r.get("alert") or r["record"]) in wanted]}
        for group in groups
    ]
    return [group for group in kept if group["rules"]]


def firings(groups: list[dict[str, Any]], accounts: Sequence[Account]) -> dict[tuple[str, str], Firings]:
    """Return by alert and account when it fires after the history."""
    batches = [accounts[n : n + AT_ONCE] for n in range(0, len(accounts), AT_ONCE)]
    found: dict[tuple[str, str], Firings] = {}
    with ThreadPoolExecutor(cpu_count()) as pool:
        for batch in pool.map(lambda batch: _firings(groups, batch), batches):
            found.update(batch)
    return found


def _firings(groups: list[dict[str, Any]], accounts: Sequence[Account]) -> dict[tuple[str, str], Firings]:
    firing = 'ALERTS{alertstate="firing"}'
    # A question with the wrong answer, because promtool prints what it found instead.
    asked = [
        {"expr": firing, "eval_time": f"{step * STEP}s", "exp_samples": [{"labels": "{}", "value": -1}]}
        for step in range(HISTORY, END, EVERY)
    ]
    series = {name: values for account in accounts for name, values in account.series().items()}
    test = {
        "interval": f"{STEP}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": asked,
    }
    with tempfile.TemporaryDirectory() as name:
        rules, file = Path(name, "rules.yml"), Path(name, "test.yml")
        rules.write_text(yaml.safe_dump({"groups": groups}))
        order = [group["name"] for group in groups]
        file.write_text(
            yaml.dump(
                {
                    "rule_files": [str(rules)],
                    "evaluation_interval": f"{EVERY * STEP}s",
                    "group_eval_order": order,
                    "tests": [test],
                },
                Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
                width=10**9,
            )
        )
        run = subprocess.run(
            ["promtool", "test", "rules", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    answers = run.stdout.split("got: ")[1:]
    if len(answers) != len(asked):
        raise RuntimeError(run.stdout[-2000:])
    return _intervals(answers)


def _intervals(answers: Sequence[str]) -> dict[tuple[str, str], Firings]:
    found: dict[tuple[str, str], Firings] = defaultdict(list)
    for nth, answer in enumerate(answers):
        step = HISTORY + nth * EVERY
        for labels in re.findall(r"\{(.*?)\} 1E\+00", answer.splitlines()[0]):
            pair = dict(re.findall(r'(\w+)="(.*?)"', labels))
            intervals = found[pair["alertname"], pair["account"]]
            if intervals and intervals[-1][1] == step:
                intervals[-1] = (intervals[-1][0], step + EVERY)
            else:
                intervals.append((step, step + EVERY))
    # What fires at the first moment is about the time before.
    return {pair: [one for one in intervals if one[0] > HISTORY] for pair, intervals in found.items()}


def lead(account: Account, intervals: Firings) -> float:
    """Return for how many hours the alert has stood when the credits end. Gaps up to an hour are forgiven."""
    ends = account.ends or END
    begins = None
    for begin, end in reversed([one for one in intervals if one[0] < ends]):
        if end < (ends if begins is None else begins) - HOUR:
            break
        begins = begin
    return 0.0 if begins is None else (ends - begins) / HOUR


def first(account: Account, intervals: Firings) -> float:
    """Return how many hours before the end of the credits the alert fired first."""
    return max([((account.ends or END) - begin) / HOUR for begin, _ in intervals], default=0.0)


def figures(accounts: Sequence[Account], fired: dict[str, Firings]) -> dict[str, float]:
    """Return what an alert did for accounts whose credits end, that keep some, and for runaway jobs."""
    kinds: dict[str, list[tuple[Account, Firings]]] = defaultdict(list)
    for account in accounts:
        kinds[account.kind].append((account, fired.get(account.name, [])))
    end, prepaid, topped_up = kinds["ends"], kinds["prepaid, ends"], kinds["prepaid, always 10 days left"]
    found = {
        "first 24 h": fmean(first(*one) >= 24 for one in end),
        "first 1 h": fmean(first(*one) >= 1 for one in end + prepaid),
        "unbroken 24 h": fmean(lead(*one) >= 24 for one in end),
        "firings": fmean(len(intervals) for _, intervals in end),
        "over 24 h": fmean(first(*one) > 24 for one in end),
        "prepaid unbroken 24 h": fmean(lead(*one) >= 24 for one in prepaid),
        "topped up hours": fmean(sum(b - a for a, b in intervals) / HOUR for _, intervals in topped_up),
    }
    for kind, members in kinds.items():
        if kind.startswith("keeps"):
            found[kind] = fmean(bool(intervals) for _, intervals in members)
            found[f"{kind} hours"] = fmean(sum(b - a for a, b in intervals) / HOUR for _, intervals in members)
        if kind.startswith("runaway"):
            found[kind] = median(lead(*one) for one in members)
    return found


def spike_figures(accounts: Sequence[Account], fired: dict[str, Firings]) -> dict[str, float]:
    """Return the share of jobs that an alert tells of while they run, how soon, and how often it fires without one.

    What share of all firings tells of a job is for accounts that have one in each period.
    """
    waits: dict[str, list[float | None]] = defaultdict(list)
    quiet = []
    for account in accounts:
        begun = [begin for begin, _ in fired.get(account.name, [])]
        if account.begins is None:
            quiet.append(len(begun))
        else:
            told = [begin for begin in begun if account.begins <= begin < (account.ends or END)]
            waits[account.kind].append((told[0] - account.begins) / HOUR if told else None)
    every = [wait for kind in waits.values() for wait in kind]
    told_of, false = fmean(wait is not None for wait in every), fmean(quiet)
    return {
        **{
            f"{kind.replace('runaway', 'job')} told": fmean(wait is not None for wait in found)
            for kind, found in waits.items()
        },
        "all jobs told": told_of,
        "hours until then": median([wait for wait in every if wait is not None] or [nan]),
        "firings a week without a job": false * 7 * DAY / PERIOD,
        "of firings, jobs": told_of / (told_of + false) if told_of + false else nan,
    }
