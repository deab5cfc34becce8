"""The table of `make bench ARGS=alerts`: the shipped rules beside three rules as people write them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from bench.alerts.accounts import Account, accounts
from bench.alerts.curves import SHAPES
from bench.alerts.judge import figures, firings, needed, spike_figures
from bench.processes import ROOT

RULES = ROOT / "deploy/prometheus/rules"
SHIPPED = ("VideoApiCreditsRunOutBeforeReset", "VideoApiCreditsRunOutSoon")
SPIKE = "VideoApiSpendSpike"
FLOORS = (0.02, 0.01, 0.005)
"""Shares of the monthly limit in an hour, of which the second is the shipped one."""
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
    return {"accounts": len(everyone), "rules": rules, "spikes": spikes(everyone)}


def spikes(everyone: Sequence[Account]) -> dict[str, dict[str, float]]:
    """Judge `VideoApiSpendSpike` at each floor, on runaway jobs and on accounts without one."""
    some = [one for one in everyone if one.kind.startswith("runaway") or one.kind == "keeps 25%"]
    groups = needed(sorted(RULES.glob("*.yml")), (SPIKE,))
    [(group, spike)] = [(group, rule) for group in groups for rule in group["rules"] if "alert" in rule]
    for floor in FLOORS:
        other = copy.deepcopy(spike)
        other["expr"] = spike["expr"].replace("0.01 *", f"{floor} *")
        group["rules"].append({**other, "alert": f"{floor:.1%}"})
    group["rules"].remove(spike)
    fired = firings(groups, some)
    return {
        f"{floor:.1%}": spike_figures(
            some, {name: found for (alert, name), found in fired.items() if alert == f"{floor:.1%}"}
        )
        for floor in FLOORS
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
    return "\n".join([*lines, "", *_spike_table(result["spikes"])])


def _spike_table(floors: dict[str, dict[str, float]]) -> list[str]:
    columns = list(next(iter(floors.values())))
    lines = ["| floor of `VideoApiSpendSpike` | " + " | ".join(columns) + " |", "| --- " * (1 + len(columns)) + "|"]
    for floor, found in floors.items():
        shares = (
            f"{found[name]:.0%}".replace("%", " %") if "told" in name else f"{found[name]:.2f}" for name in columns
        )
        lines.append("| " + " | ".join([floor.replace("%", " %"), *shares]) + " |")
    return lines
