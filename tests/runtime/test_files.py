"""A file that is not regular or too long is refused at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from exporter.runtime.files import read_file


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\x00key\n" * 1000)
    assert read_file(file) == b"\x00key\n" * 1000


def test_a_file_at_the_limit_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_file(file, 5) == b"12345"
    with pytest.raises(OSError, match="longer than 4 bytes"):
        read_file(file, 4)


def test_a_named_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_file(tmp_path / "pipe")


def test_the_message_about_a_directory_says_that_it_is_one(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_file(tmp_path)


def test_a_device_and_a_socket_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        read_file("/dev/zero")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device"):
            read_file(tmp_path / "socket")


def test_the_descriptor_is_closed_after_a_refusal(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(IsADirectoryError):
            read_file(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
