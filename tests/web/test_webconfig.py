"""Web configurations that are accepted, and each message about one that is refused."""

from __future__ import annotations

import secrets
import ssl
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml

from exporter.config import rules
from exporter.errors import ConfigError
from exporter.web.config import load
from exporter.web.config_file import WebConfigFile
from exporter.web.rate_limit import RateLimit
from exporter.web.tls import CIPHERS, CURVES, TLS13_CIPHERS

CA = trustme.CA()
CERT = CA.issue_cert("localhost")
CHAIN = b"".join(blob.bytes() for blob in CERT.cert_chain_pems)
KEY = CERT.private_key_pem.bytes()
HASH = bcrypt.hashpw(secrets.token_bytes(8), bcrypt.gensalt(4)).decode()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "cert.pem").write_bytes(CHAIN)
    (tmp_path / "key.pem").write_bytes(KEY)
    (tmp_path / "ca.pem").write_bytes(CA.cert_pem.bytes())
    (tmp_path / "junk.pem").write_text("junk\n")
    (tmp_path / "other.pem").write_bytes(CA.issue_cert("other").private_key_pem.bytes())
    return tmp_path


TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"


def refusal(directory: Path, text: str) -> str:
    path = directory / "web.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    return str(caught.value).replace(f"{directory}/", "")


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "tls_server_config:\nbasic_auth_users: {}\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(text)
    config = load(path, {})
    assert (config.tls, config.headers, dict(config.users), config.rate_limit) == (None, (), {}, None)


def test_a_file_of_the_exporter_toolkit_is_accepted(files: Path) -> None:
    path = files / "web.yml"
    path.write_text(
        TLS
        + f"""\
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example, 10.0.0.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP384]
http_server_config:
  http2: true
  headers:
    Content-Security-Policy: default-src 'self'
    Strict-Transport-Security: max-age=31536000
    X-Content-Type-Options: nosniff
    X-Frame-Options: sameorigin
    X-XSS-Protection: ""
basic_auth_users:
  alice: {HASH}
  "Bob Müller": {HASH.replace("$2b$", "$2y$")}
rate_limit:
  interval: 1m30.5s
  burst: 20
"""
    )
    config = load(path, {})
    assert config.tls is not None
    assert config.tls.options & ssl.OP_NO_RENEGOTIATION, "a client could have us compute handshakes for nothing"
    assert config.allowed_sans == {"prometheus.example", "10.0.0.1"}
    assert dict(config.headers) == {
        "content-security-policy": "default-src 'self'",
        "strict-transport-security": "max-age=31536000",
        "x-content-type-options": "nosniff",
        "x-frame-options": "sameorigin",
    }
    assert set(config.users) == {"alice", "Bob Müller"}
    assert config.rate_limit == RateLimit(90.5, 20)
    assert HASH not in repr(config)


@pytest.mark.parametrize("name", sorted({*CIPHERS, *TLS13_CIPHERS}))
def test_every_cipher_suite_that_go_can_configure_is_accepted(files: Path, name: str) -> None:
    path = files / "web.yml"
    path.write_text(TLS + f"  cipher_suites: [{name}]\n")
    config = load(path, {})
    assert config.tls is not None
    chosen = {each["name"] for each in config.tls.get_ciphers()} - {
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_GCM_SHA256",
    }
    assert chosen == {CIPHERS[name]} if name in CIPHERS else config.tls.minimum_version.name == "TLSv1_3"


def test_all_suites_and_all_curves_of_go_together_are_accepted(files: Path) -> None:
    path = files / "web.yml"
    path.write_text(f"{TLS}  cipher_suites: {[*CIPHERS, *TLS13_CIPHERS]}\n  curve_preferences: {[*CURVES]}\n")
    assert load(path, {}).tls is not None


@pytest.mark.parametrize(
    "text",
    ["{interval: 0, burst: 5}", "{interval: 0, burst: 0}", "{interval: '0', burst: 0}", "{interval: 0s}", "{burst: 0}"],
)
def test_rate_limit_without_an_interval_is_off(tmp_path: Path, text: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"rate_limit: {text}\n")
    assert load(path, {}).rate_limit is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ('"1s"', 1), ("1h", 3600), ("1.5h", 5400), ("1.s", 1), ("2m3s4ms", 123.004)]
)
def test_the_interval_is_a_duration_of_go(tmp_path: Path, text: str, seconds: float) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"rate_limit: {{interval: {text}, burst: 1}}\n")
    limit = load(path, {}).rate_limit
    assert limit is not None and limit.interval == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "value"), [("1", "1"), ("0", "0"), ("1; mode=block", "1; mode=block"), ('"1"', "1")])
