"""Polls on a machine that has run out of file descriptors or threads."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from exporter.errors import UnreachableError
from exporter.transport.client import Transport

PATIENT = 20.0
SENTENCE = "no file descriptor is left; raise LimitNOFILE= of the service, or `ulimit -n`"


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def failure(transport: Transport) -> str:
    with no_descriptor_left():
        try:
            transport.get("/", {}, {}, PATIENT)
        except UnreachableError as error:
            return str(error)
    raise AssertionError("it did not fail")


def test_a_socket_without_a_descriptor_is_named_with_its_remedy() -> None:
    def resolve(host: str, port: int) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    transport = Transport("http://api.example", "test", resolve=resolve, environ={})  # type: ignore[arg-type]  # fits
    assert failure(transport) == SENTENCE


def test_a_look_up_without_a_descriptor_is_not_called_an_unknown_name() -> None:
    transport = Transport("http://api.example", "test", environ={})
    assert failure(transport) == f"cannot look up api.example: {SENTENCE}"


def test_authorities_without_a_descriptor_are_named_with_the_remedy() -> None:
    assert failure(Transport("https://api.example", "test", environ={})).endswith(f"cannot be read: {SENTENCE}")


def test_a_look_up_whose_thread_cannot_start_does_not_affect_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    transport = Transport("http://api.example", "test", resolve=resolve, environ={})  # type: ignore[arg-type]  # never returns
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(UnreachableError, match=r"cannot look up api\.example: no thread can be started; raise"):
            transport.get("/", {}, {}, PATIENT)
    with pytest.raises(UnreachableError, match="Name or service not known"):
        transport.get("/", {}, {}, PATIENT)
