"""The table of `make bench ARGS=alerts`: the shipped rules beside three rules as people write them."""

from __future__ import annotations

from typing import Any

from bench.alerts.accounts import accounts
from bench.alerts.curves import SHAPES
from bench.alerts.judge import figures, firings, needed
from bench.processes import ROOT

RULES = ROOT / "deploy/prometheus/rules"
SHIPPED = ("VideoApiCreditsRunOutBeforeReset", "VideoApiCreditsRunOutSoon")
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
    return {"accounts": len(everyone), "rules": rules}


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
    return "\n".join(lines)
