"""Make targets, flags, variables and chart values that documents and messages name exist."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from exporter.config.file_schema import ConfigFile
from exporter.flags import FLAGS

ROOT = Path(__file__).parent.parent
CODE = ("docs", "deploy", "tests", "exporter", "grafana", "bench", "scripts", ".github")
CHART = ROOT / "deploy/helm/video-api-exporter"

# Flags of other programs, which documents name beside ours.
FOREIGN_FLAGS = {
    "prometheus": {"--storage.tsdb.path", "--storage.tsdb.retention.time"},
    "alertmanager": {"--cluster.listen-address", "--storage.path"},
    "thanos": {"--query.replica-label"},
}
# Names with dots or capitals in them that are neither ours nor the chart's.
FOREIGN_NAMES = {
    "grafana": {"timeInterval"},
    "import-linter": {"tool.importlinter"},
}

DOTTED_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)+")
FILE = re.compile(r".*\.(md|py|yaml|yml|toml|txt|json|db|sh|pem|key|org|com)")


def files(*folders: str, kinds: tuple[str, ...]) -> list[Path]:
    """Return the files with these endings in these folders, and at the top; CHANGELOG.md tells of what was."""
    found = [*ROOT.glob("*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    wanted = (path for path in found if path.suffix in kinds and path.name != "CHANGELOG.md")
    return sorted(path for path in wanted if "node_modules" not in path.parts)


def code(text: str) -> Iterator[str]:
    """Yield the code of a Markdown page: lines of its blocks, and what stands in backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    yield from (line.strip() for block in blocks for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def messages(source: str) -> Iterator[str]:
    """Yield the strings of a Python file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


# -- make targets


def targets_in(command: str) -> list[str]:
    """Return what `make` is asked for in a command; arguments and options are left out."""
    found = re.match(r"make((?: +[^ |&;<>]+)*)", command)
    return [word for word in (found[1].split() if found else []) if re.fullmatch(r"[a-z][a-z-]*", word)]


def asked_of_make(path: Path) -> Iterator[str]:
    text = path.read_text()
    if path.suffix == ".md":
        commands: Iterable[str] = code(text)
    elif path.suffix == ".py" and "make " not in text:
        return  # to parse all files takes a second
    elif path.suffix == ".py":
        # A message is a command alone, or ends in one: "run: make golden".
        strings = [string for string in messages(text) if "\n" not in string]
        commands = [*re.findall(r"`(make [^`\n]+)`", text)]
        commands += [found[1] for string in strings if (found := re.search(r"(?:^|: |run )(make [a-z-]+)", string))]
    else:
        commands = [
            *re.findall(r"`(make [^`\n]+)`", text),
            *re.findall(r"^\s*(?:- )?run: (make .+)", text, re.MULTILINE),
        ]
    for command in commands:
        yield from targets_in(command)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        path: set(asked_of_make(path))
        for path in files(*CODE, kinds=(".md", ".py", ".mjs", ".yml"))
        if path != Path(__file__)
    }
    assert {"test", "lint", "demo", "lock", "golden"} <= set().union(*named.values())
    assert {str(path.relative_to(ROOT)): gone for path, asked in named.items() if (gone := asked - targets)} == {}


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        ("a.md", "Run `make nothing ARGS='-k x'`, which does not make sense.", ["nothing"]),
        ("a.md", "```sh\nmake nothing PYTHON=python3\n```\n", ["nothing"]),
        ("a.py", 'assert x, "run: make nothing"', ["nothing"]),
        ("a.py", 'assert x, "two of them make one"', []),
        ("a.yml", "      - run: make nothing other PYTHON=python\n", ["nothing", "other"]),
    ],
)
def test_a_target_is_found_in_commands_and_not_in_sentences(
    tmp_path: Path, name: str, text: str, asked: list[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert list(asked_of_make(tmp_path / name)) == asked


# -- flags and variables


def pages() -> list[Path]:
    """Return what operators read and run."""
    return files("docs", "deploy", kinds=(".md", ".yaml", ".yml", ".service", ".conf", ".txt", ".tpl"))


def test_every_flag_and_variable_that_is_named_exists() -> None:
    known = {f"--{flag.name}" for flag in FLAGS}.union(*FOREIGN_FLAGS.values()) | {flag.variable for flag in FLAGS}
    named: dict[str, set[str]] = {}
    for path in pages():
        text = path.read_text()
        named[str(path.relative_to(ROOT))] = {
            *DOTTED_FLAG.findall(text),
            *re.findall(r"VIDEO_API_EXPORTER_[A-Z_]+[A-Z]", text),
        }
    assert {page: gone for page, found in named.items() if (gone := found - known)} == {}
    # A foreign flag that nothing names any more would hide one of ours.
    assert set().union(*FOREIGN_FLAGS.values()) <= set().union(*named.values())


# -- values of the chart and keys of the configuration


def chart() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return values


def holds(values: Any, dotted: str) -> bool:
    for name in dotted.split("."):
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def test_every_value_that_is_set_by_hand_is_one_of_the_chart() -> None:
    values = chart()
    settings = [
        (str(path.relative_to(ROOT)), name)
        for path in pages()
        for name in re.findall(r"--set(?:-string|-json|-file)?[ =]([\w.]+)=", path.read_text())
    ]
    assert settings
    assert [setting for setting in settings if not holds(values, setting[1])] == []


def examples(page: Path) -> Iterator[dict[str, Any]]:
    """Yield the chart's values as a page shows them: blocks of YAML, and what is handed to helm from standard input."""
    text = page.read_text()
    for block in re.findall(r"^```yaml\n(.*?)^```|<<'VALUES'\n(.*?)^VALUES", text, re.DOTALL | re.MULTILINE):
        document = yaml.safe_load("".join(block))
        if isinstance(document, dict):
            yield document


def test_the_examples_of_the_charts_values_are_by_its_schema() -> None:
    validator = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    shown = [
        *examples(CHART / "README.md"),
        *(e for e in examples(ROOT / "docs/deployment.md") if "existingSecret" in str(e)),
    ]
    assert len(shown) >= 2
    assert [error.message for example in shown for error in validator.iter_errors(example)] == []


def test_every_name_with_a_dot_or_a_capital_is_a_key_of_ours_or_a_value_of_the_chart() -> None:
    schema = ConfigFile.model_json_schema()
    words = set(re.findall(r"\w+", (CHART / "values.yaml").read_text()))
    foreign = set().union(*FOREIGN_NAMES.values())
    named = {
        (str(page.relative_to(ROOT)), name)
        for page in files("docs", "deploy", kinds=(".md",))
        for text in code(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))
        if (name := names_something(text))
    }
    unknown = {
        (page, name)
        for page, name in named
        if not (
            name in foreign or holds(chart(), name) or in_schema(schema, name) or ("." not in name and name in words)
        )
    }
    assert unknown == set()
    assert foreign <= {name for _, name in named}


def names_something(text: str) -> str | None:
    """Return the name in `poll.interval`, `shards: 4` or `webConfigSecret`; None for a file or anything else."""
    found = re.fullmatch(r"([a-z]\w*(?:\.[a-z]\w*)+|[a-z]+(?:[A-Z][a-z]+)+)(?:: \S+)?", text)
    return found[1] if found and not FILE.fullmatch(text) else None


def in_schema(schema: dict[str, Any], dotted: str) -> bool:
    """Tell whether a dotted name is a key of the configuration."""
    node: dict[str, Any] = schema
    for name in dotted.split("."):
        choices = [node, *node.get("anyOf", [])]
        choices = [
            schema["$defs"][choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice for choice in choices
        ]
        inside = [choice["properties"][name] for choice in choices if name in choice.get("properties", {})]
        if not inside:
            return False
        node = inside[0]
    return True


def test_the_tree_of_the_architecture_names_every_module() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    tree = set(re.findall(r"\w+", text[text.index("\nexporter/\n") : text.index("\nThe layers,")]))
    modules = {
        path.stem
        for path in (ROOT / "exporter").rglob("*.py")
        if "demo" not in path.parts and path.stem not in ("__init__", "__main__")
    }
    assert modules - tree == set()
