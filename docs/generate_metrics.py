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

Every family begins with `video_api_`. Every account family has the labels `provider` and `account`. It also has one
label for each key that any account's `labels` names. That label is empty on accounts that do not set it. Units are
Prometheus' base units. Credits are a unit of their own.

## How values are read

- A field that the vendor does not send, or sends as `null`, is **absent** and never 0. `"unlimited"` is `+Inf`.
- A string that is a JSON number counts as that number. Any other value in the place of a number is **rejected**. Its
  series is absent, and the rest of the response is used. `video_api_rejected_fields` counts it, up to 1,000 for a
  response, and the log names its path.
- After a failed poll the last good values stay until they are `stale_after` old, and `video_api_up` is 0. Then the
  exporter withdraws the account's figures. Its thresholds, its ledger counters and everything about polling stay.
- The exporter asks for invoices and auto recharge once an hour. It withdraws them when they are three hours old.
- At most `max_operations` operations of a response have their own series, the largest by value. The rest is summed as
  `operation="(other)"`. Label values are cut to 256 characters.

## The ledger

`video_api_credits_spent_total`, `_added_total` and `_lapsed_total` are true counters. So `rate()` and `increase()`
are right over top-ups and monthly resets, which break every forecast on a balance. The exporter compares each reading
with the account's last one, pool by pool. As long as a pool stays limited, this holds.

    spent + lapsed - added = first balance - last balance

If the exporter was down or could not reach the vendor, the next reading counts in one step what was spent meanwhile.
Then `video_api_reading_gap_seconds` is long, so a rule on a short window can recognise the step and ignore it.
VideoDB shows its monthly reset only as a change of the balance, so its three counters are estimates across a reset.

## Accounts

"""

OWN = """
## The exporter itself

"""

TAIL = """
The client library adds `process_*` and `python_*`. The exporter's own families are read at most once a second, so
scrapes within the same second get the same bytes.

## Failure reasons

| reason | when |
| --- | --- |
"""


def row(cells: Iterable[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


class Alone:
    """A replica without others."""

    replicas = accounts_held = 1
    config_differs = False


def own_families() -> Iterable[tuple[str, str, tuple[str, ...], str]]:
    """Yield name, type, labels and help of what the exporter says of itself."""
    metrics = SelfMetrics("", "", 0, 1, state_up=lambda: True)
    metrics.tell_replicas(Alone())
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