def test_a_header_that_yaml_reads_as_a_number_is_sent_as_its_text(tmp_path: Path, text: str, value: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"http_server_config:\n  headers:\n    X-XSS-Protection: {text}\n")
    assert load(path, {}).headers == (("x-xss-protection", value),)


@pytest.mark.parametrize("text", ["", '""', "~"])
def test_a_header_without_a_value_is_not_sent(tmp_path: Path, text: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"http_server_config:\n  headers:\n    X-XSS-Protection: {text}\n")
    assert load(path, {}).headers == ()


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NoClientCert", ssl.CERT_NONE),
        ("RequestClientCert", ssl.CERT_NONE),
        ("RequestClientCert\n  client_ca_file: ca.pem", ssl.CERT_NONE),
        ("VerifyClientCertIfGiven", ssl.CERT_OPTIONAL),
        ("RequireAndVerifyClientCert", ssl.CERT_REQUIRED),
        ("RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [one, two]", ssl.CERT_REQUIRED),
    ],
)
def test_the_policy_decides_whether_a_client_certificate_is_requested(
    files: Path, text: str, mode: ssl.VerifyMode
) -> None:
    path = files / "web.yml"
    path.write_text(f"{TLS}  client_auth_type: {text}\n")
    config = load(path, {})
    assert config.tls is not None
    assert config.tls.verify_mode is mode


def test_a_certificate_of_any_public_authority_gets_a_warning(files: Path) -> None:
    path = files / "web.yml"
    path.write_text(TLS + "  client_auth_type: RequireAndVerifyClientCert\n")
    (warning,) = load(path, {}).warnings
    assert str(warning) == (
        f"{path}:4: tls_server_config.client_auth_type: admits a certificate of any authority that the system "
        "trusts, because client_ca_file is missing"
    )
    path.write_text(path.read_text() + "  client_allowed_sans: [prometheus.example]\n")
    assert load(path, {}).warnings == ()


def test_of_several_curves_a_warning_names_the_one_that_is_used(files: Path) -> None:
    path = files / "web.yml"
    path.write_text(TLS + "  curve_preferences: [X25519MLKEM768, CurveP384, X25519]\n")
    (warning,) = load(path, {}).warnings
    assert str(warning) == (
        f"{path}:4: tls_server_config.curve_preferences: only CurveP384 is used, because Python's ssl takes one curve"
    )


