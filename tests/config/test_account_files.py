"""Patterns of ``account_files`` match as in a shell, and links cannot make the search endless."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from exporter.config import account_files
from exporter.config.account_files import find
from exporter.config.load import load
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS

ACCOUNT = "- {name: %s, provider: videodb, api_key: aaaaaaaaaaaaaaaa}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.yaml", "b.txt", ".hidden.yaml", "d/c.yaml", "d/e/f.yaml", "d/.git/g.yaml", "x[1]/h.yaml", "d/e/i"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("[]")
    return tmp_path


PATTERNS = [
    "*.yaml",
    "**/*.yaml",
    "d/**/*.yaml",
    "d/**",
    "**",
    "d/*/f.yaml",
    "a.yaml",
    "no.yaml",
    "no/*.yaml",
    "?.yaml",
    "[ab].*",
    "[!a]*",
    "x[[]1]/*.yaml",
    ".*.yaml",
    "d/.git/*",
    "./d//e/*.yaml",
    "d/../*.yaml",
    "**/e/i",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_the_files_that_it_matches_in_a_shell(tree: Path, pattern: str) -> None:
    def files(paths: Iterable[str]) -> set[str]:
        return {os.path.normpath(path) for path in paths if os.path.isfile(path)}

    expected = files(glob.glob(os.path.join(tree, pattern), recursive=True))
    assert files(find(str(tree), pattern)) == expected
    assert files(find("/", str(tree / pattern))) == expected


def test_two_links_to_their_own_folder_are_not_followed_twice(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.yaml").write_text(ACCOUNT % "a")
    for name in ("here", "there"):
        (folder / name).symlink_to(".")
    (folder / "up").symlink_to("..")
    path = tmp_path / "c.yaml"
    path.write_text("account_files: ['d/**/*.yaml', '**/a.yaml']\n")
    assert [account.name for account in load(path, PROVIDERS, {}).accounts] == ["a"]


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.yaml").write_text(ACCOUNT % "a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "team").symlink_to("../elsewhere")
    path = tmp_path / "c.yaml"
    path.write_text("account_files: ['d/**/*.yaml']\n")
    assert [account.name for account in load(path, PROVIDERS, {}).accounts] == ["a"]


def test_a_pattern_that_matches_more_files_than_can_be_meant_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_files, "MAX_FILES", 2)
    path = tree / "c"
    path.write_text("account_files:\n- '**/*.yaml'\n")
    with pytest.raises(ConfigError, match=r"c:2: account_files\[0\]: matches more than 2 files; write a narrower"):
        load(path, PROVIDERS, {})


def test_a_pattern_that_leads_into_more_folders_than_can_be_meant_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_files, "MAX_FOLDERS", 500)
    for name in ("a", "b", "c"):
        (tmp_path / name).symlink_to(".")
    path = tmp_path / "config"
    for pattern in ("/".join(["[abc]"] * 11) + "/x.yaml", "/proc/**/x.yaml"):
        path.write_text(f"account_files: ['{pattern}']\n")
        with pytest.raises(ConfigError, match="looks into more than 500 folders; write a narrower pattern"):
            load(path, PROVIDERS, {})
