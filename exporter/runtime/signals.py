"""Holds signals while the program starts, until their handlers are set.

The kernel keeps them meanwhile, because a module that is half imported cannot serve them.
"""

from __future__ import annotations

import signal

_HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 10.0
"""Seconds that a start has to end by itself after a stop was requested."""


def hold() -> None:
    """Let signals wait. By default they would end the program with the status of a failure."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release() -> None:
    """Give the signals that wait, and all later ones, to the handlers that are set now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def watch_start(grace_seconds: float = GRACE_SECONDS) -> None:
    """End the program ``grace_seconds`` after a stop was requested, unless it has handlers by then.

    A start that reads from a dead mount never ends, so the signals would wait for ever.
    """
    import os
    import threading

    idle = threading.Event()

    def watch() -> None:
        while not is_stop_waiting():
            if _is_handled():
                return
            idle.wait(0.2)
        idle.wait(grace_seconds)
        if not _is_handled():
            os._exit(0)  # nothing is polled before the handlers are set, so nothing is lost

    threading.Thread(target=watch, name="start", daemon=True).start()


def is_stop_waiting() -> bool:
    """Return whether a stop was requested and no handler has taken it yet."""
    return not signal.sigpending().isdisjoint((signal.SIGTERM, signal.SIGINT))


def _is_handled() -> bool:
    return signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
