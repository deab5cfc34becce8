"""The commands ``providers`` and ``try-provider``."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import commands
from exporter.config.providers import preset_names

PAGE = (Path(__file__).parent.parent / "docs" / "providers.md").read_text()
CONFIG, RESPONSE, SHOWN = (
    re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[0] for kind in ("yaml", "json", "console")
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "response.json").write_text(RESPONSE)
    return tmp_path


def test_the_tutorial_shows_what_the_command_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["try-provider", "acme", "--response", "response.json"]) == 0
    assert capsys.readouterr().out == SHOWN.partition("\n")[2]


def test_the_tutorials_configuration_is_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "key").write_text("0123456789abcdef")
    (folder / "config.yaml").write_text(CONFIG.replace("/run/secrets/acme", "key"))
    assert commands.run(["check-config"]) == 0
    assert "OK, 1 account" in capsys.readouterr().out


def test_a_refusal_names_its_reason_and_a_rejected_field_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run(["try-provider", "acme", "--response", "response.json", "--status", "403"]) == 1
    assert capsys.readouterr().out == "the poll fails with the reason forbidden: HTTP 403\n"
    response = json.loads(RESPONSE)
    response["data"]["pots"].append({"usd": "12 dollars"})
    (folder / "response.json").write_text(json.dumps(response))
    assert commands.run(["try-provider", "acme", "--response", "response.json"]) == 0
    out = capsys.readouterr().out
    assert "credits.balance  rejected, because it must be a number, not a text\n" in out
    assert "video_api_rejected_fields 1\n" in out


def test_a_name_that_an_item_lacks_is_told_with_what_the_item_has_and_how_a_fixed_name_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quotas = "      quotas: [{each: data.pots, name: pack, remaining: usd}]\n      credits:"
    (folder / "config.yaml").write_text(CONFIG.replace("      credits:", quotas, 1))
    commands.run(["try-provider", "acme", "--response", "response.json"])
    told = "absent, because the item has no pack. It has usd. A fixed text has quotes of its own, as in \"'pack'\"\n"
    assert "quotas[0][0].name       " + told in capsys.readouterr().out


def test_a_mistake_is_told_with_its_place_by_a_process_that_reads_no_account(folder: Path) -> None:
    (folder / "config.yaml").write_text(CONFIG.replace("path: /v1/balance", "path: v1"))
    command = [sys.executable, "-m", "exporter", "try-provider", "acme", "--response", "response.json"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False).stderr
    assert "providers.*.usage.path: must begin with one slash" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody"], "unknown provider; known are videodb, vidnavigator, and what the command `providers` lists"),
        (["videodb"], "videodb is code"),
        (["acme", "--response", "credits=response.json"], "--response names an unknown request. acme has usage"),
        (["acme", "--response", "none.json"], "the response to usage cannot be read: No such file or directory"),
    ],
)
def test_a_provider_that_cannot_be_tried_is_reported(
    arguments: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run(["try-provider", *arguments, "--response", "response.json"]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the response is empty. The file must hold the body of the response to usage"),
        (b"HTTP/1.1 200 OK\n\n{}", "the response is not JSON. The file must hold the body"),
        (b"\xff\x00\xb8", "the response is not JSON. The file must hold the body"),
        (b"[" * 10**5, "the response is nested too deeply. The file must hold the body"),
        (b" " * (1 << 20) + b"{}", "the response to usage cannot be read: it is longer than 1048576 bytes"),
        (None, "the response to usage cannot be read: Is a directory"),
    ],
)
def test_a_file_that_is_not_a_response_is_reported_in_one_sentence(
    body: bytes | None, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "bad.json"
    file.mkdir() if body is None else file.write_bytes(body)
    assert commands.run(["try-provider", "acme", "--response", "bad.json"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"try-provider: {sentence}")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("<html>Bad Gateway</html>", "502", "server_error: HTTP 502"),
        ("", "401", "auth: HTTP 401"),
        ("[" * 10**5, "429", "rate_limited: HTTP 429"),
    ],
)
def test_a_refusal_needs_no_json(
    body: str, status: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "response.json").write_text(body)
    assert commands.run(["try-provider", "acme", "--response", "response.json", "--status", status]) == 1
    assert capsys.readouterr().out == f"the poll fails with the reason {told}\n"


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (
            '{"success": true, "data": {"renewed": 5, "limits": 3}}',
            "absent, because data has no limit. It has renewed, limits",
        ),
        ('{"success": true, "data": null}', "absent, because data is null"),
        ('{"success": true}', "absent, because the response has no data. It has success"),
        ('{"success": true, "data": {}}', "absent, because data has no limit"),
    ],
)
def test_the_line_of_an_absent_field_names_the_end_of_its_path(
    response: str, why: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text(CONFIG.replace(", unlimited: [null]", ""))
    (folder / "response.json").write_text(response)
    assert commands.run(["try-provider", "acme", "--response", "response.json"]) == 0
    assert f"credits.limit    {why}\n" in capsys.readouterr().out


def test_the_fields_of_an_item_of_each_are_named_after_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "      quotas: [{each: data.pots, name: n, used: usd}]\n    examples:"
    (folder / "config.yaml").write_text(CONFIG.replace("    examples:", more))
    (folder / "response.json").write_text(RESPONSE.replace('"usd": "12.50"', '"usd": "much", "n": "a"'))
    assert commands.run(["try-provider", "acme", "--response", "response.json"]) == 0
    out = capsys.readouterr().out
    assert "quotas[0][0].used  rejected" in out and "quotas[0][0].name  a\n" in out


@pytest.mark.parametrize("number", ["NaN", "1" * 5000])
def test_a_number_that_no_sample_can_have_is_rejected(
    number: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "response.json").write_text(RESPONSE.replace('"12.50"', number))
    assert commands.run(["try-provider", "acme", "--response", "response.json"]) == 0
    assert "rejected, because it must be a number, not NaN or one that is too large\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--status", "abc"], "argument --status: must be an HTTP status, which is a number from 100 to 599"),
        (["--status", "99999"], "argument --status: must be an HTTP status, which is a number from 100 to 599"),
        (["--response", "usage=response.json"], "--response is given twice for the request usage"),
    ],
)
def test_a_wrong_flag_is_reported(
    arguments: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = commands.run(["try-provider", "acme", "--response", "response.json", *arguments])
    except SystemExit as ended:
        status = ended.code  # type: ignore[assignment]  # argparse ends with a number
    assert status == 2
    assert sentence in capsys.readouterr().err


def test_every_provider_is_listed_with_its_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["providers"]) == 0
    kinds = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert kinds == {**dict.fromkeys(preset_names(), "preset"), "acme": "configured"} | dict.fromkeys(
        ("videodb", "vidnavigator"), "built-in"
    )


def test_a_definition_is_printed_as_it_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["providers", "acme"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("acme:\n  base_url: https://api.acme.example\n")
    assert "accounts" not in printed
    (folder / "config.yaml").write_text("providers:\n" + "".join(f"  {line}\n" for line in printed.splitlines()))
    assert commands.run(["providers", "acme"]) == 0
    assert capsys.readouterr().out == printed


def test_presets_need_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert commands.run(["providers", "videodb"]) == 0
    assert "is code" in capsys.readouterr().out
    (tmp_path / "utf-16.yaml").write_text("providers: {}", "utf-16")
    for file in ("none.yaml", "utf-16.yaml"):
        assert commands.run(["providers", "--config.file", file]) == 2
        assert commands.run(["providers", "deepgram", "--config.file", file]) == 2
        assert "deepgram:\n" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["api_key_file: key", "api_key_env: ACME_KEY", "api_key: '${ACME_KEY}'"])
def test_a_key_of_the_configuration_that_stands_in_the_response_is_not_printed(
    how: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = secrets.token_hex(16)
    (folder / "key").write_text(key + "\n")
    monkeypatch.setenv("ACME_KEY", key)
    broken = "\n  - {name: other, api_key_file: none}\n"
    plan = "      plan: {name: data.key, id: data.none}\n    examples:"
    text = CONFIG.replace("api_key_file: /run/secrets/acme", how).replace("    examples:", plan) + broken
    (folder / "config.yaml").write_text(text)
    response = {"success": True, "data": {"key": f"of {key}", key: 1}}
    (folder / "response.json").write_text(json.dumps(response))
    assert commands.run(["try-provider", "acme", "--response", "response.json"]) == 0
    out = capsys.readouterr().out
    assert "plan.name        of <redacted>\n" in out
    assert key not in out


@pytest.mark.parametrize("mistake", ["path: v1", "path: [", "path: /v1\n      wrong: 1"])
def test_presets_are_printed_beside_the_mistakes_of_a_configuration(
    mistake: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text(CONFIG.replace("path: /v1/balance", mistake))
    assert commands.run(["providers"]) == 2
    told = capsys.readouterr()
    assert {line.split()[0] for line in told.out.splitlines()[1:]} == {*preset_names(), "videodb", "vidnavigator"}
    assert told.err.startswith("config.yaml:")
    assert commands.run(["providers", "deepgram"]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("deepgram:\n")
    assert told.err.startswith("config.yaml:")
    assert commands.run(["providers", "acme"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err[:12]) == ("", "config.yaml:")
