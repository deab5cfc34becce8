"""The JSON Schema of the web configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
import trustme
import yaml

from exporter.errors import ConfigError
from exporter.web.config import load
from exporter.web.config_schema import json_schema

HASH = "$2b$04$" + "a" * 53
ENVIRON = {"HASH": HASH, "VERSION": "TLS13", "BURST": "5", "FLAG": "false"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("web")
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
    return directory


def tls(**changes: object) -> dict[str, object]:
    return {"tls_server_config": {"cert_file": "both.pem", "key_file": "both.pem", **changes}}


def headers(**changes: object) -> dict[str, object]:
    return {"http_server_config": {"headers": {name.replace("_", "-"): value for name, value in changes.items()}}}


def test_the_schema_is_a_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    ("document", "good"),
    [
        ({}, True),
        ({"tls_server_config": None, "basic_auth_users": None}, True),
        (tls(), True),
        (tls(min_version="TLS13"), True),
        (tls(min_version="${VERSION}"), True),
        (tls(prefer_server_cipher_suites="${FLAG}"), True),
        (tls(client_auth_type="RequireAndVerifyClientCert"), True),
        (tls(cipher_suites=["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], curve_preferences=["CurveP384"]), True),
        (headers(X_XSS_Protection=1), True),
        (headers(X_XSS_Protection=None, X_Frame_Options=None), True),
        (headers(X_Frame_Options="deny", X_Content_Type_Options="nosniff"), True),
        ({"basic_auth_users": {"alice": HASH, "bob": "${HASH}"}}, True),
        ({"rate_limit": {"interval": 0, "burst": 0}}, True),
        ({"rate_limit": {"interval": "1m30s", "burst": "${BURST}"}}, True),
        ({"tls": {}}, False),
        (tls(cert_files="both.pem"), False),
        (tls(min_version=1.2), False),
        (tls(min_version="TLS9"), False),
        (tls(client_auth_type="RequireAnyClientCert"), False),
        (tls(client_ca_file=""), False),
        (tls(client_allowed_sans="one"), False),
        (tls(cipher_suites=["AES128-SHA"]), False),
        (tls(curve_preferences=["P256"]), False),
        ({"http_server_config": {"http2": 1}}, False),
        (headers(X_Frame_Options="allow"), False),
        (headers(X_XSS_Protection=[1]), False),
        (headers(X_Thing="a"), False),
        ({"basic_auth_users": {"alice": "secret"}}, False),
        ({"basic_auth_users": {"a:b": HASH}}, False),
        ({"basic_auth_users": {"alice": None}}, False),
        ({"rate_limit": {"interval": 5, "burst": 1}}, False),
        ({"rate_limit": {"interval": "1d", "burst": 1}}, False),
        ({"rate_limit": {"interval": "1s", "burst": -1}}, False),
    ],
)
def test_the_schema_refuses_what_the_program_refuses(
    document: Mapping[str, object], good: bool, directory: Path
) -> None:
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(document) == good
    path = directory / "web.yml"
    path.write_text(yaml.safe_dump(document))
    if good:
        load(path, ENVIRON)
    else:
        with pytest.raises(ConfigError):
            load(path, ENVIRON)
