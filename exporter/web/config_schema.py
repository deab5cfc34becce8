"""Models of the web configuration, one for each block, with the rule and the description of each key.

The format is that of Prometheus' exporter-toolkit. The tables in docs/web-config.md are made from the models.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import Field

from exporter.config.block import Block
from exporter.config.checking import unknown
from exporter.config.json_schema import as_json_schema
from exporter.config.rules import TEXT, Rule, kind, text
from exporter.web.tls import CIPHERS, CLIENT_AUTH, CURVES, TLS13_CIPHERS, VERSIONS

NO_BURST = "must be a whole number of at least 1"
_NO_HASH = "must be a bcrypt hash, such as `htpasswd -nBC 10 USER` prints behind the colon"
_BCRYPT = re.compile(r"\$2[abxy]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_GO_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?(?:ns|us|µs|μs|ms|s|m|h))+|0")
_GO_PART = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""A text that holds ``${NAME}``, which JSON Schema sees before the environment replaces it."""
_SENDABLE = re.compile(r"[\x20-\x7e]*")


def _pem(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be the text of a PEM file, not {kind(value)}")
    if not value.strip():
        raise ValueError("is empty. Write a value, or leave the key out")
    return value


def _flag(value: object) -> bool:
    # Allow a text too, because ``${NAME}`` always gives a text.
    found = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError("must be true or false")
    return found


def _enum(known: Collection[str | None]) -> dict[str, Any]:
    return {"anyOf": [{"enum": list(known)}, _VARIABLE]}


def _one_of(known: Collection[str]) -> Rule:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return Rule("name", check, _enum(known))


def _client_auth(value: object) -> str:
    name = str(_CLIENT_AUTH_NAMES.check(value))
    if CLIENT_AUTH[name] is None:
        raise ValueError(
            f"{name} is not possible, because Python's ssl cannot ask for a certificate without checking it. "
            "Use RequireAndVerifyClientCert, or VerifyClientCertIfGiven"
        )
    return name


def _cipher(value: object) -> str:
    name = text(value)
    if name not in CIPHERS and name not in TLS13_CIPHERS:
        known = ", ".join((*TLS13_CIPHERS, *CIPHERS))
        raise ValueError(f"unknown cipher suite. Go's names are {known}")
    return name


def _curve(value: object) -> str:
    name = text(value)
    if name not in CURVES:
        raise ValueError(unknown("curve", name, CURVES))
    return name


def _header(*known: str) -> Rule:
    def check(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError(f"must be a text, not {kind(value)}. Put it in quotes")
        if known and value not in ("", *known):
            raise ValueError(f"must be {' or '.join(known)}")
        if not _SENDABLE.fullmatch(value):
            raise ValueError("has a character that a header cannot have. Write it on one line, in ASCII")
        return value.strip()

    return Rule("text", check, _enum((None, "", *known)) if known else {"type": ["string", "integer", "null"]})


def _user(value: object) -> str:
    if not isinstance(value, str) or ":" in value:
        raise ValueError("a user name cannot have a colon, because a colon ends the name in the request")
    return value


def _bcrypt_hash(value: object) -> bytes:
    # Do not repeat the value, because it may be a password in the wrong place.
    # Reject a user without a hash. Dropping it could leave no users, which disables authentication.
    if not isinstance(value, str) or not _BCRYPT.fullmatch(value):
        raise ValueError(_NO_HASH)
    return value.encode()


def _go_duration(value: object) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if not isinstance(value, str) or not _GO_DURATION.fullmatch(value):
        raise ValueError("must be a duration as Go writes it, such as 1s, 250ms or 1m30s. Write 0 for no limit")
    return sum(float(number) * _GO_UNITS[unit] for number, unit in _GO_PART.findall(value))


def _burst(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(NO_BURST)
    return value


_TEXT = {"type": "string", "minLength": 1}
_CLIENT_AUTH_NAMES = _one_of(CLIENT_AUTH)

CLIENT_AUTH_TYPE = Rule("name", _client_auth, _enum([name for name, mode in CLIENT_AUTH.items() if mode is not None]))
PEM = Rule("PEM", _pem, _TEXT)
FLAG = Rule("true or false", _flag, {"anyOf": [{"enum": [True, False, "true", "false"]}, _VARIABLE]})
VERSION = _one_of(VERSIONS)
CIPHER = Rule("name", _cipher, _enum((*TLS13_CIPHERS, *CIPHERS)))
CURVE = Rule("name", _curve, _enum(CURVES))
USER = Rule("text", _user, {"type": "string", "pattern": "^[^:]*$"})
HASH = Rule("hash", _bcrypt_hash, {"type": "string", "pattern": rf"^{_BCRYPT.pattern}$|\$\{{"})
GO_DURATION = Rule(
    "duration",
    _go_duration,
    {"anyOf": [{"const": 0}, {"type": "string", "pattern": rf"^({_GO_DURATION.pattern})$|\$\{{"}]},
)
BURST = Rule(
    "whole number",
    _burst,
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]{1,9}$|\$\{"}]},
)


class Tls(Block):
    """With any key of this block the exporter speaks only HTTPS. It then needs a certificate and its key."""

    cert_file: Annotated[str | None, TEXT] = Field(
        default=None, description="A PEM file. Its chain may follow the certificate."
    )
    key_file: Annotated[str | None, TEXT] = Field(
        default=None, description="A PEM file with the certificate's private key. An encrypted key is refused."
    )
    cert: Annotated[str | None, PEM] = Field(default=None, description="The certificate as text in this file.")
    key: Annotated[str | None, PEM] = Field(default=None, repr=False, description="The key as text in this file.")
    client_auth_type: Annotated[str, CLIENT_AUTH_TYPE] = Field(
        default="NoClientCert",
        description="Also `VerifyClientCertIfGiven` and `RequireAndVerifyClientCert`. `RequestClientCert` has the same "
        "effect as `NoClientCert`.",
    )
    client_ca_file: Annotated[str | None, TEXT] = Field(
        default=None,
        description="A PEM file of the authorities that may sign client certificates. An intermediate one is enough.",
        json_schema_extra={"x-default": "the system's authorities"},
    )
    client_ca: Annotated[str | None, PEM] = Field(default=None, description="The authorities as text in this file.")
    client_allowed_sans: list[Annotated[str, TEXT]] | None = Field(
        default=None,
        description="With `RequireAndVerifyClientCert` a client's certificate has to carry one of these names, "
        "exactly: DNS name, address, e-mail or URI.",
        json_schema_extra={"x-default": "all"},
    )
    min_version: Annotated[str, VERSION] = Field(default="TLS12", description="Also `TLS10`, `TLS11` and `TLS13`.")
    max_version: Annotated[str, VERSION] = Field(default="TLS13", description="Not below `min_version`.")
    cipher_suites: list[Annotated[str, CIPHER]] | None = Field(
        default=None,
        description="For TLS 1.2 and below, by Go's names.",
        json_schema_extra={"x-default": "those of Go with forward secrecy and authenticated encryption"},
    )
    prefer_server_cipher_suites: Annotated[bool, FLAG] = Field(
        default=True,
        description="The order of `cipher_suites` counts, not the client's.",
    )
    curve_preferences: list[Annotated[str, CURVE]] | None = Field(
        default=None,
        description="The first of `CurveP256`, `CurveP384`, `CurveP521` and `X25519` that is named is used. "
        "`X25519MLKEM768` is passed over.",
        json_schema_extra={"x-default": "all of OpenSSL's"},
    )


class Headers(Block):
    """Headers of every response. Each replaces the one that the exporter would send. An empty one is left out."""

    content_security_policy: Annotated[str, _header()] = Field(
        default="", alias="Content-Security-Policy", description="What a page may load."
    )
    strict_transport_security: Annotated[str, _header()] = Field(
        default="", alias="Strict-Transport-Security", description="How long browsers insist on HTTPS."
    )
    x_content_type_options: Annotated[str, _header("nosniff")] = Field(
        default="", alias="X-Content-Type-Options", description="`nosniff`."
    )
    x_frame_options: Annotated[str, _header("deny", "sameorigin")] = Field(
        default="", alias="X-Frame-Options", description="`deny` or `sameorigin`."
    )
    x_xss_protection: Annotated[str, _header()] = Field(
        default="", alias="X-XSS-Protection", description="What old browsers do about scripts of another site."
    )


class Http(Block):
    """What has to do with HTTP."""

    http2: Annotated[bool, FLAG] = Field(
        default=True, description="Without effect, because HTTP/1.1 is what client and server agree on."
    )
    headers: Headers | None = Field(default=None, description="Headers of every response.")


class Rate(Block):
    """All clients share the limit, known and unknown. The response to one request more is 429."""

    interval: Annotated[float, GO_DURATION] = Field(
        default=0.0,
        description="One more request is served each interval, such as `1s` or `250ms`.",
        json_schema_extra={"x-default": "0, which is no limit"},
    )
    burst: Annotated[int | None, BURST] = Field(
        default=None,
        description="And so many at once. At least 1 where there is an interval.",
        json_schema_extra={"x-default": "required with an interval"},
    )


class WebFile(Block):
    """The whole web configuration file."""

    tls_server_config: Tls | None = Field(default=None, description="HTTPS.")
    http_server_config: Http | None = Field(default=None, description="What has to do with HTTP.")
    basic_auth_users: dict[Annotated[str, USER], Annotated[bytes, HASH]] | None = Field(
        default=None,
        repr=False,
        description="User names, each with a bcrypt hash of the password.",
        json_schema_extra={"propertyNames": {"pattern": "^[^:]*$"}},
    )
    rate_limit: Rate | None = Field(default=None, description="How many requests are served.")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    return as_json_schema(WebFile, "Web configuration of video-api-exporter")