def test_warnings_are_logged_when_the_file_is_read(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = files / "web.yml"
    path.write_text(TLS + "  client_auth_type: RequireAndVerifyClientCert\n")
    WebConfigFile(path, {})
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def of_text(value: object) -> str:
    """Return what the rule for any text says of a value."""
    with pytest.raises(ValueError, match=r"must|is|YAML") as caught:
        rules.text(value)
    return str(caught.value)


REFUSALS = [
    ("- a\n", "web.yml:1: must be a mapping (lines with `key: value`), not a list"),
    ("tls_config: {}\n", "web.yml:1: *: unknown key; did you mean tls_server_config?"),
    (
        "rate_limit: {interval: 1s, burst: 1, x: 1}\n",
        "web.yml:1: rate_limit.*: unknown key; known are burst, interval",
    ),
    (
        "tls_server_config: on\n",
        "web.yml:1: tls_server_config: must be a mapping (lines with `key: value`), not true or false",
    ),
    (
        "tls_server_config:\n  min_version: TLS13\n",
        "web.yml:1: tls_server_config: needs cert_file or cert, because there is no TLS without a certificate\n"
        "web.yml:1: tls_server_config: needs key_file or key, because a certificate needs its private key",
    ),
    (
        TLS.replace("cert.pem", "gone.pem"),
        "web.yml:2: tls_server_config.cert_file: cannot be read: No such file or directory",
    ),
    (
        TLS.replace("key.pem", "other.pem"),
        "web.yml:3: tls_server_config.key_file: is not the private key of the certificate",
    ),
    (
        TLS.replace("cert.pem", "junk.pem"),
        "web.yml:2: tls_server_config.cert_file: the certificate or its private key is not in PEM",
    ),
    (
        TLS + "  cert: |\n    x\n",
        "web.yml:4: tls_server_config.cert: is given twice. Keep one of cert and cert_file",
    ),
    (
        TLS + "  client_auth_type: RequireAnyClientCert\n",
        "web.yml:4: tls_server_config.client_auth_type: RequireAnyClientCert is not possible, because Python's "
        "ssl cannot ask for a certificate without checking it. Use RequireAndVerifyClientCert, or "
        "VerifyClientCertIfGiven",
    ),
    (
        TLS + "  client_auth_type: require\n",
        "web.yml:4: tls_server_config.client_auth_type: must be one of NoClientCert, VerifyClientCertIfGiven, "
        "RequireAndVerifyClientCert, RequestClientCert, RequireAnyClientCert, RequireClientCert",
    ),
    (
        TLS + "  client_ca_file: ca.pem\n",
        "web.yml:1: tls_server_config: client_ca_file needs `client_auth_type: RequireAndVerifyClientCert`",
    ),
    (
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: junk.pem\n",
        "web.yml:5: tls_server_config.client_ca_file: holds no certificate in PEM",
    ),
    (
        TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]\n",
        "web.yml:6: tls_server_config.client_allowed_sans: needs `client_auth_type: "
        "RequireAndVerifyClientCert`, because otherwise it has no effect",
    ),
    (
        TLS + "  client_allowed_sans: []\n",
        "web.yml:4: tls_server_config.client_allowed_sans: is empty, which would refuse every client. "
        "List the names that may connect, or leave the key out",
    ),
    (
        TLS + "  min_version: 1.2\n",
        "web.yml:4: tls_server_config.min_version: must be one of TLS10, TLS11, TLS12, TLS13",
    ),
    (
        TLS + "  min_version: TLS13\n  max_version: TLS12\n",
        "web.yml:5: tls_server_config.max_version: TLS12 is below min_version TLS13",
    ),
    (
        TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  max_version: TLS12\n",
        "web.yml:4: tls_server_config.cipher_suites: has no suite that TLS12 could use",
    ),
    (
        TLS + "  curve_preferences: [X25519MLKEM768]\n",
        "web.yml:4: tls_server_config.curve_preferences: X25519MLKEM768 is not possible with Python's ssl. Name "
        "another one too",
    ),
    (
        TLS + "  curve_preferences: [P256]\n",
        "web.yml:4: tls_server_config.curve_preferences[0]: unknown curve; did you mean CurveP256?",
    ),
    (
        TLS + "  prefer_server_cipher_suites: 1\n",
        "web.yml:4: tls_server_config.prefer_server_cipher_suites: must be true or false",
    ),
    (
        TLS + "  cipher_suites: TLS_AES_128_GCM_SHA256\n",
        "web.yml:4: tls_server_config.cipher_suites: must be a list (`[a, b]`, or lines with `- `), not a text",
    ),
    ("http_server_config: {http2: 2}\n", "web.yml:1: http_server_config.http2: must be true or false"),
    (
        "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
        "web.yml:3: http_server_config.headers.X-Frame-Options: must be deny or sameorigin",
    ),
    (
        "http_server_config:\n  headers:\n    X-Thing: a\n",
        "web.yml:3: http_server_config.headers.*: unknown key; known are Content-Security-Policy, "
        "Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection",
    ),
    (
        'http_server_config:\n  headers:\n    X-XSS-Protection: "a\\r\\nb: c"\n',
        "web.yml:3: http_server_config.headers.X-XSS-Protection: has a character that a header cannot have. "
        "Write it on one line, in ASCII",
    ),
    (
        "http_server_config:\n  headers:\n    X-Frame-Option: deny\n",
        "web.yml:3: http_server_config.headers.*: unknown key; did you mean X-Frame-Options?",
    ),
    (
        "http_server_config:\n  headers:\n    X-XSS-Protection: true\n",
        "web.yml:3: http_server_config.headers.X-XSS-Protection: must be a text, not true or false. Put it in quotes",
    ),
    (
        TLS + "  client_ca_file:\n",
        "web.yml:1: tls_server_config: client_ca_file needs `client_auth_type: RequireAndVerifyClientCert`\n"
        f"web.yml:4: tls_server_config.client_ca_file: {of_text(None)}",
    ),
    (
        "tls_server_config:\n  cert_file: 5\n  key_file: [a]\n",
        f"web.yml:2: tls_server_config.cert_file: {of_text(5)}\nweb.yml:3: tls_server_config.key_file: {of_text([])}",
    ),
    (
        "tls_server_config:\n  cert_fil: a\n  key_file: b\n",
        "web.yml:2: tls_server_config.*: unknown key; did you mean cert_file?\n"
        "web.yml:3: tls_server_config.key_file: cannot be read: No such file or directory",
    ),
    (
        TLS + "  client_auth_type: ${MISSING}\n  client_ca_file: ca.pem\n  min_version: TLS9\n  max_version: TLS10\n",
        "web.yml:4: tls_server_config.client_auth_type: the environment variable named here is not set; set it, or "
        "write $${...} for the text itself\n"
        "web.yml:6: tls_server_config.min_version: must be one of TLS10, TLS11, TLS12, TLS13",
    ),
    (
        "basic_auth_users:\n  alice: secret\n",
        "web.yml:2: basic_auth_users.*: must be a bcrypt hash, such as `htpasswd -nBC 10 USER` prints behind the colon",
    ),
    (
        f"basic_auth_users:\n  'a:b': {HASH}\n",
        "web.yml:2: basic_auth_users.*: a user name cannot have a colon, because a colon ends the name in the request",
    ),
    (
        "basic_auth_users:\n  alice:\n",
        "web.yml:2: basic_auth_users.*: must be a bcrypt hash, such as `htpasswd -nBC 10 USER` prints behind the colon",
    ),
    (
        "rate_limit: {interval: 1s}\n",
        "web.yml:1: rate_limit: needs burst, the number of requests that may come at once",
    ),
    (
        "rate_limit: {interval: 1s, burst: 0}\n",
        "web.yml:1: rate_limit.burst: must be a whole number of at least 1, because 0 would refuse every request",
    ),
    (
        "rate_limit: {interval: 1d, burst: 1}\n",
        "web.yml:1: rate_limit.interval: must be a duration as Go writes it, such as 1s, 250ms or 1m30s. "
        "Write 0 for no limit",
    ),
]


