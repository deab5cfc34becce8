#!/usr/bin/env python3
"""Change one thing at a time in the Prometheus rules and run their unit tests. Every change must make a test fail.

It changes thresholds, windows, offsets, `for`, comparisons, arithmetic, set operators and their operands, functions,
aggregated labels, label matchers and severities. It prints the changes that no test noticed, and exits with status 1
if there are any. The tests of alert X are tests/alerts/rules/X.yml and X.*.yml. The other files there test the
recording rules.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy/prometheus/rules"
TESTS = ROOT / "tests/alerts/rules"

TOKEN = re.compile(
    r"""
      (?P<matchers>\{[^}]*\})
    | (?P<labels>\b(?:by|on|ignoring)\s*\([^)]*\))
    | (?P<duration>\[[^\]]+\]|\boffset\s+\w+)
    | (?P<set>\b(?:and|or|unless)\b)
    | (?P<number>\bInf\b|(?<![\w.:])\d+(?:\.\d+)?(?![\w.:]))
    | (?P<name>[A-Za-z_][\w:]*)
    | (?P<compare>[<>=!]=|[<>])
    | (?P<arithmetic>[-+*/])
    | (?P<paren>[()])
    """,
    re.VERBOSE,
)
# Replacements of a comparison, an arithmetic or set operator, or a function.
OTHERS = {
    "<": ("<=", ">"),
    "<=": ("<", ">="),
    ">": (">=", "<"),
    ">=": (">", "<="),
    "==": ("!=",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "and": ("or", "unless"),
    "or": ("and", "unless"),
    "unless": ("and", "or"),
    "max": ("min",),
    "min": ("max",),
    "max_over_time": ("min_over_time",),
    "avg_over_time": ("max_over_time",),
    "sum": ("max",),
    "increase": ("rate",),
    "clamp_min": ("clamp_max",),
    "resets": ("changes",),
}
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True)
class Mutant:
    """A rule with one change, or without a change if `change` is empty."""

    file: str
    name: str
    change: str
    groups: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.file}: {self.name}: {self.change}"


def seconds(duration: str) -> int:
    return sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)([dhms])", duration))


def half_and_double(duration: str) -> tuple[str, str]:
    return f"{seconds(duration) // 2}s", f"{seconds(duration) * 2}s"


def other_numbers(number: str) -> tuple[str, ...]:
    """Return one less and one more for a small whole number, three and five quarters for any other."""
    if number == "Inf":
        return ("40",)
    if number.isdigit() and int(number) < 10:
        return (str(int(number) - 1), str(int(number) + 1))
    return (f"{float(number) * 0.75:g}", f"{float(number) * 1.25:g}")


def operands(tokens: list[re.Match[str]], at: int, expr: str) -> tuple[int, int]:
    """Return where the operands of the set operator tokens[at] begin and end. `or` binds less than the others."""
    stops = {"or"} if tokens[at][0] == "or" else {"and", "or", "unless"}

    def reach(indexes: range, opening: str, closing: str) -> int | None:
        depth = 0
        for i in indexes:
            text = tokens[i][0]
            depth += (text == opening) - (text == closing)
            if depth < 0 or (depth == 0 and text in stops):
                return i
        return None

    left = reach(range(at - 1, -1, -1), ")", "(")
    right = reach(range(at + 1, len(tokens)), "(", ")")
    return (
        0 if left is None else tokens[left].end(),
        len(expr) if right is None else tokens[right].start(),
    )


def replacements(tokens: list[re.Match[str]], at: int, expr: str) -> Iterator[tuple[int, int, str]]:
    """Yield (from, to, new text) for every way to change tokens[at]."""
    token = tokens[at]
    text, (start, end) = token[0], token.span()
    is_call = expr[end:].lstrip()[:1] in ("(", "w")
    if token.lastgroup != "name" or is_call:
        for new in other_texts(token):
            yield start, end, new
    if token.lastgroup == "set":
        left, right = operands(tokens, at, expr)
        yield start, right, ""
        if text == "or":
            matching = tokens[at + 1].lastgroup == "labels"
            yield left, tokens[at + 1].end() if matching else end, ""


def other_texts(token: re.Match[str]) -> Iterable[str]:
    """Return the replacements of a token."""
    text = token[0]
    match token.lastgroup:
        case "duration":
            old = text.strip("[]").removeprefix("offset").partition(":")[0].strip()
            return [text.replace(old, new) for new in half_and_double(old)]
        case "number":
            return other_numbers(text)
        case "labels":
            labels = re.findall(r"\w+", text)[1:]
            return [re.sub(rf"\b{label}\b,?\s*", "", text).replace(", )", ")") for label in labels]
        case "matchers":
            alternatives = text.split('"')[1].split("|") if "|" in text else ()
            return ["", *(re.sub(rf"\|{other}\b|\b{other}\|", "", text) for other in alternatives)]
    return OTHERS.get(text, ())


def mutated(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every changed copy of a rule and a description of the change."""
    expr = str(rule["expr"])
    tokens = list(TOKEN.finditer(expr))
    for at in range(len(tokens)):
        for start, end, new in replacements(tokens, at, expr):
            line = expr.count("\n", 0, start) + 1
            old = " ".join(expr[start:end].split())
            yield f"expr line {line}: {old!r} -> {new!r}", {**rule, "expr": expr[:start] + new + expr[end:]}
    for key in ("for", "keep_firing_for"):
        if key in rule:
            for new in half_and_double(rule[key]):
                yield f"{key}: {rule[key]} -> {new}", {**rule, key: new}
            yield f"{key}: {rule[key]} -> none", {k: v for k, v in rule.items() if k != key}
    severity = rule.get("labels", {}).get("severity")
    if severity:
        other = {"warning": "critical", "critical": "warning"}[severity]
        yield f"severity: {severity} -> {other}", {**rule, "labels": {**rule["labels"], "severity": other}}


