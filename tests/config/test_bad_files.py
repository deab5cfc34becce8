"""Every rule of the configuration has a file in bad/ that breaks it, beside the exact text of the refusal.

In the expected text DIR stands for the directory. To write the texts anew after a change of wording:
UPDATE_BAD=1 python -m pytest tests/config/test_bad_files.py, then read the difference.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from exporter.config.load import load
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS

BAD = Path(__file__).parent / "bad"
KEY = secrets.token_hex(16)
ENVIRON = {"KEY": KEY, "OTHER": secrets.token_hex(16), "LATIN1": "caf\udce9", "LONG": "x" * 8193}


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, PROVIDERS, ENVIRON, strict=True)
    return str(caught.value).replace(os.getcwd(), "DIR") + "\n"


@pytest.mark.parametrize("name", sorted(path.name for path in BAD.glob("*.yaml")))
def test_a_bad_file_is_refused_with_exactly_this_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    text = refusal(Path(name))
    expected = BAD / name.replace(".yaml", ".txt")
    if os.environ.get("UPDATE_BAD"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.name for path in BAD.glob("*.yaml")))
def test_a_refusal_names_file_and_line_and_no_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    text = refusal(Path(name))
    assert KEY not in text
    for line in text.splitlines():
        file, number, _message = line.split(":", 2)
        assert Path(file).is_file()
        assert int(number) >= 1


def test_every_expected_text_has_its_file() -> None:
    assert {path.stem for path in BAD.glob("*.txt")} == {path.stem for path in BAD.glob("*.yaml")}
