"""The demo's accounts, what happens to them, and the exporter's configuration for them.

At `speed` 1 a billing period takes thirty real days. At a higher speed the same events take less real time, and
every time stamp (periods, invoices) is the *real* time at which the demo reaches it. With 8640, a period takes five
minutes, and its end is shown as less than five minutes away. So period ends are always in the future, and forecasts,
dashboards and alerts work at any speed. Only the rates grow, because a credit a day becomes a credit in ten seconds.
All figures and `generated_at` are two real seconds old, as if the vendor had a cache.

Outages and rate limits use real time at any speed, because the exporter's waits and intervals do too.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from exporter.demo import faults
from exporter.demo.apis import DEEPGRAM, GIB, NAVIGATOR, ODYSSEY, PROJECT, TRIAL, VIDEODB, VIDNAVIGATOR, VOYAGER
from exporter.demo.faults import Fault
from exporter.demo.life import Calendar, DataAt, Demand, Filling, Service, VideoDbLife, VidNavigatorLife
from exporter.demo.preset_lives import DeepgramLife, ElevenLabsLife, ViduLife
from exporter.demo.vendors import Clock, SimulatedAccount, Vendors

LAG_SECONDS = 2.0

NEW_SERVICES = (
    Service("standard_request", 0.3, 10_000),
    Service("residential_request", 0.2, 200),
    Service("analysis_request", 0.15, 100),
    Service("search_request", 0.1, 10),
    Service("transcription_hour", 0.2, scale=100, unit="hours"),
    Service("video_scene_analyses", 0.05),
)
OLD_SERVICES = (
    Service("video_transcripts", 0.3, 10_000),
    Service("youtube_transcripts", 0.2, 200),
    Service("video_searches", 0.1, 10),
    Service("video_analyses", 0.15, 100),
    Service("video_scene_analyses", 0.05),
    Service("video_uploads", 0.2, scale=100, unit="hours"),
)
MIXED_SERVICES = (*NEW_SERVICES[:3], OLD_SERVICES[2], *OLD_SERVICES[4:])  # shares add up to 1 again
TRIAL_SERVICES = (Service("standard_request", 1.0, 10_000),)
OPERATIONS = (
    Service("video_processing", 0.5, scale=100),
    Service("ai_generation", 0.25, scale=100),
    Service("semantic_indexing", 0.15, scale=100),
    Service("storage", 0.1, scale=100),
)
FEW_FILES = Filling(0.1 * GIB, 2 * GIB, 60, start=0.4)
ONE_CHANNEL = Filling(1, 2, 60)


@dataclass(frozen=True)
class Trouble:
    """A fault that recurs every `every` real seconds for `lasting` seconds, from `first` on. By default it stays."""

    fault: Fault
    first: float = 0.0
    every: float = 1.0
    lasting: float = 1.0

    def at(self, elapsed: float) -> Fault | None:
        """Return the fault at this time since the demo's start (real seconds), or None if there is none."""
        since = elapsed - self.first
        return self.fault if since >= 0 and since % self.every < self.lasting else None


@dataclass(frozen=True)
class DemoAccount:
    """An account of the demo with its name in the configuration, its life and its fault."""

    name: str
    life: VidNavigatorLife | VideoDbLife | ElevenLabsLife | DeepgramLife | ViduLife
    team: str
    env: str = "prod"
    price: tuple[float, str] | None = None
    trouble: Trouble | None = None
    is_new: bool = False  # it has no past


