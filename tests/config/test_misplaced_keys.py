"""A key is put at every place of each file, as a value and as a name. No message repeats a part of it."""

from __future__ import annotations

import base64
import copy
import json
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.commands import run
from exporter.config.load import load
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS
from exporter.web.config import load as load_web
from tests.conftest import unmeasured

SHAPES: Mapping[str, Callable[[], str]] = {
    "letters": lambda: "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(20)),
    "token": lambda: secrets.token_urlsafe(48),
    "sk-": lambda: "sk-" + secrets.token_urlsafe(24),
    "sk_live_": lambda: "sk_live_" + secrets.token_hex(12),
    "close to a name": lambda: "videodb-" + secrets.token_hex(4),
    "base64": lambda: base64.b64encode(secrets.token_bytes(31)).decode(),
    "uuid": lambda: str(uuid.uuid4()),
    "hex": lambda: secrets.token_hex(32),
    "with a slash": lambda: f"keys/{secrets.token_hex(12)}",
    "an URL": lambda: f"http://{secrets.token_hex(12)}/{secrets.token_hex(12)}",
    "a variable": lambda: "${sk_live_" + secrets.token_hex(12) + "}",
    "a function": lambda: secrets.token_hex(12).lstrip("0123456789") + "(a)",
    "in braces": lambda: "/{a" + secrets.token_hex(12) + "}",
    "with a colon": lambda: "api_key:" + secrets.token_hex(12),
}
KEPT = ("videodb-", "sk_live_", "api_key:", "http://")
"""What stands before the secret part of a shape."""
ANY = "any"

ACCOUNT = {
    "name": "media",
    "provider": "acme",
    "api_key_env": "KEY",
    "base_url": "https://api.example.com/v1",
    "max_requests_per_minute": 60,
    "collect": ["usage"],
    "credit_rates": {"render": 5},
    "max_operations": 10,
    "interval": "5m",
    "timeout": "10s",
    "stale_after": "1h",
    "thresholds": {"credits": {"warning": 100, "critical": 50}, "quotas": {"warning": 0.5}},
    "labels": {"team": "video"},
    "variables": {"project_id": "p1"},
}
PROVIDER: dict[str, Any] = {
    "title": "Acme",
    "checked": "2026-01-01",
    "documentation": "https://acme.example",
    "scope": "read",
    "base_url": "https://api.acme.example",
    "auth": {"header": "Authorization", "prefix": "Bearer "},
    "variables": ["project_id"],
    "headers": {"x-version": "2"},
    "interval": "15m",
    "max_requests_per_minute": 7,
    "unit": "USD",
    "errors": {
        "code": "error.code",
        "message": "error.message",
        "reasons": {"rate": "rate_limited"},
        "statuses": {"420": "rate_limited"},
        "wait": {"path": "error.wait", "time": "seconds"},
    },
    "usage": {
        "path": "/v1/{project_id}",
        "method": "POST",
        "query": {"since": "{now-30d}"},
        "json": {"a": "{month_start}", "b": ["{project_id}"]},
        "success": "ok",
        "no_subscription": {"value": "no_plan", "statuses": [404]},
        "credits": {"balance": {"value": "amount", "scale": 0.01, "unlimited": [-1]}},
        "operations": {
            "each": "items(use)",
            "name": "key",
            "used": "use",
            "unit": "unit",
            "credit_rates": {"render": 5},
        },
        "quotas": [{"name": "seats", "used": "seats.used", "limit": "seats.limit", "unit": "seats"}],
        "storage": {"used": "bytes"},
        "period": {"start": "from", "end": "to"},
        "plan": {"id": "plan", "active": "active"},
        "generated_at": "at",
        "more": {"other": {"path": "/other", "credits": {"limit": "limit"}}},
    },
    "examples": [
        {
            "response": {"ok": True, "amount": 500, "plan": "pro"},
            "more": {"other": {"limit": 7}},
            "status": 200,
            "expect": {"credits_balance": 5, "credits_purchased": "absent", 'quota_used{quota="seats"}': "absent"},
        }
    ],
}
CONFIG = {
    "poll": {"interval": "5m", "timeout": "10s", "concurrency": 4, "stale_after": "1h", "ca_file": "ca.pem"},
    "thresholds": {
        "credits": {"warning": "20%", "critical": "5%"},
        "storage": {"warning": 0.8, "critical": 0.9},
        "channels": {"warning": 0.8, "critical": 0.9},
    },
    "state": {"path": "state.db"},
    "providers": {"acme": PROVIDER},
    "accounts": [ACCOUNT, {"name": "other", "provider": "videodb", "api_key": "k" * 20, "ca_file": "ca.pem"}],
    "account_files": ["more.yaml"],
}
MORE = [{"name": "third", "provider": "vidnavigator", "api_key_file": "key", "labels": {"team": "video"}}]
WEB = {
    "tls_server_config": {
        "cert_file": "cert.pem",
        "key_file": "key.pem",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "ca.pem",
        "client_allowed_sans": ["a.example"],
        "min_version": "TLS12",
        "max_version": "TLS13",
        "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        "prefer_server_cipher_suites": True,
        "curve_preferences": ["X25519"],
    },
    "http_server_config": {"http2": True, "headers": {"X-Frame-Options": "deny"}},
    "basic_auth_users": {"alice": "$$2y$$10$$" + "a" * 53},
    "rate_limit": {"interval": "1s", "burst": 5},
}

