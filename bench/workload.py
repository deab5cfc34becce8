"""Makes synthetic accounts with the exporter's own families. Their figures depend on account and tick.

Every value changes at each tick, even in series that do not change in practice. So the figures are the worst case of
an account that changed.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from exporter.account_id import AccountId
from exporter.config.load import load
from exporter.demo import apis
from exporter.metrics.catalogue import FAMILIES
from exporter.metrics.family import Family
from exporter.metrics.view import View
from exporter.polling.ledger import advance
from exporter.providers import PROVIDERS
from exporter.providers.base import ParseOptions
from exporter.providers.vidnavigator import parse_usage
from exporter.readings import AccountState

LABELS = ("provider", "account", "team")
TEAMS = ("media", "search", "archive", "newsroom")
NOW = 1_790_000_000.0
SERVICES: Mapping[str, apis.Json] = {
    "standard_request": {"used": 15000},
    "youtube_transcript": {"used": 310},
    "video_search": {"used": 1200},
    "video_analysis": {"used": 87},
    "scene_analysis": {"used": 12},
    "transcription_hour": {"used": 16.5, "unit": "hours"},
}

Row = tuple[tuple[str, ...], float]
"""Values of a family's own labels, and the value."""


def account_keys(count: int) -> list[AccountId]:
    return [("vidnavigator", f"customer-{number:06}") for number in range(count)]


def label_values(key: AccountId) -> tuple[str, ...]:
    return (*key, TEAMS[int(key[1].rpartition("-")[2]) % len(TEAMS)])


class Workload:
    """The figures of each account at each tick."""

    def __init__(self, directory: Path) -> None:
        self.shape = self._shape(directory)
        self.series = sum(len(rows) for _, rows in self.shape)

    def rows(self, number: int, tick: int) -> list[tuple[Family, list[Row]]]:
        """Return each family's samples of one account."""
        draw = random.Random(number * 1_000_003 + tick).random
        return [(family, [(labels, _vary(value, draw())) for labels, value in rows]) for family, rows in self.shape]

    def _shape(self, directory: Path) -> list[tuple[Family, list[Row]]]:
        """Take the series of a VidNavigator account with everything that its API sends, after a good poll."""
        config = directory / "shape.yaml"
        config.write_text("accounts: [{name: a, provider: vidnavigator, api_key: abc, labels: {team: media}}]\n")
        account = load(config, PROVIDERS, {}).accounts[0]
        response = {"status": "success", "data": apis.vidnavigator_usage(services=SERVICES, generated_at=NOW)}
        usage = parse_usage(response, ParseOptions(account.max_operations, account.credit_rates))
        state = AccountState(
            parts={"usage": usage},
            part_times={"usage": NOW},
            ledger=advance(None, usage, NOW, warning=0.0),
            last_poll=NOW,
            last_success=NOW,
            next_poll=NOW + 300,
            last_duration=0.3,
            reading_gap=300.0,
            polls=100,
        )
        view = View(account, state, usage, None, None)
        return [(family, list(family.samples(view))) for family in FAMILIES]


def _vary(value: float, chance: float) -> float:
    """Return a figure of the same kind. Large ones stay whole like bytes, or get a fraction like times."""
    if value >= 2e9:
        return float(round(value * (0.5 + chance)))
    if value >= 1e6:
        return round(value + 300 * chance, 3)
    return round((abs(value) + 1) * chance * 8, 1)


DECLARED = Path(__file__).parent.parent / "tests" / "providers" / "vidnavigator.yaml"
"""The definition of VidNavigator as data."""


def configuration(count: int, base_url: str, keys: list[str], poll: str, *, declared: bool = False) -> Iterator[str]:
    """Yield the lines of a configuration file of VidNavigator accounts, by its code or ``declared`` as data."""
    if declared:
        yield "providers:\n  declared:\n" + textwrap.indent(DECLARED.read_text(), "    ")
    yield f"poll: {{{poll}}}\naccounts:\n"
    for (provider, name), key in zip(account_keys(count), keys, strict=True):
        team = label_values((provider, name))[-1]
        vendor = "declared" if declared else provider
        yield (
            f"- {{name: {name}, provider: {vendor}, base_url: '{base_url}', api_key: '{key}',"
            f" max_requests_per_minute: 1000, labels: {{team: {team}}}}}\n"
        )