def _vidnavigator_accounts(demand: Callable[[float], Demand]) -> Iterator[DemoAccount]:
    """Yield the accounts. Their figures are chosen for what a viewer should see at the start."""
    burning = VidNavigatorLife(
        VOYAGER,
        NEW_SERVICES,
        demand(4.3),
        storage=Filling(120 * GIB, 260 * GIB, 90, start=0.3),
        channels=Filling(6, 10, 60, start=0.3),
        purchased=30,
        into_period=17,
        top_up=50,
    )
    yield DemoAccount("media-prod", burning, "media", price=(0.25, "USD"))
    filling = VidNavigatorLife(
        VOYAGER,
        OLD_SERVICES,
        demand(1.1),
        storage=Filling(200 * GIB, 490 * GIB, 20, start=0.8),
        channels=Filling(4, 16, 24, start=0.7),
        into_period=9,
    )
    yield DemoAccount("archive", filling, "media", price=(0.25, "USD"))
    unlimited = VidNavigatorLife(
        ODYSSEY,
        NEW_SERVICES,
        demand(60),
        storage=Filling(3000 * GIB, 9000 * GIB, 400, start=0.2),
        channels=Filling(40, 90, 90, start=0.5),
        into_period=12,
    )
    yield DemoAccount("broadcast", unlimited, "live")


def _vidnavigator_accounts_in_need(demand: Callable[[float], Demand]) -> Iterator[DemoAccount]:
    nearly_spent = VidNavigatorLife(
        TRIAL,
        TRIAL_SERVICES,
        demand(0.2),
        storage=FEW_FILES,
        channels=ONE_CHANNEL,
        into_period=24,
        status="trialing",
    )
    yield DemoAccount("trial", nearly_spent, "research", "dev")
    leaving = VidNavigatorLife(
        NAVIGATOR,
        OLD_SERVICES,
        demand(0.35),
        storage=FEW_FILES,
        channels=ONE_CHANNEL,
        into_period=27,
        leaving=True,
    )
    yield DemoAccount("leaving", leaving, "research")
    limited = VidNavigatorLife(
        VOYAGER,
        MIXED_SERVICES,
        demand(2.2),
        storage=Filling(30 * GIB, 90 * GIB, 90),
        channels=ONE_CHANNEL,
        into_period=5,
    )
    too_many = faults.status(429, message="Too many requests.", retry_after=60, retry_after_seconds=60)
    yield DemoAccount("batch", limited, "media", "staging", trouble=Trouble(too_many, first=20, every=180, lasting=15))
    unseen = VidNavigatorLife(NAVIGATOR, (), demand(0), storage=FEW_FILES, channels=ONE_CHANNEL)
    no_plan = Trouble(faults.no_subscription())
    yield DemoAccount("no-plan", unseen, "research", "dev", trouble=no_plan, is_new=True)
    seen_until_now = VidNavigatorLife(
        NAVIGATOR, OLD_SERVICES, demand(0.3), storage=FEW_FILES, channels=ONE_CHANNEL, into_period=13
    )
    revoked = Trouble(faults.status(401, message="The API key is not valid."))
    yield DemoAccount("revoked", seen_until_now, "research", "dev", trouble=revoked)


def _videodb_accounts(demand: Callable[[float], Demand]) -> Iterator[DemoAccount]:
    recharging = VideoDbLife(OPERATIONS, demand(6), purchased=60, into_period=17, threshold=20, recharge=100)
    yield DemoAccount("video-prod", recharging, "media", price=(1.0, "USD"))
    on_a_plan = VideoDbLife(OPERATIONS, demand(1.4), granted=50, into_period=20, example_names=True)
    yield DemoAccount("video-research", on_a_plan, "research")
    flaky = VideoDbLife(OPERATIONS, demand(12), purchased=90, into_period=8, threshold=25, recharge=200)
    bad_gateway = faults.status(502, message="Bad gateway.")
    yield DemoAccount("video-live", flaky, "live", trouble=Trouble(bad_gateway, first=45, every=240, lasting=40))
    unpaid = VideoDbLife(
        OPERATIONS,
        demand(1.7),
        purchased=20,
        into_period=24,
        threshold=25,
        recharge=50,
        card_declined=True,
    )
    yield DemoAccount("video-lab", unpaid, "research", "dev")


