"""The documentation has few colons and semicolons, because it is easier to read then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_IN_A_THOUSAND_WORDS = 12

MARK = re.compile(r":(?!\d)|;")
BLOCKS_THAT_ARE_NO_PROSE = re.compile(
    r"""\A---\n.*?\n---\n    # front matter
    | <!--.*?-->
    | ^[ ]*```.*?\n[ ]*```   # a fenced code block
    | ^[ ]*\|[^\n]*          # a line of a table
    | ^[ ]{4}[^\n]*          # a line of an indented code block
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
SPANS_THAT_ARE_NO_PROSE = re.compile(r"`[^`]+`|(?<=\])\([^)]*\)|<?https?://[^\s)>]+>?")


def paragraphs(markdown: str) -> list[str]:
    """Return the paragraphs of a page, without everything that is not prose."""
    prose = SPANS_THAT_ARE_NO_PROSE.sub("", BLOCKS_THAT_ARE_NO_PROSE.sub("", markdown))
    return [paragraph.strip() for paragraph in re.split(r"\n\s*\n", prose) if paragraph.strip()]


def complaint(markdown: str) -> str | None:
    """Name the worst paragraph of a page that has too many colons and semicolons."""
    prose = paragraphs(markdown)
    words = sum(len(paragraph.split()) for paragraph in prose)
    marks = sum(len(MARK.findall(paragraph)) for paragraph in prose)
    if marks * 1000 <= words * MOST_IN_A_THOUSAND_WORDS:
        return None
    worst = max(prose, key=lambda paragraph: len(MARK.findall(paragraph)))
    rate = marks * 1000 / words
    return f"{rate:.0f} colons and semicolons in 1,000 words; write more sentences. The worst paragraph:\n{worst}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_few_colons_and_semicolons(page: Path) -> None:
    said = complaint(page.read_text(encoding="utf-8"))
    assert said is None, f"{page.relative_to(ROOT)}: {said}"


def test_a_page_with_many_colons_fails_with_its_worst_paragraph() -> None:
    said = complaint("A sentence without any.\n\nOne: two; three.\n\nFour: five.")
    assert said is not None
    assert said.startswith("333 colons and semicolons")
    assert said.endswith("\nOne: two; three.")


def test_a_colon_before_a_list_or_a_code_block_counts() -> None:
    assert complaint("Do this:\n\n- it\n") is not None
    assert complaint("Do this:\n\n```sh\nit\n```\n") is not None


@pytest.mark.parametrize(
    "apart",
    [
        "---\ntitle: it\n---\n",
        "<!-- from: it -->",
        "```yaml\na: 1\n\nb: 2\n```",
        "| a: b; c |\n| --- |",
        "    a: 1",
        "`a: 1;`",
        "[it](https://example.com/a;b)",
        "https://example.com",
        "12:30",
    ],
)
def test_code_tables_and_links_do_not_count_as_prose(apart: str) -> None:
    assert complaint(f"{apart}\n\nIt is plain.") is None
