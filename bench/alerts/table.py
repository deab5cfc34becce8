"""The table of `make bench ARGS=alerts`: the shipped rules beside three rules as people write them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from bench.alerts.accounts import accounts, jobs
from bench.alerts.curves import SHAPES
from bench.alerts.judge import figures, firings, needed, spike_figures
from bench.processes import ROOT

RULES = ROOT / "deploy/prometheus/rules"
SHIPPED = ("VideoApiCreditsRunOutBeforeReset", "VideoApiCreditsRunOutSoon")
SPIKE = "VideoApiSpendSpike"
FLOOR, BUSIEST = "0.01 *", "1.5 *"
"""What the shipped rule asks: a share of the monthly limit in an hour, and a multiple of the busiest hour."""
SPIKES = {
    "1 %, 1.5 times": (FLOOR, BUSIEST),
    "2 %, 1.5 times": ("0.02 *", BUSIEST),
    "0.5 %, 1.5 times": ("0.005 *", BUSIEST),
    "1 %, 1.2 times": (FLOOR, "1.2 *"),
    "1 %, 2 times": (FLOOR, "2 *"),
}
USUAL = {
    "Threshold20Percent": "threshold of 20 % alone",
    "PredictLinear6h": "`predict_linear(balance[6h], 86400) < 0`",
    "DerivToTheReset": "`deriv(balance[6h])` to the reset",
}


def measure() -> dict[str, Any]:
    """Judge every rule on every curve, each of which begins on a Thursday. It takes some minutes."""
    everyone = list(accounts(tuple(SHAPES), (3,)))
    groups = needed(sorted(RULES.glob("*.yml")), SHIPPED) + needed([ROOT / "bench/alerts/usual.yml"], tuple(USUAL))
    fired = firings(groups, everyone)
    rules = {
        name: figures(everyone, {account: found for (alert, account), found in fired.items() if alert == name})
        for name in (*SHIPPED, *USUAL)
    }
    return {"accounts": len(everyone), "rules": rules, **spikes(tuple(SHAPES), (0, 2, 4, 5))}


def spikes(curves: Sequence[str], weekdays: Sequence[int]) -> dict[str, dict[str, dict[str, float]]]:
    """Judge `VideoApiSpendSpike` with other numbers on accounts with a job and without, and as it is on each curve."""
    everyone = list(jobs(curves, weekdays))
    groups = needed(sorted(RULES.glob("*.yml")), (SPIKE,))
    [(group, spike)] = [(group, rule) for group in groups for rule in group["rules"] if "alert" in rule]
    for name, (floor, busiest) in SPIKES.items():
        expr = spike["expr"].replace(FLOOR, floor).replace(BUSIEST, busiest)
        group["rules"].append({**copy.deepcopy(spike), "alert": name, "expr": expr})
    group["rules"].remove(spike)
    fired = firings(groups, everyone)
    by = {name: {account: when for (alert, account), when in fired.items() if alert == name} for name in SPIKES}
    shipped = by[next(iter(SPIKES))]
    return {
        "spikes": {name: spike_figures(everyone, found) for name, found in by.items()},
        "curves": {curve: spike_figures([one for one in everyone if one.curve == curve], shipped) for curve in curves},
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    shares = {
        "fires a day before the end": "first 24 h",
        "an hour before": "first 1 h",
        "over a day before": "over 24 h",
        "stands through the last day": "unbroken 24 h",
        "keeps 10 %, fires": "keeps 10%",
        "keeps 25 %, fires": "keeps 25%",
    }
    numbers = {
        "firings": "firings",
        "false hours at 25 %": "keeps 25% hours",
        "hours of warning, runaway of 8 h": "runaway of 8 h",
        "runaway of 26 h": "runaway of 26 h",
    }
    lines = ["| rule | " + " | ".join((*shares, *numbers)) + " |", "| --- " * (1 + len(shares) + len(numbers)) + "|"]
    for rule, found in result["rules"].items():
        cells = [f"{found[name]:.0%}".replace("%", " %") for name in shares.values()]
        cells += [f"{found[name]:.1f}" for name in numbers.values()]
        lines.append("| " + " | ".join([USUAL.get(rule, f"`{rule}`"), *cells]) + " |")
    spikes = _spike_table("floor and multiple of the busiest hour", result["spikes"])
    return "\n".join([*lines, "", *spikes, "", *_spike_table("curve", result["curves"])])


def _spike_table(first: str, figures: dict[str, dict[str, float]]) -> list[str]:
    columns = list(next(iter(figures.values())))
    shares = {name for name in columns if name.endswith((" told", "jobs"))}
    lines = [f"| {first} | " + " | ".join(columns) + " |", "| --- " * (1 + len(columns)) + "|"]
    for name, found in figures.items():
        cells = (f"{found[one]:.0%}".replace("%", " %") if one in shares else f"{found[one]:.2f}" for one in columns)
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines
