"""Signals that come while the program starts: they wait until something can answer them.

The kernel keeps them meanwhile, because a module that is half imported can do nothing with them.
"""

from __future__ import annotations

import signal

_HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 10.0
"""Seconds that a start has to end by itself once it is asked to stop."""


def hold() -> None:
    """Let signals wait. They would end the program by default, with the status of a failure."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release() -> None:
    """Have the signals that wait, and all later ones, answered by the handlers that are set now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def watch_start(grace_seconds: float = GRACE_SECONDS) -> None:
    """End the program ``grace_seconds`` after a stop was asked for, unless it has handlers by then.

    A start that reads from a dead mount never ends, and would hold the signals for good.
    """
    import os
    import threading

    idle = threading.Event()

    def watch() -> None:
        while not _is_stop_waiting():
            if _is_handled():
                return
            idle.wait(0.2)
        idle.wait(grace_seconds)
        if not _is_handled():
            os._exit(0)  # nothing is learnt before the handlers are set, so nothing is lost

    threading.Thread(target=watch, name="start", daemon=True).start()


def _is_stop_waiting() -> bool:
    return not signal.sigpending().isdisjoint((signal.SIGTERM, signal.SIGINT))


def _is_handled() -> bool:
    return signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
