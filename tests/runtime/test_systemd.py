"""Notifications to systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from exporter.runtime.systemd import Notifier


def test_systemd_is_notified_through_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(10)
        notifier = Notifier({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "30000000"})
        notifier.send("READY=1", "STATUS=polling")
        assert server.recv(1000) == b"READY=1\nSTATUS=polling"
    assert notifier.wants_watchdog


def test_without_systemd_no_notification_is_sent() -> None:
    notifier = Notifier({})
    notifier.send("READY=1")
    assert not notifier.wants_watchdog


def test_a_missing_socket_is_logged_in_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send("READY=1")
    assert caplog.messages == ["systemd could not be notified of READY=1: No such file or directory"]
