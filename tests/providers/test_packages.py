"""Providers of other packages, such as the example of the documentation."""

from __future__ import annotations

import base64
import hmac
import importlib
import json
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from exporter import commands
from exporter.config.load import json_schema, load
from exporter.errors import ConfigError, CredentialError, InternalError, InvalidResponseError
from exporter.providers import PROVIDERS, packages
from exporter.providers.base import ParseOptions, VendorResponse
from exporter.readings import Usage

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-vendor.md").read_text()
KLING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
ENTRY = re.findall(r"^(kling = .*)$", PAGE, re.MULTILINE)[0].replace('"', "")
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with one module, as pip would leave it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def put(name: str, source: str, *entries: str) -> None:
        (site / f"{name}.py").write_text(source)
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        lines = "\n".join(entries or (f"{name} = {name}:PROVIDER",))
        (info / "entry_points.txt").write_text(f"[{packages.GROUP}]\n{lines}\n")
        importlib.invalidate_caches()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield put
    for module in set(sys.modules) - before:
        del sys.modules[module]


def config(folder: Path, *providers: str) -> Path:
    path = folder / "config.yaml"
    lines = [f"  - {{name: {name}, provider: {name}, api_key: '{secrets.token_hex(8)}'}}" for name in providers]
    path.write_text("\n".join(["accounts:", *lines, ""]))
    return path


PACK = {
    "resource_pack_name": "Video pack",
    "resource_pack_type": "decreasing_total",
    "total_quantity": 200.0,
    "remaining_quantity": 118.5,
    "invalid_time": 1_779_000_000_000,
    "status": "online",
}
ANSWER = {"code": 0, "data": {"code": 0, "resource_pack_subscribe_infos": [PACK, {**PACK, "status": "expired"}]}}


def test_the_documented_package_signs_its_requests_and_reads_its_packs(install: Install, tmp_path: Path) -> None:
    install("kling_credits", KLING, ENTRY)
    loaded = load(config(tmp_path, "kling"), PROVIDERS, {}, strict=True)
    assert (loaded.accounts[0].interval, loaded.accounts[0].base_url) == (3600, "https://api-singapore.klingai.com")
    provider = loaded.providers["kling"]
    asked: list[tuple[str, dict[str, str]]] = []

    def get(path: str, params: dict[str, str]) -> VendorResponse:
        asked.append((path, params))
        return VendorResponse(200, ANSWER)

    usage = provider.endpoints["usage"].fetch(get, ParseOptions(now=1_778_000_000.0))  # type: ignore[arg-type]  # all that it asks
    assert isinstance(usage, Usage)
    assert asked == [("/account/costs", {"start_time": "1775321600000", "end_time": "1778000000000"})]
    assert (usage.balance, usage.unit, usage.rejected) == (118.5, "units", ())
    [quota] = usage.quotas
    assert (quota.name, quota.amounts.used, quota.expires_at) == ("Video pack", 81.5, 1_779_000_000.0)


def test_its_token_is_signed_with_the_secret_and_holds_for_half_an_hour(install: Install, tmp_path: Path) -> None:
    install("kling_credits", KLING, ENTRY)
    provider = load(config(tmp_path, "kling"), PROVIDERS, {}).providers["kling"]
    access, secret = secrets.token_hex(8), secrets.token_hex(16)
    header = provider.authorization(f"{access}:{secret}", 1_778_000_000.9, {}).headers["Authorization"]
    signed, _, signature = header.removeprefix("Bearer ").rpartition(".")
    assert base64.urlsafe_b64decode(signature + "=") == hmac.digest(secret.encode(), signed.encode(), "sha256")
    claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    assert claims == {"iss": access, "exp": 1_778_001_800, "nbf": 1_777_999_995}
    with pytest.raises(CredentialError, match="ACCESS_KEY:SECRET_KEY"):
        provider.authorization(access, 0.0, {})


def test_its_refusal_in_a_200_fails_the_poll(install: Install, tmp_path: Path) -> None:
    install("kling_credits", KLING, ENTRY)
    provider = load(config(tmp_path, "kling"), PROVIDERS, {}).providers["kling"]
    with pytest.raises(InvalidResponseError, match="signature is invalid"):
        provider.endpoints["usage"].fetch(
            lambda path, params: VendorResponse(200, {"code": 1002, "message": "signature is invalid"}),  # type: ignore[arg-type]  # all that it asks
            ParseOptions(),
        )


