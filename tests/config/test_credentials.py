"""Reading keys from files, variables and literals. No message has one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.credentials import KeySource, key_problem
from exporter.errors import CredentialError

KEY = secrets.token_hex(16)
ASSIGNED = "holds NAME=VALUE, as an env file or a command of a shell does; it must hold the key alone"
NAMED = "has a name and a colon before the key, as YAML and headers do; it must hold the key alone"
SCHEMED = (
    "has a word such as Bearer before the key; it must hold the key alone, because the exporter adds such a word by "
    "itself"
)
QUOTED = "has quotes around the key; remove them, because they would be sent"
HALF_QUOTED = "has a quote at one end; remove it, because it would be sent"


def failure(source: KeySource) -> str:
    with pytest.raises(CredentialError) as caught:
        source.read()
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_key_file_is_read_again_each_time(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    source = KeySource("file", str(path))
    assert source.read() == KEY
    path.write_text(" rotated \r\n\n")
    assert source.read() == "rotated"


def test_a_variable_is_looked_up_each_time() -> None:
    environ = {"NAME": KEY + "\n"}
    source = KeySource("env", "NAME", environ=environ)
    assert source.read() == KEY
    environ["NAME"] = "rotated"
    assert source.read() == "rotated"
    del environ["NAME"]
    assert failure(source) == "the variable named by api_key_env is not set"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (
            b"a\nb",
            "holds a line break, a control or a non-ASCII character, which an HTTP header cannot carry",
        ),
        (
            b"a\x00b",
            "holds a line break, a control or a non-ASCII character, which an HTTP header cannot carry",
        ),
        (
            "clé".encode(),
            "holds a line break, a control or a non-ASCII character, which an HTTP header cannot carry",
        ),
        (b'"abc"', QUOTED),
        (b"'abc'\n", QUOTED),
        (b"'abc", HALF_QUOTED),
        (b'abc"\n', HALF_QUOTED),
        (b'"', HALF_QUOTED),
        (b"KEY=abc", ASSIGNED),
        (b'export api_key = "abc"', ASSIGNED),
        (b"# keys\nKEY=abc\nOTHER=1\n", ASSIGNED),
        (b"set KEY=abc", ASSIGNED),
        (b'set "KEY=abc"', ASSIGNED),
        (b'$env:KEY="abc"', ASSIGNED),
        (b"$KEY = 'abc'", ASSIGNED),
        (b"api_key: abc", NAMED),
        (b"# keys\n- api_key: 'abc'\n", NAMED),
        (b"api_key:abc", NAMED),
        (b'"x-api-key": "abc"', NAMED),
        (b"Authorization: Bearer abc", NAMED),
        (b"Bearer abc", SCHEMED),
        (b"basic YWI6Yw==", SCHEMED),
        (b'{"key": "abc"}', "is JSON; it must hold the key alone"),
        (b'\xef\xbb\xbf["abc"]', "is JSON; it must hold the key alone"),
        (b"setenv KEY abc", "has a space inside; it must hold the key alone, which is one word"),
        (b"x" * 8193, "is longer than 8192 characters"),
        (b"x" * 100_000, "is longer than 8192 characters"),
    ],
)
def test_the_message_about_a_key_that_cannot_be_sent_does_not_repeat_it(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    assert failure(KeySource("file", str(path))) == f"the file named by api_key_file {reason}"
    value = content.decode("latin-1").removeprefix("ï»¿")
    assert failure(KeySource("env", "NAME", environ={"NAME": value})) == f"the variable named by api_key_env {reason}"
    literal = value.strip()
    assert failure(KeySource("literal", secret=literal)) == f"api_key {reason}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_the_message_about_a_key_file_in_utf_16_or_utf_32_names_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(f"{KEY}\r\n".encode(encoding))
    assert failure(KeySource("file", str(path))) == (
        f"the file named by api_key_file is {encoding[:6].upper()} text, as Windows PowerShell can write it; "
        "save it as UTF-8"
    )


def test_a_byte_order_mark_of_utf_8_is_removed_from_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbf" + KEY.encode() + b"\r\n")
    assert KeySource("file", str(path)).read() == KEY


@given(st.from_regex(r"\A([A-Za-z0-9_-]{2,8}[-_.])?[A-Za-z0-9._~+/-]{16,64}(:[A-Za-z0-9._~+/-]{16,64})?={0,2}\Z"))
def test_no_key_in_the_form_of_a_vendor_is_refused(key: str) -> None:
    assert KeySource("literal", secret=key).read() == key


@pytest.mark.parametrize("key", ["YWI=", "YQ==", "a-b=c", "a'b", "=a", "a:b", "$2y$10$ab", "Bearer", "sk-a{b}"])
def test_a_key_that_only_resembles_a_mistake_is_accepted(tmp_path: Path, key: str) -> None:
    path = tmp_path / "key"
    path.write_text(key)
    assert KeySource("file", str(path)).read() == key
    assert KeySource("env", "NAME", environ={"NAME": key}).read() == key


def test_a_path_without_a_readable_file_fails_and_never_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path / "pipe", "it is not a regular file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/null"), "it is not a regular file"),
        (Path("x" * 5000), "File name too long"),
        (Path("\ud800"), "no file can have this name"),
        (Path("a\0b"), "no file can have this name"),
    ):
        assert failure(KeySource("file", str(path))) == f"the file named by api_key_file cannot be read: {reason}"


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_key_is_accepted_exactly_if_a_header_can_have_it_unchanged(key: str) -> None:
    sendable = all(" " <= character <= "~" for character in key) and key == key.strip() != ""
    assert (key_problem(key) is None) == sendable


def test_where_a_key_comes_from_is_stable_and_never_the_key() -> None:
    assert KeySource("file", "/run/key").identity == "file:/run/key"
    assert KeySource("env", "NAME", environ={"NAME": KEY}).identity == "env:NAME"
    literal = KeySource("literal", secret=KEY).identity
    assert literal == KeySource("literal", secret=KEY).identity
    assert literal != KeySource("literal", secret=KEY[::-1]).identity
    assert KEY not in literal


def test_sources_are_equal_when_they_name_the_same_place_or_key() -> None:
    assert KeySource("env", "A", environ={"A": "x"}) == KeySource("env", "A", environ={"A": "y"})
    assert KeySource("env", "A") != KeySource("file", "A")
    assert KeySource("literal", secret="a") != KeySource("literal", secret="b")


def test_no_repr_shows_a_key() -> None:
    for source in (
        KeySource("literal", secret=KEY),
        KeySource("env", "NAME", environ={"NAME": KEY}),
        KeySource("env", KEY),
        KeySource("file", f"/run/{KEY}"),
    ):
        assert KEY not in repr(source) + str(source)


@pytest.mark.parametrize(
    ("mode", "whom"),
    [(0o600, None), (0o400, None), (0o604, "every user"), (0o640, "its group"), (0o666, "every user")],
)
def test_a_key_file_of_our_own_that_others_can_read_is_warned_of(tmp_path: Path, mode: int, whom: str | None) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(mode)
    warning = KeySource("file", str(path)).warning()
    assert warning == (
        whom
        and f"the file named by api_key_file is readable by {whom} (mode {mode:04o}); chmod 0400 would keep it private"
    )


def test_the_group_may_read_a_key_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o440)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert KeySource("file", str(path)).warning() is None


def test_only_files_that_are_there_are_warned_of(tmp_path: Path) -> None:
    assert KeySource("file", str(tmp_path / "missing")).warning() is None
    assert KeySource("env", "NAME", environ={"NAME": KEY}).warning() is None
