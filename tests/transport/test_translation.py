"""Exceptions of the libraries and the failures that they become."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import requests
import urllib3

from exporter.transport.translation import TRANSLATION, translate


def _subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


def _path(kind: type[Exception]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


FOREIGN: set[type[Exception]] = {
    *_subclasses(requests.exceptions.RequestException),
    *_subclasses(urllib3.exceptions.HTTPError),
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    ssl.SSLError,
}


SORTED: list[type[Exception]] = sorted(FOREIGN, key=_path)


@pytest.mark.parametrize("kind", SORTED, ids=_path)
def test_every_exception_of_the_libraries_has_a_meaning(kind: type[Exception]) -> None:
    assert any(issubclass(kind, foreign) for foreign, _, _ in TRANSLATION)


def test_an_exception_that_no_library_raises_is_internal() -> None:
    assert translate(ZeroDivisionError("x")).reason == "internal"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("x"),
        OSError(),
        requests.exceptions.InvalidHeader("x"),
        requests.exceptions.RequestException(),
        urllib3.exceptions.HTTPError(),
        urllib3.exceptions.ProxyError("x", OSError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_failure_is_a_sentence(error: Exception) -> None:
    assert len(str(translate(error)).split()) >= 3
