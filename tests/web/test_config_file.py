"""The web configuration is checked for changes, and a file that cannot be read for ever delays nothing."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import trustme

from exporter.web import config_file as config_file_module
from exporter.web.config import Stamp
from exporter.web.config_file import WebConfigFile
from exporter.web.rate_limit import RateLimit

from .conftest import PATIENCE, Servers, notice_change, wait_for

CA = trustme.CA()
TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
LIMIT = "rate_limit: {interval: 24h, burst: 1}\n"


def write_certificate(directory: Path) -> None:
    certificate = CA.issue_cert("localhost")
    (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (directory / "key.pem").write_bytes(certificate.private_key_pem.bytes())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_certificate(tmp_path)
    return tmp_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.yml"


def following(path: Path, text: str) -> WebConfigFile:
    path.write_text(text)
    return WebConfigFile(path, {})


def test_a_change_is_followed_and_a_broken_one_leaves_the_old_in_force(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = following(path, "rate_limit: {interval: 1s, burst: 1}\n")
    first = file.current()
    notice_change(file)
    assert file.current() is first
    path.write_text("rate_limit: {interval: 1s, burst: 22}\n")
    notice_change(file)
    assert file.current().rate_limit == RateLimit(1.0, 22)
    path.write_text("rate_limit: {interval: never}\n")
    for _ in range(3):
        notice_change(file)
        assert file.current().rate_limit == RateLimit(1.0, 22)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert f"{path}:1: rate_limit.interval: must be a duration" in record.getMessage()
    assert "stays in force" in record.getMessage()
    path.unlink()
    notice_change(file)
    assert file.current().rate_limit == RateLimit(1.0, 22)
    path.write_text("rate_limit: {interval: 1s, burst: 333}\n")
    notice_change(file)
    assert file.current().rate_limit == RateLimit(1.0, 333)


def test_a_file_that_is_still_being_written_does_not_disable_passwords(path: Path) -> None:
    users = f"basic_auth_users:\n  alice: {bcrypt.hashpw(secrets.token_bytes(8), bcrypt.gensalt(4)).decode()}\n"
    file = following(path, users)
    path.write_text("# users, by name\n")
    file.look()
    assert file.current().users
    path.write_text("# users, by name\n" + users.replace("alice", "alicia"))
    file.look()
    assert set(file.current().users) == {"alice"}
    file.look()
    assert set(file.current().users) == {"alicia"}


def test_a_certificate_that_is_replaced_in_two_steps_is_used_when_both_are_there(files: Path, path: Path) -> None:
    file = following(path, TLS)
    first = file.current().tls
    new = CA.issue_cert("localhost")
    (files / "cert.pem").write_bytes(new.cert_chain_pems[0].bytes())
    notice_change(file)
    assert file.current().tls is first
    (files / "key.pem").write_bytes(new.private_key_pem.bytes())
    notice_change(file)
    assert file.current().tls is not first


def test_a_certificate_that_appears_after_a_broken_change_is_noticed(files: Path, path: Path) -> None:
    file = following(path, TLS)
    first = file.current().tls
    path.write_text(TLS.replace("cert.pem", "later.pem"))
    notice_change(file)
    assert file.current().tls is first
    (files / "later.pem").write_bytes((files / "cert.pem").read_bytes())
    notice_change(file)
    assert file.current().tls is not first


def test_tls_is_not_switched_off_by_a_change(files: Path, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = following(path, TLS)
    path.write_text("{}\n")
    notice_change(file)
    assert file.current().tls is not None
    assert "only a restart switches TLS" in caplog.text


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "web.yml"])
def test_a_named_pipe_in_place_of_a_file_is_refused_without_waiting(
    files: Path, path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = following(path, TLS)
    first = file.current()
    (files / name).unlink()
    os.mkfifo(files / name)
    notice_change(file)
    assert file.current() is first
    assert "cannot be read: it is not a regular file. What was read before stays in force" in caplog.text


def test_a_named_pipe_is_refused_at_start(files: Path, path: Path) -> None:
    (files / "cert.pem").unlink()
    os.mkfifo(files / "cert.pem")
    with pytest.raises(Exception, match=r"cert_file: cannot be read: it is not a regular file"):
        following(path, TLS)


def test_a_server_follows_changes_by_itself(
    servers: Servers, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config_file_module, "LOOK_SECONDS", 0.01)
    path.write_text("{}\n")
    server = servers.start(web_config=path)
    client = servers.client(server)
    assert [client.request().status for _ in range(3)] == [200] * 3
    path.write_text(LIMIT)
    wait_for(lambda: client.request().status == 429)
    server.stop(0)
    wait_for(lambda: all(thread.name != "web-config" for thread in threading.enumerate()))


def test_an_exception_in_one_check_for_changes_does_not_end_the_checks(
    servers: Servers, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config_file_module, "LOOK_SECONDS", 0.01)
    path.write_text("{}\n")
    client = servers.client(servers.start(web_config=path))
    with monkeypatch.context() as patch:
        patch.setattr(config_file_module, "stamp", lambda _file: 1 / 0)
        wait_for(lambda: "ZeroDivisionError" in caplog.text)
    path.write_text(LIMIT)
    wait_for(lambda: client.request().status == 429)


class HangingMount:
    """Files that cannot be looked at until the mount responds again."""

    def __init__(self) -> None:
        self.looks = 0
        self.called = threading.Event()
        self.responses = threading.Event()

    def stamp(self, _file: Path) -> Stamp | None:
        self.looks += 1
        self.called.set()
        self.responses.wait()
        return None


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingMount]:
    monkeypatch.setattr(config_file_module, "LOOK_SECONDS", 0.001)
    mount = HangingMount()
    monkeypatch.setattr(config_file_module, "stamp", mount.stamp)
    yield mount
    mount.responses.set()


def test_a_mount_that_hangs_stops_no_response_and_not_the_server(
    servers: Servers, path: Path, mount: HangingMount
) -> None:
    path.write_text("{}\n")
    server = servers.start(web_config=path)
    assert mount.called.wait(PATIENCE)
    assert [servers.client(server).request().status for _ in range(20)] == [200] * 20
    assert mount.looks == 1, "one look at a time"
    server.stop(0)


def test_a_mount_that_hangs_does_not_keep_the_process_alive(path: Path) -> None:
    path.write_text("{}\n")
    code = f"""if True:
        import pathlib, threading
        from exporter.web import config_file
        from exporter.web.messages import Route
        from exporter.web.server import Server
        called = threading.Event()
        def hang(file):
            called.set()
            threading.Event().wait()
        config_file.stamp, config_file.LOOK_SECONDS = hang, 0.001
        server = Server({{}}, ["127.0.0.1:0"], web_config=pathlib.Path({str(path)!r}))
        server.bind()
        server.start()
        called.wait()
        server.stop(0)
        print("stopped")
        """
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "stopped\n"
