"""Write docs/metrics.md from the catalogue: python docs/generate_metrics.py"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from exporter.errors import POLL_ERRORS
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.self_metrics import SelfMetrics

TARGET = Path(__file__).parent / "metrics.md"

HEAD = """<!-- Written by docs/generate_metrics.py from exporter/metrics/catalogue.py: change it there. -->

# Metrics

Every family begins with `video_api_`. Every account family carries `provider` and `account`, then one label for
each key that any account's `labels` names, empty where an account does not set it. Units are Prometheus' base
units; credits are a unit of their own.

## How values are read

- What a vendor does not send, or sends as `null`, is **absent**, never 0. `"unlimited"` is `+Inf`.
- A string that is a JSON number counts as that number. Anything else where a number belongs is **rejected**: that
  series is absent, the rest of the answer stands, `video_api_rejected_fields` counts it and the log names its path.
- After a failed poll the last good values stay, with `video_api_up` 0, until they are `stale_after` old. Then the
  account's figures are withdrawn; its thresholds, its ledger counters and everything about polling stay.
- Invoices and auto recharge are asked for once an hour, and withdrawn when they are three hours old.
- At most `max_operations` operations of an answer have series of their own, the largest by value; the rest is
  summed as `operation="(other)"`. Label values are cut to 256 characters.

## The ledger

`video_api_credits_spent_total`, `_added_total` and `_lapsed_total` are true counters, so that `rate()` and
`increase()` hold over top-ups and monthly resets, which break every forecast made on a balance. Each reading is
compared with the account's last one, pool by pool, and as long as a pool stays limited

    spent + lapsed - added = first balance - last balance

What was spent while the exporter was down, or could not reach the vendor, is booked in one step by the next
reading; `video_api_reading_gap_seconds` tells a rule on a short window to look away. For VideoDB, whose monthly
reset shows only as a change of the balance, the three are estimates across a reset.

## Accounts

"""

OWN = """
## The exporter itself

"""

TAIL = """
Beside these stand the client library's `process_*` and `python_*`. The exporter's own families are read again at
most once a second, so that scrapes which follow each other closer get the same bytes.

## Failure reasons

| reason | when |
| --- | --- |
"""


def row(cells: Iterable[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def own_families() -> Iterable[tuple[str, str, tuple[str, ...], str]]:
    """Yield name, type, labels and help of what the exporter says of itself."""
    metrics = SelfMetrics("", "", 0, 1)
    metrics.set_accounts(["example"])
    for provider in ("example",):
        metrics.poll_duration.labels(provider)
    for family in metrics.registry.collect():
        if family.name.startswith("video_api_"):
            labels = tuple(dict.fromkeys(name for sample in family.samples for name in sample.labels if name != "le"))
            name = family.name + ("_total" if family.type == "counter" else "")
            yield name, family.type, labels, family.documentation


def page() -> str:
    """Return the whole page."""
    text = HEAD + row(["family", "type", "labels", "meaning"]) + row(["---"] * 4)
    for family in FAMILIES:
        meaning = family.help.removesuffix(" Cached; polled on an interval.")
        labels = ", ".join(f"`{label}`" for label in family.labels)
        text += row([f"`{family.name}`", family.type, labels, meaning])
    text += OWN + row(["family", "type", "labels", "meaning"]) + row(["---"] * 4)
    for name, kind, own_labels, meaning in own_families():
        text += row([f"`{name}`", kind, ", ".join(f"`{label}`" for label in own_labels), meaning])
    text += TAIL
    for error in POLL_ERRORS:
        text += row([f"`{error.reason}`", (error.__doc__ or "").strip()])
    return text


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