def _preset_accounts(demand: Callable[[float], Demand]) -> Iterator[DemoAccount]:
    """Yield accounts of other vendors, which the exporter reads by presets. Each counts in a unit of its own."""
    voices = Filling(18, 28, 50, start=0.8)
    dubbing = ElevenLabsLife(demand(4_300), characters=110_000, voices=voices, into_period=16)
    yield DemoAccount("dubbing", dubbing, "research", price=(0.0002, "EUR"))
    transcripts = DeepgramLife(demand(4.1), dollars=125, into_period=11)
    yield DemoAccount("transcripts", transcripts, "live", price=(1.0, "USD"))
    clips = ViduLife(demand(71), pack=3_000, bonus=400, tasks=Filling(0, 4, 0.3), into_period=26)
    yield DemoAccount("clips", clips, "media", "staging", price=(0.005, "USD"))


class World:
    """The demo's accounts in a `Vendors`, made by `make_world`. `keys` has their keys by name."""

    def __init__(self, vendors: Vendors, *, speed: float, seed: int, clock: Clock) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(f"the speed must be a number above 0, not {speed}. 1 is real time")
        waves = random.Random(seed)
        self.vendors = vendors
        self.calendar = Calendar(clock(), speed)
        self.accounts: list[DemoAccount] = []
        self.keys: dict[str, str] = {}
        self._clock = clock
        groups = (_vidnavigator_accounts, _vidnavigator_accounts_in_need, _videodb_accounts, _preset_accounts)
        for accounts in groups:
            for account in accounts(lambda per_day: Demand(per_day, waves.uniform(0, math.tau))):
                responses = {
                    path: self._response_of(data, account.trouble)
                    for path, data in account.life.responses(self.calendar).items()
                }
                self.accounts.append(account)
                self.keys[account.name] = vendors.add(SimulatedAccount(account.life.api, responses))

    def _response_of(self, data: DataAt, trouble: Trouble | None) -> Callable[[], object]:
        def respond() -> object:
            real = self._clock()
            fault = trouble.at(real - self.calendar.start) if trouble else None
            return fault or data(self.calendar.simulated(real - LAG_SECONDS))

        return respond

    def write_config(self, directory: Path, state_path: Path | None = None) -> Path:
        """Write the exporter's configuration for these accounts, and their keys. Return its path.

        Only the owner can read the files.
        """
        config: dict[str, object] = {
            # The figures of the rate-limited key must stay during its cool-downs, which take a minute.
            "poll": {"interval": "10s", "timeout": "5s", "stale_after": "3m"},
            "accounts": [
                {
                    "name": account.name,
                    "provider": account.life.api.provider,
                    "api_key_file": _write_private(directory / f"{account.name}.key", self.keys[account.name]),
                    "base_url": self.vendors.url_of(account.life.api),
                    "labels": {"team": account.team, "env": account.env},
                    **_settings(account),
                }
                for account in self.accounts
            ],
        }
        if state_path:
            config["state"] = {"path": str(state_path)}
        return Path(_write_private(directory / "config.yaml", yaml.safe_dump(config, sort_keys=False)))


def _settings(account: DemoAccount) -> dict[str, object]:
    """Return what the account needs of its vendor, and its price. Presets are slower than a demo should be."""
    api, more = account.life.api, dict[str, object]()
    if api is VIDEODB:
        more["collect"] = ["usage", "invoices", "auto_recharge"]
    elif api is not VIDNAVIGATOR:
        more |= {"interval": "10s", "max_requests_per_minute": 50}
    if api is DEEPGRAM:
        more["variables"] = {"project_id": PROJECT}
    if account.price is not None:
        more["price"] = dict(zip(("amount", "currency"), account.price, strict=True))
    return more


def _write_private(path: Path, text: str) -> str:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return str(path)


def make_world(vendors: Vendors, *, speed: float = 1.0, seed: int = 1, clock: Clock = time.time) -> World:
    """Put the demo's accounts into `vendors` and return their world.

    `speed` is simulated seconds per real second (ValueError unless above 0). `clock` returns Unix seconds. The
    same seed gives the same events. The keys are random each time.
    """
    return World(vendors, speed=speed, seed=seed, clock=clock)
