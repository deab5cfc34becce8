"""Reloads run one by one for all that requested them, and do not delay the stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from exporter.runtime.mainloop import MainLoop

PATIENT = 30.0


class Program:
    """A main loop whose loads wait for a semaphore."""

    def __init__(self) -> None:
        self.loads = 0
        self.results: list[int | str] = []
        self.may_load = threading.Semaphore(0)
        self.is_loading = threading.Event()
        self.loop = MainLoop(self._load, self._finish, lambda: None)
        self.pool = ThreadPoolExecutor(2)

    def _load(self) -> int:
        self.loads += 1
        self.is_loading.set()
        self.may_load.acquire()
        if self.loads == 13:
            raise ValueError("the thirteenth")
        return self.loads

    def _finish(self, loaded: Future[int]) -> str:
        error = loaded.exception()
        self.results.append(str(error) if error else loaded.result())
        return str(error) if error else ""

    def request(self, count: int = 1) -> list[Future[str | None]]:
        return [self.loop.reload() for _ in range(count)]


@pytest.fixture
def program() -> Iterator[Program]:
    program = Program()
    before = program.loop.handle_signals()
    yield program
    for number, handler in before.items():
        signal.signal(number, handler)
    program.may_load.release(1000)
    program.pool.shutdown()


def stop_when(condition: Future[Any]) -> None:
    condition.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGTERM))


def test_one_reload_responds_to_all_requests_that_wait(program: Program) -> None:
    (first,) = program.request()

    def others() -> list[str | None]:
        assert program.is_loading.wait(PATIENT)
        for _ in range(400):
            os.kill(os.getpid(), signal.SIGHUP)
        requested = program.request(40)
        program.may_load.release(1000)
        return [each.result(PATIENT) for each in [first, *requested]]

    responses = program.pool.submit(others)
    stop_when(responses)
    program.loop.run()
    assert responses.result(PATIENT) == [""] * 41
    assert program.loads in (2, 3)  # one that was under way, and one for all others


def test_a_reload_whose_files_cannot_be_read_for_ever_does_not_delay_the_stop(program: Program) -> None:
    (hanging,) = program.request()

    def stop() -> None:
        assert program.is_loading.wait(PATIENT)

    stop_when(program.pool.submit(stop))
    program.loop.run()
    assert hanging.result(PATIENT) is None


def test_a_reload_after_the_stop_is_refused_at_once(program: Program) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    program.loop.run()
    assert program.loop.reload().result(0) is None
    assert program.loads == 0


def test_reloads_that_wait_when_the_stop_begins_are_refused(program: Program) -> None:
    requested = program.request(5)
    os.kill(os.getpid(), signal.SIGTERM)
    program.loop.run()
    assert [each.result(PATIENT) for each in requested] == [None] * 5


def test_an_exception_while_loading_is_passed_to_finish_and_the_loop_continues(program: Program) -> None:
    program.loads = 12
    program.may_load.release(1000)

    def twice() -> list[str | None]:
        return [program.loop.reload().result(PATIENT), program.loop.reload().result(PATIENT)]

    responses = program.pool.submit(twice)
    stop_when(responses)
    program.loop.run()
    assert responses.result(PATIENT) == ["the thirteenth", ""]