SYNTAX = [
    "{}",
    "- {}",
    "{}: ",
    "? {}\n: 1",
    "? [{}]\n: 1",
    "<<: {}",
    "<<: {{{}: x}}",
    "poll: {{? {}}}",
    "poll: &{} 1",
    "poll: *{}",
    "poll: !{} 1",
    "poll: !!{} 1",
    "poll: '{}",
    'poll: "\\{}"',
    "poll: [{}",
    "poll: {{{}",
    "poll: a: {}",
    "poll: |{}\n a",
    "%{}\n---\na: 1",
    "poll:\n\t{}",
    "poll: {}\npoll: 1",
    "{0}: 1\n{0}: 2",
    "poll: {{interval: {}: }}",
    "poll: ${{{}}}",
    "poll: ${{{}",
    "accounts: [name: a, provider: videodb, api_key_file: a, {}]",
    "accounts: [{{name: a, provider: {}, api_key: b}}]\nproviders: {{{}: 1}}",
]
"""Forms of YAML around a key."""


def places(node: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value that is no block."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, inner in items:
        yield from places(inner, (*path, step))
    if not isinstance(node, (dict, list)):
        yield path


def names(node: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each key of a mapping."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, inner in items:
        if isinstance(node, dict):
            yield (*path, step)
        yield from names(inner, (*path, step))


def with_value(document: Any, path: tuple[Any, ...], key: str) -> Any:
    changed = copy.deepcopy(document)
    inside = changed
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = key
    return changed


def with_name(document: Any, path: tuple[Any, ...], key: str, *, swapped: bool) -> Any:
    changed = copy.deepcopy(document)
    inside = changed
    for step in path[:-1]:
        inside = inside[step]
    before = dict(inside)
    inside.clear()
    for name, value in before.items():
        inside.update({key: name if swapped else value} if name == path[-1] else {name: value})
    return changed


def key_of(shape: str) -> str:
    """Return a new key of a shape, or of one at random."""
    return SHAPES[secrets.choice([*SHAPES]) if shape == ANY else shape]()


def spellings(document: Any, shape: str) -> Iterator[tuple[str, object, str]]:
    """Yield a key, a place, and the document as YAML with the key there."""
    for path in places(document):
        key = key_of(shape)
        yield key, path, json.dumps(with_value(document, path, key), indent=0)
    for path in names(document):
        for swapped in (False, True):
            key = key_of(shape)
            changed = with_name(document, path, key, swapped=swapped)
            yield key, (*path, "as a name", swapped), json.dumps(changed, indent=0)


def parts(key: str) -> set[str]:
    for start in KEPT:
        key = key.removeprefix(start).removeprefix("${" + start)
    return {key[at : at + 6] for at in range(len(key) - 5)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("KEY", "k" * 24)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "key").write_text("k" * 24)
    (tmp_path / "key").chmod(0o400)
    pem = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(bytes(99)).decode() + "\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.pem").write_text(pem)
    write(tmp_path, CONFIG, MORE)
    with unmeasured():
        yield tmp_path


def write(folder: Path, config: object, more: object) -> None:
    for name, document in (("config.yaml", config), ("more.yaml", more)):
        text = document if isinstance(document, str) else json.dumps(document, indent=0)
        (folder / name).write_text(text)


def said(folder: Path) -> str:
    """Return what a start or a reload says of the configuration, and where it is accepted what check-config says."""
    sentences: list[object] = []
    try:
        for strict in (False, True):
            sentences += load(folder / "config.yaml", PROVIDERS, {"KEY": "k" * 24}, strict=strict).warnings
    except ConfigError as error:
        sentences.append(error)
    return "\n".join(map(str, sentences))


def checked(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert run(["check-config", f"--config.file={folder / 'config.yaml'}", *more]) in (0, 2)
    return "".join(capsys.readouterr())


def told(sentences: str, key: str, where: object) -> list[str]:
    found = [part for part in parts(key) if part in sentences]
    return [f"{where}: {found[0]} of {key} in {sentences}"] if found else []


def test_these_files_have_no_other_mistake_than_those_of_their_certificates(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {line.split(": ", 1)[1] for line in checked(folder, capsys).splitlines()} == {
        "poll.ca_file: holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)",
        "accounts[1].ca_file: holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)",
    }


@pytest.mark.parametrize("shape", ["letters", ANY])
def test_no_message_repeats_a_part_of_a_key_at_any_place_of_the_configuration(shape: str, folder: Path) -> None:
    leaks = []
    for key, where, text in spellings(CONFIG, shape):
        write(folder, text, MORE)
        leaks += told(said(folder), key, where)
    for key, where, text in spellings(MORE, shape):
        write(folder, CONFIG, text)
        leaks += told(said(folder), key, ("more.yaml", where))
    for key, where, text in spellings([ACCOUNT], shape):
        write(folder, {"providers": CONFIG["providers"], "accounts": [ACCOUNT], "account_files": ["more.yaml"]}, text)
        leaks += told(said(folder), key, ("again", where))
    assert leaks == []


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", ["url", "url_env", "url_file"])
def test_no_message_repeats_a_part_of_a_key_in_the_state(shape: str, place: str, folder: Path) -> None:
    leaks = []
    for key, where, text in spellings({"state": {place: "KEY"}, "history": {"daily": "1d"}}, shape):
        write(folder, json.dumps({"accounts": MORE, **json.loads(text)}, indent=0), [])
        leaks += told(said(folder), key, where)
    assert leaks == []


@pytest.mark.parametrize("shape", ["letters", ANY])
def test_no_message_repeats_a_part_of_a_key_at_any_place_of_the_web_configuration(shape: str, folder: Path) -> None:
    key, leaks, web = key_of(shape), [], folder / "web.yml"
    texts = [*spellings(WEB, shape), *((key, form, form.format(key, key)) for form in SYNTAX)]
    for name in ("cert", "key", "client_ca"):
        inline = {**WEB["tls_server_config"], name: key}  # type: ignore[dict-item]  # a mapping
        texts.append((key, name, json.dumps({"tls_server_config": inline})))
    for key, where, text in texts:
        web.write_text(text)
        try:
            sentences = "\n".join(map(str, load_web(web, {}).warnings))
        except ConfigError as error:
            sentences = str(error)
        leaks += told(sentences, key, where)
    assert leaks == []


@pytest.mark.parametrize("shape", ["letters", "close to a name", ANY])
def test_no_message_repeats_a_part_of_a_key_in_any_form_of_yaml(shape: str, folder: Path) -> None:
    key, leaks = key_of(shape), []
    for form in SYNTAX:
        write(folder, form.format(key, key), MORE)
        leaks += told(said(folder), key, form)
        write(folder, CONFIG, form.format(key, key))
        leaks += told(said(folder), key, ("more.yaml", form))
    assert leaks == []


def status_of(command: list[str]) -> object:
    """Run a command, and return its exit status however it ends."""
    try:
        return run(command)
    except SystemExit as stopped:  # argparse ends so
        return stopped.code


@pytest.mark.parametrize("shape", [ANY, "token"])
@pytest.mark.parametrize(
    "command",
    [["{}"], ["poll", "{}"], ["providers", "{}"], ["try-provider", "{}", "--response=x"]]
    + [["try-provider", "luma", f"--response={text}"] for text in ("{}", "{}=x", "usage={}")]
    + [["try-provider", "luma", "--response=x", "--status={}"], ["check-config", "{}"], ["--log.level={}"]]
    + [
        ["demo", "--speed={}"],
        ["poll", "--output={}"],
        ["config-schema", "--web={}"],
        ["try-provider", "videodb", "{}"],
    ],
)
def test_no_command_repeats_a_part_of_a_key_among_its_arguments(
    command: list[str], shape: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(shape)
    monkeypatch.chdir(folder)
    write(folder, {"accounts": [{"name": "a", "provider": "videodb", "api_key_env": "KEY"}]}, [])
    assert status_of([word.format(key) for word in command]) == 2
    assert told("".join(capsys.readouterr()), key, command) == []
