"""Tells systemd that the service is ready, reloading, alive or stopping, as sd_notify(3) does."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

from exporter.runtime.files import reason

logger = logging.getLogger(__name__)


class Notifier:
    """Sends to the socket that systemd names in the environment. Without one it does nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.wants_watchdog = environ.get("WATCHDOG_USEC", "").isdigit()
        """Whether systemd wants signs of life. It allows minutes between two of them."""

    def send(self, *lines: str) -> None:
        """Send assignments such as ``READY=1``. A failure is logged and stops nothing."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            logger.warning("systemd could not be notified of %s: %s", lines[0], reason(error))