GOOD = (
    "from exporter.providers.base import Endpoint, Provider\n"
    "PROVIDER = Provider('Acme', 'https://acme.example', 'x-key', {'usage': Endpoint(lambda get, options: None)})\n"
)
BROKEN = [
    ("import no_such_module_anywhere\n", "cannot be imported (ModuleNotFoundError: No module named"),
    ("PROVIDER = (\n", "cannot be imported (SyntaxError"),
    ("raise SystemExit(3)\n", "cannot be imported (SystemExit: 3)"),
    ("", "cannot be imported (AttributeError"),
    ("PROVIDER = 'acme'\n", "is a str, and must be an exporter.providers.base.Provider"),
    (GOOD.replace("'usage'", "'use'"), "has no endpoint usage, which every poll requests"),
]


@pytest.mark.parametrize(("source", "sentence"), BROKEN)
def test_a_broken_package_is_named_and_fails_only_its_own_account(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, sentence: str
) -> None:
    install("acme", source)
    install("other", GOOD)
    path = config(tmp_path, "acme", "other")
    with pytest.raises(ConfigError) as refused:
        load(path, PROVIDERS, {}, strict=True)
    [problem] = refused.value.problems
    assert str(problem).startswith(f"{path}:2: accounts[0].provider: acme:PROVIDER of acme 1.0 ")
    assert sentence in str(problem)
    running = load(path, PROVIDERS, {})
    assert [account.name for account in running.accounts] == ["acme", "other"]
    assert sentence in str(running.warnings[-1])
    with pytest.raises(InternalError, match=re.escape(sentence)):
        running.providers["acme"].endpoints["usage"].fetch(None, ParseOptions())  # type: ignore[arg-type]  # nothing is asked
    assert commands.run(["providers", f"--config.file={path}"]) == 0
    listed = capsys.readouterr().out
    assert "# acme cannot be used: acme:PROVIDER of acme 1.0" in listed
    assert re.search(r"^other +package +Acme +credits +https://acme.example$", listed, re.MULTILINE)


def test_a_provider_whose_name_is_taken_is_left_out_and_reported(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("late", GOOD, "videodb = late:PROVIDER", "deepgram = late:PROVIDER", "twice = late:PROVIDER")
    install("later", GOOD, "twice = later:PROVIDER")
    with pytest.raises(ConfigError) as refused:
        load(config(tmp_path, "videodb", "twice"), PROVIDERS, {}, strict=True)
    assert str(refused.value).endswith(
        "accounts[1].provider: the packages late 1.0 and later 1.0 both bring twice. Uninstall one of them"
    )
    assert load(config(tmp_path, "videodb"), PROVIDERS, {}).providers["videodb"] is PROVIDERS["videodb"]
    assert commands.run(["providers"]) == 0
    listed = capsys.readouterr().out
    assert "# videodb of a package is left out, because built-in videodb has the name\n" in listed
    assert "# deepgram of a package is left out, because preset deepgram has the name\n" in listed


def test_packages_are_looked_up_only_for_an_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look() -> dict[str, list[EntryPoint]]:
        looks.append("look")
        return {}

    monkeypatch.setattr(packages, "packaged", look)
    load(config(tmp_path, "videodb", "vidnavigator", "luma"), PROVIDERS, {})
    assert looks == []
    with pytest.raises(ConfigError, match="unknown provider; did you mean luma"):
        load(config(tmp_path, "lumma", "lumma2"), PROVIDERS, {})
    assert looks == ["look"]


def test_the_commands_and_the_schema_know_a_package(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    install("acme", GOOD)
    assert commands.run(["providers", "acme"]) == 0
    assert capsys.readouterr().out == "# acme (Acme, https://acme.example) is code. It collects usage.\n"
    assert commands.run(["try-provider", "acme", "--response", "x"]) == 2
    assert "acme is code. Only providers that are written as YAML can be tried" in capsys.readouterr().err
    names = json_schema(PROVIDERS)["$defs"]["AccountBlock"]["properties"]["provider"]["anyOf"][0]["enum"]
    assert {"acme", "luma", "videodb"} <= set(names)
