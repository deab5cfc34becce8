"""Makes an ``ssl.SSLContext`` of TLS settings, which have the names that Go gives them."""

from __future__ import annotations

import ipaddress
import os
import platform
import ssl
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

CLIENT_AUTH: dict[str, ssl.VerifyMode | None] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
    # Go requests a certificate and serves every client with and without one. No request has the same effect.
    "RequestClientCert": ssl.CERT_NONE,
    "RequireAnyClientCert": None,
    "RequireClientCert": None,
}
"""The mode of ``ssl`` for each of Go's policies, or None if there is none."""

VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
"""From the oldest to the newest."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
    "X25519MLKEM768": None,
}
"""OpenSSL's names, or None for a curve that Python's ``ssl`` does not know."""

_AEAD = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
_CBC = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
CIPHERS = {
    **_AEAD,
    **_CBC,
    # Go calls these insecure now, but files for older exporters still name them.
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""OpenSSL's name for each suite that Go lets a user choose."""
TLS13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""The suites of TLS 1.3, which are always on in Go and in OpenSSL."""


@dataclass(frozen=True)
class TlsSettings:
    """What a server needs to know about TLS. Certificates and the key are PEM."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    minimum: str = "TLS12"
    maximum: str = "TLS13"
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    prefer_server: bool = True


def make_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return a server's context. Raises ValueError(key, sentence) for what OpenSSL does not take."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if settings.prefer_server:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _set_versions(context, settings)
    _set_ciphers(context, settings)
    if settings.curves:
        _set_curve(context, settings.curves)
    _set_certificates(context, settings)
    _set_authorities(context, settings)
    return context


def usable_curve(names: Iterable[str]) -> str | None:
    """Return the first of the curves that Python's ``ssl`` knows, because it takes only one."""
    return next((name for name in names if CURVES[name] is not None), None)


def _set_curve(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    name = usable_curve(names)
    if name is None:
        raise ValueError("curve_preferences", f"{names[0]} is not possible with Python's ssl. Name another one too")
    try:
        context.set_ecdh_curve(str(CURVES[name]))
    except (ValueError, ssl.SSLError):
        # Before 3.11.4 Python makes an EC key of the curve, and X25519 has none.
        is_python = name == "X25519" and sys.version_info < (3, 12)
        library = f"the ssl module of Python {platform.python_version()}" if is_python else ssl.OPENSSL_VERSION
        advice = ". Use CurveP256, or Python 3.12 or newer" if is_python else ". Use another curve"
        raise ValueError("curve_preferences", f"{name} is not possible with {library}{advice}") from None


def _set_versions(context: ssl.SSLContext, settings: TlsSettings) -> None:
    for name, has in (("TLS10", ssl.HAS_TLSv1), ("TLS11", ssl.HAS_TLSv1_1)):
        if settings.minimum == name and not has:
            raise ValueError("min_version", f"{name} is not possible with {ssl.OPENSSL_VERSION}. Use TLS12 or TLS13")
    with warnings.catch_warnings():
        # Python warns of the old versions. docs/web-config.md does too.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = VERSIONS[settings.minimum]
        context.maximum_version = VERSIONS[settings.maximum]


def _set_ciphers(context: ssl.SSLContext, settings: TlsSettings) -> None:
    old = settings.minimum in ("TLS10", "TLS11")
    if settings.ciphers:
        chosen = [CIPHERS[name] for name in settings.ciphers if name in CIPHERS]
    else:
        chosen = [*_AEAD.values(), *(_CBC.values() if old else ())]
    if not chosen:
        if settings.maximum != "TLS13":
            raise ValueError("cipher_suites", f"has no suite that {settings.maximum} could use")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    # OpenSSL 3 allows the signatures of TLS 1.0 and 1.1 only at its lowest security level.
    level = ["@SECLEVEL=0"] if old else []
    try:
        context.set_ciphers(":".join([*chosen, *level]))
    except ssl.SSLError:
        raise ValueError("cipher_suites", f"none of them is possible with {ssl.OPENSSL_VERSION}") from None


def _set_certificates(context: ssl.SSLContext, settings: TlsSettings) -> None:
    def no_password() -> str:
        raise ValueError("key", "is encrypted, and a service cannot be asked for the password. Store it decrypted")

    with _as_file(settings.cert) as cert, _as_file(settings.key) as key:
        try:
            context.load_cert_chain(cert, key, no_password)
        except ssl.SSLError as error:
            if "MISMATCH" in (error.reason or ""):
                raise ValueError("key", "is not the private key of the certificate") from None
            raise ValueError("cert", "the certificate or its private key is not in PEM") from None


def _set_authorities(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.client_auth is ssl.CERT_NONE:
        return
    if settings.client_ca is None:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    else:
        try:
            context.load_verify_locations(cadata=settings.client_ca.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError):
            raise ValueError("client_ca", "holds no certificate in PEM") from None
    # Every certificate that the operator names is an authority, an intermediate one too, as in Go.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = settings.client_auth


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Yield the path of a file with the data, in memory if possible. ssl reads keys only from files."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem")
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                stream.write(data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name


def client_names(tls: ssl.SSLObject) -> frozenset[str]:
    """Return the subject alternative names of the client's certificate, as Go writes them."""
    found = cast(Iterable[tuple[str, str]], (tls.getpeercert() or {}).get("subjectAltName", ()))
    return frozenset(str(ipaddress.ip_address(name.strip())) if kind == "IP Address" else name for kind, name in found)