@pytest.mark.parametrize(("text", "expected"), REFUSALS, ids=map(str, range(len(REFUSALS))))
def test_a_wrong_file_is_refused_with_line_and_remedy(files: Path, text: str, expected: str) -> None:
    assert refusal(files, text) == expected


def test_a_path_that_is_not_valid_for_the_system_is_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # PyYAML's own loader takes what libyaml refuses.
    monkeypatch.setattr("exporter.config.yaml._LOADER", yaml.SafeLoader)
    text = refusal(files, TLS.replace("key.pem", '"\\ud800"'))
    assert text == "web.yml:3: tls_server_config.key_file: cannot be read: its name is not valid UTF-8"


def test_a_path_to_a_key_is_not_repeated_because_it_may_be_the_key(files: Path) -> None:
    key = secrets.token_hex(200)
    assert key not in refusal(files, TLS.replace("key.pem", key))


def test_the_message_about_an_unknown_cipher_suite_names_the_known_ones(files: Path) -> None:
    text = refusal(files, TLS + "  cipher_suites: [ECDHE-RSA-AES128-GCM-SHA256]\n")
    assert text.startswith("web.yml:4: tls_server_config.cipher_suites[0]: unknown cipher suite. Go's names are ")
    assert "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" in text


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(files: Path) -> None:
    text = refusal(files, "rate_limit: {burst: x}\nbasic_auth_users: {a: b}\nmore: 1\n" + TLS + "  http2: true\n")
    assert [line.split(":")[1] for line in text.splitlines()] == ["1", "2", "3", "7"]


def test_no_message_repeats_a_value_that_may_be_a_password_or_a_key(files: Path) -> None:
    password = secrets.token_hex(8)
    text = refusal(
        files, f"basic_auth_users: {{a: {password}}}\n{TLS}  key: {password}\n".replace("  key_file: key.pem\n", "")
    )
    assert password not in text


def test_an_encrypted_key_is_refused_instead_of_asking_for_its_password(files: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(KEY, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(secrets.token_bytes(8)),
    )
    (files / "key.pem").write_bytes(encrypted)
    assert refusal(files, TLS) == (
        "web.yml:3: tls_server_config.key_file: is encrypted, and a service cannot be asked for the password. "
        "Store it decrypted"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.yml: cannot be read: No such file"):
        load(tmp_path / "web.yml", {})
