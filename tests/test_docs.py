"""The documentation has every metric, flag and key of the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from bench.__main__ import read as kept_result
from bench.report import filled
from exporter.errors import REASONS
from exporter.flags import FLAGS
from exporter.metrics.catalogue import FAMILIES
from exporter.providers import PROVIDERS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_metrics_reference_is_the_catalogues() -> None:
    assert (DOCS / "metrics.md").read_text() == script("generate_metrics").page(), (
        "run: python docs/generate_metrics.py"
    )


def test_the_keys_of_the_web_configuration_are_its_models() -> None:
    text = (DOCS / "web-config.md").read_text()
    assert script("generate_web_config").page(text) == text, "run: python docs/generate_web_config.py"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_help_says_that_values_are_cached_and_names_the_vendors_field(family: object) -> None:
    from exporter.metrics.family import Family

    assert isinstance(family, Family)
    assert family.help.endswith("Cached; polled on an interval.")
    about_polling = set(family.labels) == {"reason"} or re.search("poll|success|reading|cooldown|rejected", family.name)
    named = any(provider.title + ":" in family.help for provider in PROVIDERS.values())
    named = named or "By configuration: " in family.help
    assert named or about_polling or "From the configuration" in family.help


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_is_documented_with_its_variable(flag: object) -> None:
    from exporter.flags import Flag

    assert isinstance(flag, Flag)
    text = (DOCS / "command-line.md").read_text()
    assert f"`--{flag.name}`" in text
    assert f"`{flag.variable}`" in text


def test_every_reason_is_explained_for_operators() -> None:
    text = (DOCS / "metrics.md").read_text()
    assert [reason for reason in REASONS if f"| `{reason}` |" not in text] == []


def test_the_performance_page_shows_the_kept_results() -> None:
    text = (DOCS / "performance.md").read_text()
    assert text == filled(text, kept_result), "run: make bench ARGS=write"


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_has_a_target(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
