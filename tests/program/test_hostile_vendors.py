"""Broken and hostile vendors of the running program, one for each account. Reasons, memory and keys."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from exporter.demo import faults
from exporter.demo.faults import Fault
from exporter.demo.vendors import Vendors, vidnavigator_account
from tests.program.running import Program, random_key, run, running, write_config
from tests.program.test_reliability import navigator
from tests.transport.servers import responding

FAULTS: dict[str, tuple[Fault, str]] = {
    "hangs": (faults.hang(), "timeout"),
    "drips headers": (faults.drip_headers(), "timeout"),
    "drips the body": (faults.drip_body(), "timeout"),
    "resets": (faults.reset(), "connection"),
    "resets in the body": (faults.reset(after_bytes=300), "connection"),
    "garbage": (faults.garbage(), "invalid_response"),
    "no HTTP": (Fault(lambda call: call.exchange.write(b"220 ready\r\n" * 100)), "invalid_response"),
    "half the JSON": (faults.truncated_json(), "invalid_response"),
    "50 MB": (faults.big_body(), "invalid_response"),
    "50 MB in chunks": (faults.big_body(framing="chunked"), "invalid_response"),
    "50 MB without an end": (faults.big_body(framing="close"), "invalid_response"),
    "gzip bomb": (faults.gzip_bomb(), "invalid_response"),
    "deep JSON": (faults.deep_json(), "invalid_response"),
    "refusal in a 200": (faults.success_false(), "invalid_response"),
    "processing": (faults.processing(), "invalid_response"),
    "redirect": (faults.redirect("http://127.0.0.1:9/"), "client_error"),
    "repeats the key": (faults.repeat_key(403), "forbidden"),
}
NUMBERS = ("NaN", "Infinity", "1e400")
MOST_MEMORY = 100_000_000


class Site:
    """The running program, and every key that it knows."""

    def __init__(self, program: Program, keys: list[str], state: Path) -> None:
        self.program = program
        self.keys = keys
        self.state = state


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("hostile")
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(directory / "ca.pem")
    stranger, misnamed = Vendors(tls=_server(theirs, "127.0.0.1")), Vendors(tls=_server(ours, "elsewhere.invalid"))
    with Vendors() as vendors, stranger, misnamed:
        accounts: list[dict[str, Any]] = []
        for name, (fault, _) in FAULTS.items():
            accounts.append(navigator(vendors, name))
            vendors.accounts[accounts[-1]["api_key"]].fault = fault
        for token in NUMBERS:
            accounts.append(navigator(vendors, token))
            vendors.accounts[accounts[-1]["api_key"]].fault = faults.bad_numbers(token)
        for name, there in (("strange certificate", stranger), ("misnamed certificate", misnamed)):
            key = there.add(vidnavigator_account())
            accounts.append({**navigator(there, name, key), "ca_file": str(directory / "ca.pem")})
        accounts.append(navigator(vendors, "well"))
        config = write_config(
            directory / "config.yaml",
            accounts,
            poll={"interval": "5m", "timeout": "5s", "concurrency": 32},
            state={"path": str(directory / "state.db")},
        )
        with running(f"--config.file={config}", "--log.level=debug") as program:
            program.ready()
            assert stranger.requests == misnamed.requests == [], "the key was sent before the certificate was seen"
            yield Site(program, [account["api_key"] for account in accounts], directory / "state.db")


def _server(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


REASONS = {name: reason for name, (_, reason) in FAULTS.items()}
REASONS.update({"strange certificate": "connection", "misnamed certificate": "connection"})


@pytest.mark.parametrize("name", REASONS)
def test_each_fault_has_the_right_reason(site: Site, name: str) -> None:
    assert site.program.value("up", name) == 0
    assert site.program.value("last_poll_failure", name, reason=REASONS[name]) == 1
    assert site.program.value("credits_balance", name) is None


@pytest.mark.parametrize("token", NUMBERS)
def test_a_field_that_is_not_a_number_is_rejected_and_the_others_are_used(site: Site, token: str) -> None:
    assert site.program.value("up", token) == 1
    assert site.program.value("rejected_fields", token) > 3  # type: ignore[operator]  # it is there
    assert site.program.value("credits_balance", token) is None
    assert site.program.value("subscription_active", token) == 1


def test_the_account_of_a_good_vendor_has_its_figures(site: Site) -> None:
    assert site.program.value("credits_balance", "well") == 112.5


def test_memory_is_bounded(site: Site) -> None:
    status = Path(f"/proc/{site.program.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < MOST_MEMORY, "150 MB of bodies and a bomb of 128 MB were sent"


def test_no_page_log_line_or_state_file_has_a_key(site: Site) -> None:
    pages = [site.program.get(path)[1] for path in ("/", "/metrics", "/api/v1/accounts", "/-/ready", "/no")]
    stored = b"".join(path.read_bytes() for path in site.state.parent.glob("state.db*")).decode("latin-1")
    everything = "\n".join([*pages, site.program.log, stored])
    assert "repeats the key" in everything
    for key in site.keys:
        for at in range(len(key) - 7):
            assert key[at : at + 8] not in everything


def test_a_header_line_without_a_colon_and_megabytes_of_headers_make_a_short_log(tmp_path: Path) -> None:
    key = random_key()
    headers = f"no colon {key}\r\n" + "".join(f"X-{number}: {key}{'y' * 60_000}\r\n" for number in range(90))
    response = f"HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\n{{}}".encode()
    with responding(response, keep=False) as url:
        account = {"name": "a", "provider": "vidnavigator", "api_key": key, "base_url": url}
        config = write_config(tmp_path / "config.yaml", [account])
        done = run("poll", f"--config.file={config}", "--log.level=debug")
    assert "invalid_response" in done.stdout
    assert len(done.stdout + done.stderr) < 5000
    assert not [part for at in range(len(key) - 5) if (part := key[at : at + 6]) in done.stdout + done.stderr]


def test_the_login_of_a_proxy_is_redacted_in_messages(tmp_path: Path) -> None:
    password = secrets.token_hex(6) + "@"
    sent = base64.b64encode(f"user:{password}".encode()).decode()
    words = f"not user:{password} or {quote(password)} or Basic {sent}"
    body = json.dumps({"message": words, "error": words, "detail": words})
    refusal = f"HTTP/1.1 407 {words}\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n{body}"
    for scheme, attempts in (("http", 1), ("https", 3)):
        account = {"name": "a", "provider": "vidnavigator", "api_key": "k" * 20, "timeout": "1m"}
        account["base_url"] = f"{scheme}://api.example"
        config = write_config(tmp_path / "config.yaml", [account])
        with responding(*[refusal.encode()] * attempts, keep=False) as url:
            proxy = url.replace("//", f"//user:{quote(password)}@")
            done = run("poll", f"--config.file={config}", "--log.level=debug", ALL_PROXY=proxy)
        assert "407" in done.stdout
        for secret in (password, quote(password), sent):
            assert secret not in done.stdout + done.stderr
