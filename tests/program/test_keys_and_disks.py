"""Keys that are replaced and disks that fill up while the program runs."""

from __future__ import annotations

import json
import resource
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.vendors import Vendors, vidnavigator_account
from tests.program.running import Program, random_key, run, running, until
from tests.program.test_reliability import navigator, stateful


def put(path: Path, key: str) -> None:
    """Replace a key as secret stores do, at once."""
    new = path.with_suffix(".new")
    new.write_text(key + "\n")
    new.chmod(0o600)
    new.replace(path)


@pytest.fixture
def config(vendors: Vendors, tmp_path: Path) -> Path:
    """Three accounts whose keys stand in files; the vendor knows only one of them."""
    keys = {"refused": secrets.token_hex(16), "made good": secrets.token_hex(16)}
    accounts: list[dict[str, Any]] = []
    for name in ("refused", "made good", "rotated"):
        put(tmp_path / name, keys.get(name) or vendors.add(vidnavigator_account()))
        account = navigator(vendors, name, key="-")
        del account["api_key"]
        accounts.append({**account, "api_key_file": str(tmp_path / name)})
    return stateful(tmp_path, accounts, poll={"interval": "1h", "timeout": "5s"})


def test_a_new_key_in_its_file_is_used_at_the_next_poll_or_reload(
    vendors: Vendors, config: Path, tmp_path: Path
) -> None:
    with running(f"--config.file={config}") as program:
        program.ready()
        assert program.value("last_poll_failure", "refused", reason="auth") == 1
        assert program.value("last_poll_failure", "made good", reason="auth") == 1
    # What was refused while polled once an hour waits for long, by whatever interval it is looked at now.
    document = json.loads(config.read_text())
    document["poll"]["interval"] = "10s"
    config.write_text(json.dumps(document))
    good = (tmp_path / "made good").read_text().strip()
    with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
        vendors.add(vidnavigator_account(), good)
        put(tmp_path / "refused", vendors.add(vidnavigator_account()))
        del vendors.accounts[(tmp_path / "rotated").read_text().strip()]
        put(tmp_path / "rotated", vendors.add(vidnavigator_account()))
        until(lambda: program.value("polls_total", "refused") >= 3, "two polls with the new key")  # type: ignore[operator]  # it is there
        assert program.value("up", "refused") == 1
        assert len(vendors.requests_of(good)) == 1, "the other key is still not used, good as it is by now"
        assert program.get("/-/reload", "POST")[0] == 200
        until(lambda: program.value("up", "made good") == 1, "its next turn")
        until(lambda: program.value("polls_total", "rotated") >= 2, "a poll with the rotated key")  # type: ignore[operator]  # it is there
        assert program.value("poll_failures_total", "rotated", reason="auth") == 0
        assert program.value("up", "rotated") == 1


@contextmanager
def full_disk(program: Program) -> Iterator[None]:
    """Let no file of the program grow, as a full disk would not."""
    pid = program.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_counted_and_the_state_is_written_again_when_there_is_space(
    vendors: Vendors, tmp_path: Path
) -> None:
    account = navigator(vendors, max_requests_per_minute=1000)
    responses = vendors.accounts[account["api_key"]].responses["/usage"]
    config = stateful(tmp_path, [account])
    versions = iter(range(1000))

    def poll(program: Program) -> str:
        """Have the account polled at once, by changing it, and return the log."""
        before = program.value("polls_total", "nav")
        responses["credits"]["monthly_remaining"] -= 1
        document = json.loads(config.read_text())
        document["accounts"][0]["labels"] = {"version": str(next(versions))}
        config.write_text(json.dumps(document))
        assert program.get("/-/reload", "POST")[0] == 200
        until(lambda: program.value("polls_total", "nav") != before, "a poll")
        return program.log

    failures = "video_api_exporter_state_write_failures_total"
    with running(f"--config.file={config}", "--web.enable-lifecycle") as program:
        program.ready()
        with full_disk(program):
            for _ in range(3):
                poll(program)
            counted = program.metrics()[failures]
            assert counted > 0
            assert program.value("up", "nav") == 1
            assert program.value("credits_spent_total", "nav") == 3
            assert [program.get(path)[0] for path in ("/-/healthy", "/-/ready")] == [200, 200]
            assert "Traceback" not in program.log
        until(lambda: "can be written again" in poll(program), "the file is written again")
        kept = {series: value for series, value in program.metrics().items() if 'account="nav"' in series}
        assert program.log.count("cannot be used") == 1
    with running(f"--config.file={config}") as program:
        assert {series: value for series, value in program.metrics().items() if 'account="nav"' in series} == kept
        assert program.metrics()[failures] == 0


def test_a_key_in_place_of_a_path_or_a_variable_is_not_shown(tmp_path: Path) -> None:
    slips = {"api_key_file": secrets.token_hex(16), "api_key_env": "sk_live_" + secrets.token_hex(16)}
    accounts = [{"name": field, "provider": "videodb", field: slip} for field, slip in slips.items()]
    config = stateful(tmp_path, accounts)
    checked, polled = (run(command, f"--config.file={config}") for command in ("check-config", "poll"))
    with running(f"--config.file={config}", "--log.level=debug") as program:
        program.ready()
        pages = [program.get(path)[1] for path in ("/", "/api/v1/accounts", "/metrics")]
        program.stop()
        seen = "".join([*pages, program.log, checked.stdout, checked.stderr, polled.stdout, polled.stderr])
    seen += "".join(file.read_text("latin-1") for file in tmp_path.rglob("*") if file.is_file() and file != config)
    assert [field for field, slip in slips.items() if slip in seen] == []
    assert "api_key_file cannot be read: No such file" in seen
    assert "api_key_env is not set" in seen


def test_a_key_in_the_wrong_place_is_in_no_response_to_a_reload_and_no_log(vendors: Vendors, tmp_path: Path) -> None:
    config = stateful(tmp_path, [navigator(vendors)])
    key = "sk-" + random_key()
    misplaced: list[dict[str, Any]] = [
        {key: "api_key"},
        {"provider": key},
        {"ca_file": key},
        {"collect": [key]},
        {"labels": {key: "a"}},
    ]
    with running(f"--config.file={config}", "--web.enable-lifecycle", "--log.level=debug") as program:
        for slip in misplaced:
            stateful(tmp_path, [{**navigator(vendors), **slip}])
            status, answer = program.get("/-/reload", "POST")
            assert status == 500
            assert f"{config}:" in answer
            assert not [
                part for part in (key[at : at + 6] for at in range(len(key) - 5)) if part in answer + program.log
            ]
