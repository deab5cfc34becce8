"""The demo's accounts, their time, and the configuration for the exporter."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
import videodb
import vidnavigator
from hypothesis import given, settings
from hypothesis import strategies as st
from vidnavigator.exceptions import AuthenticationError, NotFoundError, RateLimitExceeded

from exporter import commands
from exporter.config import load as config
from exporter.demo.apis import VIDEODB, VIDNAVIGATOR
from exporter.demo.faults import Fault
from exporter.demo.vendors import SimulatedAccount, Vendors
from exporter.demo.world import LAG_SECONDS, Trouble, World, make_world
from exporter.providers import PROVIDERS
from exporter.providers.base import ParseOptions, VendorResponse
from exporter.readings import Usage
from exporter.state.source import StateSource

START = 1_800_000_000.0
DAY = 86400.0
PERIOD_SECONDS = 30 * DAY


class Wall:
    """A clock of Unix seconds that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def world(vendors: Vendors, wall: Wall) -> World:
    return make_world(vendors, clock=wall)


def response(world: World, name: str, path: str = "") -> Any:
    """The present response to an account, without HTTP."""
    account = world.vendors.accounts[world.keys[name]]
    return account.responses[path or account.api.usage_path]()


def seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()


def period(world: World, name: str) -> tuple[float, float]:
    block = response(world, name)["billing_period"]
    return seconds(block["start"]), seconds(block["end"])


@contextmanager
def vidnavigator_client(world: World, name: str) -> Iterator[vidnavigator.VidNavigatorClient]:
    with requests.Session() as session:
        yield vidnavigator.VidNavigatorClient(
            world.keys[name], base_url=world.vendors.vidnavigator_url, session=session
        )


def test_the_vendors_client_reads_every_account_without_a_fault(world: World) -> None:
    well = [account for account in world.accounts if account.name not in ("no-plan", "revoked")]
    for account in well:
        if account.life.api not in (VIDEODB, VIDNAVIGATOR):
            continue
        if account.life.api is VIDNAVIGATOR:
            with vidnavigator_client(world, account.name) as client:
                read: object = client.get_usage().data.model_dump(exclude_none=True)
        else:
            connection = videodb.connect(api_key=world.keys[account.name], base_url=world.vendors.videodb_url)
            with connection.session:
                read = connection.check_usage()
                assert connection.get_invoices() == response(world, account.name, "/billing/invoices")
        assert read == response(world, account.name)
    assert len(well) == 13


def readings(world: World, folder: Path) -> dict[str, Usage]:
    """Return what the presets make of the accounts of their vendors."""
    loaded, found = config.load(world.write_config(folder), PROVIDERS, {}, strict=True), {}
    for account in loaded.accounts:
        if account.provider not in PROVIDERS:
            simulated = world.vendors.accounts[world.keys[account.name]]

            def get(path: str, *_: object, simulated: SimulatedAccount = simulated, **__: object) -> VendorResponse:
                return VendorResponse(200, simulated.api.success(simulated.responses[path]()))

            fetch = loaded.providers[account.provider].endpoints["usage"].fetch
            usage = fetch(get, ParseOptions(variables=account.variables))
            assert isinstance(usage, Usage)
            found[account.name] = usage
    return found


def test_three_vendors_of_presets_count_in_units_of_their_own(world: World, wall: Wall, tmp_path: Path) -> None:
    now = readings(world, tmp_path)
    assert {name: usage.unit for name, usage in now.items()} == {
        "dubbing": "characters",
        "transcripts": "USD",
        "clips": "credits",
    }
    assert {usage.rejected for usage in now.values()} == {()}
    balances = {name: usage.balance or 0.0 for name, usage in now.items()}
    assert 20_000 < balances["dubbing"] < 60_000
    assert 60 < balances["transcripts"] < 150
    assert 800 < balances["clips"] < 2000
    [pack, bonus] = [quota for quota in now["clips"].quotas if quota.expires_at is not None]
    assert 3 * DAY < (pack.expires_at or 0) - START < 5 * DAY < (bonus.expires_at or 0) - START
    assert [quota.name for quota in now["dubbing"].quotas][:1] == ["voices"]
    wall.now = START + 2 * DAY
    assert all((usage.balance or 0.0) < balances[name] for name, usage in readings(world, tmp_path).items())