def relevant(groups: list[dict[str, Any]], rule: dict[str, Any]) -> list[dict[str, Any]]:
    """Keep only what the rule's tests need, for speed. That is the alert, or all recording rules of the file."""

    def keep(other: dict[str, Any]) -> bool:
        return other is rule if "alert" in rule else "record" in other

    return [{**group, "rules": [other for other in group["rules"] if keep(other)]} for group in groups]


def mutants() -> Iterator[Mutant]:
    for path in sorted(RULES.glob("*.yml")):
        groups = yaml.safe_load(path.read_text())["groups"]
        for g, group in enumerate(groups):
            for r, rule in enumerate(group["rules"]):
                name = rule.get("alert") or rule["record"]
                yield Mutant(path.name, name, "", relevant(groups, rule))
                for change, new in mutated(rule):
                    changed = copy.deepcopy(groups)
                    changed[g]["rules"][r] = new
                    yield Mutant(path.name, name, change, relevant(changed, new))


def tests_of(mutant: Mutant) -> list[Path]:
    if mutant.name.startswith("VideoApi"):
        return sorted({TESTS / f"{mutant.name}.yml", *TESTS.glob(f"{mutant.name}.*.yml")})
    recording = [path for path in sorted(TESTS.glob("*.yml")) if not path.name.startswith("VideoApi")]
    return [path for path in recording if f"rules/{mutant.file}" in path.read_text()]


def failing(batch: list[tuple[Mutant, Path]]) -> list[str]:
    """Run a unit test file on each mutant in one promtool. Return the message of each failure, "" for a pass."""
    with tempfile.TemporaryDirectory() as directory:
        tests = []
        for n, (mutant, path) in enumerate(batch):
            rules, test = Path(directory, f"{n}.rules.yml"), Path(directory, f"{n}.test.yml")
            rules.write_text(json.dumps({"groups": mutant.groups}))
            test.write_text(re.sub(r"(?m)^rule_files: .*$", f"rule_files: [{rules}]", path.read_text()))
            tests.append(test)
        run = subprocess.run(
            ["promtool", "test", "rules", *tests],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "GOGC": "800"},  # it collects garbage for a quarter of its time otherwise
        )
    responses = run.stdout.split("Unit Testing: ")[1:]
    assert len(responses) == len(batch), run.stdout
    return ["" if "SUCCESS" in response else response for response in responses]


def survivors(todo: list[Mutant]) -> Iterator[Mutant]:
    """Yield the mutants that pass all of their tests. Raise ValueError for a rule that fails without a change."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        alive = todo
        for nth in itertools.count():
            yield from (mutant for mutant in alive if len(tests_of(mutant)) == nth and mutant.change)
            pairs = [(mutant, tests_of(mutant)[nth]) for mutant in alive if len(tests_of(mutant)) > nth]
            if not pairs:
                return
            responses = itertools.chain(*pool.map(failing, [pairs[i : i + 20] for i in range(0, len(pairs), 20)]))
            alive = []
            for (mutant, test), response in zip(pairs, responses, strict=True):
                if response and not mutant.change:
                    raise ValueError(f"{test.name} fails without a change: {response}")
                if "could not parse expression" in response:
                    raise ValueError(f"{mutant} is no expression any more: {response}")
                if not response:
                    alive.append(mutant)


def main() -> int:
    if shutil.which("promtool") is None:
        print("promtool is missing: install Debian's package prometheus", file=sys.stderr)
        return 2
    began = time.monotonic()
    todo = list(mutants())
    survived = list(survivors(todo))
    for mutant in survived:
        print(f"survived: {mutant}")
    count = sum(mutant.change != "" for mutant in todo)
    print(f"{count} mutants, {len(survived)} survived, {time.monotonic() - began:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
