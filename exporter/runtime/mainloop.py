"""Runs the main thread, which waits for a stop and loads the configuration again on request.

A load runs in a thread of its own, because reading from a dead mount never ends, and a stop must still be served.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Generic, TypeVar

from exporter.runtime import signals

T = TypeVar("T")

Handlers = dict[int, Callable[[int, FrameType | None], object] | int | None]

_IDLE_SECONDS = 0.5
"""Seconds from one call of ``idle`` to the next."""
_SPACING_SECONDS = 0.1
"""Seconds from one load to the next, so that a burst of signals causes only a few loads."""


class MainLoop(Generic[T]):
    """Serves reloads until the first stop. Reloads never overlap, and all reloads that wait become one.

    ``load`` runs in a thread of its own. ``finish`` gets its result in the main thread and returns the errors as text,
    which is empty if there are none. ``idle`` is called twice a second.
    """

    def __init__(self, load: Callable[[], T], finish: Callable[[Future[T]], str], idle: Callable[[], None]) -> None:
        self._load = load
        self._finish = finish
        self._idle = idle
        self._events: queue.SimpleQueue[_Stop | _Reload | Future[T]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stopping = False
        self._next: list[_Reload] = []
        self._loading: list[_Reload] = []
        self._next_load = 0.0

    def reload(self) -> Future[str | None]:
        """Have the configuration loaded again. The result is the errors as text, or None if the program stops."""
        asked = _Reload()
        with self._lock:
            if self._stopping:
                asked.result.set_result(None)
            else:
                self._events.put(asked)
        return asked.result

    def handle_signals(self) -> Handlers:
        """Turn SIGTERM, SIGINT and SIGHUP into events, with those held so far. Return the previous handlers."""
        asked: list[int] = []

        def stop(number: int, _frame: FrameType | None) -> None:
            if asked:
                # Every result is committed already. Only polls of vendors that do not respond still run.
                os._exit(1)
            asked.append(number)
            self._events.put(_Stop())

        def reload(_number: int, _frame: FrameType | None) -> None:
            self._events.put(_Reload())

        wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
        before: Handlers = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        signals.release()
        return before

    def run(self) -> None:
        """Serve events until one requests a stop. Then refuse every reload that still waits."""
        try:
            while self._serve_one():
                if self._next and not self._loading and time.monotonic() >= self._next_load:
                    self._loading, self._next = self._next, []
                    self._next_load = time.monotonic() + _SPACING_SECONDS
                    threading.Thread(target=self._load_beside, name="reload", daemon=True).start()
        finally:
            self._refuse_reloads()

    def _serve_one(self) -> bool:
        """Serve one event, if one comes. Return whether to go on."""
        try:
            # The wait is short, because a signal that comes just before it does not end it.
            event = self._events.get(timeout=_SPACING_SECONDS if self._next else _IDLE_SECONDS)
        except queue.Empty:
            self._idle()
            return True
        if isinstance(event, _Reload):
            self._next.append(event)
        elif isinstance(event, Future):
            errors = self._finish(event)
            for reload in self._loading:
                reload.result.set_result(errors)
            self._loading = []
        return not isinstance(event, _Stop)

    def _load_beside(self) -> None:
        loaded: Future[T] = Future()
        try:
            loaded.set_result(self._load())
        except Exception as error:  # noqa: BLE001  it is raised again where the result is read
            loaded.set_exception(error)
        self._events.put(loaded)

    def _refuse_reloads(self) -> None:
        with self._lock:
            self._stopping = True
        refused = self._loading + self._next
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, _Reload):
                refused.append(event)
        for reload in refused:
            reload.result.set_result(None)


class _Stop:
    """Requests that the main thread stops."""


class _Reload:
    """Requests that the main thread reloads. ``result`` becomes the errors as text, or None."""

    def __init__(self) -> None:
        self.result: Future[str | None] = Future()
        self.result.set_running_or_notify_cancel()  # from now on it cannot be cancelled