@pytest.mark.parametrize(("name", "reason"), [("dubbing", "auth"), ("transcripts", "auth"), ("clips", "auth")])
def test_a_wrong_key_is_refused_in_the_words_of_the_vendor(
    world: World, tmp_path: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world.write_config(tmp_path)
    (tmp_path / f"{name}.key").write_text("f" * 32)
    assert commands.run(["poll", name, f"--config.file={path}"]) == 1
    shown = capsys.readouterr().out
    assert reason in shown and "The API key is not valid." in shown


def test_the_first_look_shows_something_of_everything(world: World) -> None:
    trial = response(world, "trial")["credits"]
    assert 0 < trial["monthly_remaining"] < 0.05 * trial["monthly_total"]
    archive = response(world, "archive")
    assert archive["storage"]["percentage"] > 80
    assert archive["channels_indexed"]["percentage"] >= 80
    assert response(world, "broadcast")["credits"]["monthly_total"] == "unlimited"
    assert response(world, "media-prod")["credits"]["purchased"] > 0
    leaving = response(world, "leaving")
    assert leaving["subscription"]["cancel_at_period_end"] is True
    assert 0 < seconds(leaving["billing_period"]["end"]) - START < 7 * DAY
    assert "credits_remaining" in response(world, "video-research")
    lab, recharge = response(world, "video-lab"), response(world, "video-lab", "/billing/auto_recharge")
    assert (response(world, "video-lab", "/billing/invoices")[0]["status"], recharge["enabled"]) == (
        "failed",
        True,
    )
    assert 0 < lab["credit_balance"] < recharge["threshold"]
    assert {invoice["status"] for invoice in response(world, "video-prod", "/billing/invoices")} == {"paid"}
    names = {name for account in ("media-prod", "archive") for name in response(world, account)["usage"]}
    assert {"standard_request", "transcription_hour", "video_transcripts", "video_uploads"} <= names


def test_the_accounts_without_a_plan_and_with_a_rejected_key_are_refused(world: World) -> None:
    with vidnavigator_client(world, "no-plan") as client, pytest.raises(NotFoundError):
        client.get_usage()
    with vidnavigator_client(world, "revoked") as client, pytest.raises(AuthenticationError):
        client.get_usage()


def test_the_rate_limited_key_is_refused_now_and_then(world: World, wall: Wall) -> None:
    with vidnavigator_client(world, "batch") as client:
        for elapsed, limited in ((0, False), (20, True), (40, False), (199, False), (205, True)):
            wall.now = START + elapsed
            if limited:
                with pytest.raises(RateLimitExceeded):
                    client.get_usage()
            else:
                client.get_usage()


def test_the_flaky_account_fails_on_every_path_now_and_then(world: World, wall: Wall) -> None:
    paths = ("/billing/usage", "/billing/invoices", "/billing/auto_recharge")
    for elapsed, failing in ((0, False), (50, True), (90, False), (290, True)):
        wall.now = START + elapsed
        assert {isinstance(response(world, "video-live", path), Fault) for path in paths} == {failing}


@settings(deadline=None)
@given(st.floats(0, 10_000), st.floats(1, 1000), st.floats(0, 1), st.floats(0, 100))
def test_a_recurring_fault_lasts_its_share_of_the_time(
    elapsed: float, every: float, share: float, first: float
) -> None:
    fault = Fault(lambda call: None)
    trouble = Trouble(fault, first, every, share * every)
    happens = elapsed >= first and (elapsed - first) % every < share * every
    assert trouble.at(elapsed) is (fault if happens else None)
    assert Trouble(fault).at(elapsed) is fault


@pytest.mark.parametrize("speed", [0.5, 1.0, 60.0, 8640.0])
def test_a_period_ends_at_the_time_that_it_named(vendors: Vendors, wall: Wall, speed: float) -> None:
    world = make_world(vendors, speed=speed, clock=wall)
    start, end = period(world, "media-prod")
    assert start < wall.now < end
    assert end - start == pytest.approx(PERIOD_SECONDS / speed, abs=1)
    before = response(world, "media-prod")["credits"]
    wall.now = end + LAG_SECONDS + 1
    assert period(world, "media-prod")[0] == end
    after = response(world, "media-prod")["credits"]
    assert after["monthly_remaining"] > before["monthly_remaining"]


def test_speed_makes_credits_burn_faster(vendors: Vendors, wall: Wall) -> None:
    slow, fast = make_world(vendors, clock=wall), make_world(vendors, speed=600, clock=wall)
    wall.now = START + LAG_SECONDS  # both have just begun, with the same figures
    assert response(slow, "video-prod") == response(fast, "video-prod")
    begun = response(slow, "video-prod")["credit_balance"]
    wall.now += 60
    assert response(slow, "video-prod")["credit_balance"] == pytest.approx(begun, abs=0.02)
    assert response(fast, "video-prod")["credit_balance"] < begun - 0.5


@pytest.mark.parametrize("speed", [1.0, 8640.0])
def test_figures_are_generated_a_little_before_now_by_the_real_clock(
    vendors: Vendors, wall: Wall, speed: float
) -> None:
    world = make_world(vendors, speed=speed, clock=wall)
    for elapsed in (0, 1234.5):
        wall.now = START + elapsed
        lag = wall.now - seconds(response(world, "media-prod")["generated_at"])
        assert lag == pytest.approx(LAG_SECONDS, abs=0.6)


def test_the_leaving_account_loses_its_plan_at_the_time_that_it_named(world: World, wall: Wall) -> None:
    wall.now = period(world, "leaving")[1] + LAG_SECONDS
    with vidnavigator_client(world, "leaving") as client, pytest.raises(NotFoundError) as caught:
        client.get_usage()
    assert caught.value.error_code == "no_subscription"


def test_the_same_seed_gives_the_same_life_and_new_keys(vendors: Vendors, wall: Wall) -> None:
    one, same, other = (make_world(vendors, seed=seed, clock=wall) for seed in (1, 1, 2))
    assert response(one, "media-prod") == response(same, "media-prod")
    assert response(one, "media-prod") != response(other, "media-prod")
    assert not set(one.keys.values()) & set(same.keys.values())


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_an_invalid_speed_is_refused(vendors: Vendors, speed: float) -> None:
    with pytest.raises(ValueError, match="the speed must be a number above 0"):
        make_world(vendors, speed=speed)


def test_the_exporter_accepts_the_configuration_without_a_warning(world: World, tmp_path: Path) -> None:
    path = world.write_config(tmp_path, tmp_path / "state.db")
    loaded = config.load(path, PROVIDERS, {}, strict=True)
    assert loaded.warnings == ()
    assert [(account.provider, account.name) for account in loaded.accounts] == [
        (account.life.api.provider, account.name) for account in world.accounts
    ]
    assert loaded.state == StateSource("path", str(tmp_path / "state.db"))
    assert {account.interval for account in loaded.accounts} == {10.0}
    assert set(loaded.label_names) == {"team", "env"}
    assert {account.collect for account in loaded.accounts if account.provider == "videodb"} == {
        ("usage", "invoices", "auto_recharge")
    }


def test_only_the_owner_can_read_keys_and_configuration(world: World, tmp_path: Path) -> None:
    text = world.write_config(tmp_path).read_text()
    assert not [name for name, key in world.keys.items() if key in text]
    assert "state" not in text
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}
    assert (tmp_path / "trial.key").read_text() == world.keys["trial"]
