#!/usr/bin/env python3
"""Change one thing at a time in the Prometheus rules and run their unit tests: every change has to fail one.

Mutated are thresholds, windows, offsets, `for`, comparisons, arithmetic, set operators and their operands,
functions, aggregated labels, label matchers and severities. Prints the changes that no test noticed; exit status 1
if there are any. The tests of alert X are tests/alerts/rules/X.yml and X.*.yml, those of the recording rules the
other files there.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
    | (?P<labels>\bwithout\s*\([^)]*\))
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
COMPARE = {"<": ("<=", ">"), "<=": ("<", ">="), ">": (">=", "<"), ">=": (">", "<="), "==": ("!=",)}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*"}
SET = {"and": ("or", "unless"), "or": ("and", "unless"), "unless": ("and", "or")}
FUNCTIONS = {
    "max": "min",
    "min": "max",
    "max_over_time": "min_over_time",
    "avg_over_time": "max_over_time",
    "increase": "rate",
    "clamp_min": "clamp_max",
    "changes": "resets",
}
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True)
class Mutant:
    """One rule with one thing changed."""

    file: str
    name: str
    change: str
    groups: list[dict[str, Any]]


def seconds(duration: str) -> int:
    return sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)([dhms])", duration))


def half_and_double(duration: str) -> tuple[str, str]:
    return f"{seconds(duration) // 2}s", f"{seconds(duration) * 2}s"


def operands(tokens: list[re.Match[str]], at: int, expr: str) -> tuple[int, int]:
    """Say where the operands of the set operator tokens[at] begin and end: `and` and `unless` bind closer than `or`."""
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
    if token.lastgroup == "duration":
        old = text.strip("[]").removeprefix("offset").strip()
        for new in half_and_double(old):
            yield start, end, text.replace(old, new)
    elif token.lastgroup == "number":
        for value in {"Inf": ["40"], "0": ["1", "-1"]}.get(text) or [f"{float(text) * x:g}" for x in (0.75, 1.25)]:
            yield start, end, value
    elif token.lastgroup == "compare":
        for operator in COMPARE[text]:
            yield start, end, operator
    elif token.lastgroup == "arithmetic":
        yield start, end, ARITHMETIC[text]
    elif token.lastgroup == "set":
        for operator in SET[text]:
            yield start, end, operator
        left, right = operands(tokens, at, expr)
        yield start, right, ""
        if text == "or":
            yield left, end, ""
    elif token.lastgroup == "labels":
        for label in re.findall(r"\w+", text)[1:]:
            yield start, end, re.sub(rf"\b{label}\b,?\s*", "", text).replace(", )", ")")
    elif token.lastgroup == "matchers":
        yield start, end, ""
        for alternative in text.split('"')[1].split("|") if "|" in text else ():
            yield start, end, re.sub(rf"\|{alternative}\b|\b{alternative}\|", "", text)
    elif token.lastgroup == "name" and text in FUNCTIONS and expr[end:].lstrip()[:1] in ("(", "w"):
        yield start, end, FUNCTIONS[text]


def mutated(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every changed copy of a rule and what was changed in it."""
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
    """Keep what the rule's tests look at, for speed: an alert alone, a recording rule among its like."""
    keep = (lambda r: r is rule) if "alert" in rule else (lambda r: "record" in r)
    return [{**group, "rules": [r for r in group["rules"] if keep(r)]} for group in groups]


def mutants() -> Iterator[Mutant]:
    for path in sorted(RULES.glob("*.yml")):
        groups = yaml.safe_load(path.read_text())["groups"]
        for g, group in enumerate(groups):
            for r, rule in enumerate(group["rules"]):
                name = rule.get("alert") or rule["record"]
                yield Mutant(path.name, name, "nothing", relevant(groups, rule))
                for change, new in mutated(rule):
                    changed = copy.deepcopy(groups)
                    changed[g]["rules"][r] = new
                    yield Mutant(path.name, name, change, relevant(changed, new))


def tests_of(mutant: Mutant) -> list[Path]:
    if mutant.name.startswith("VideoApi"):
        return sorted({TESTS / f"{mutant.name}.yml", *TESTS.glob(f"{mutant.name}.*.yml")})
    recording = [path for path in sorted(TESTS.glob("*.yml")) if not path.name.startswith("VideoApi")]
    return [path for path in recording if f"rules/{mutant.file}" in path.read_text()]


def noticed(mutant: Mutant) -> tuple[bool, str]:
    """Run the rule's unit tests on the mutant; return whether one failed, and what promtool said."""
    with tempfile.TemporaryDirectory() as directory:
        rules = Path(directory, mutant.file)
        rules.write_text(yaml.safe_dump({"groups": mutant.groups}))
        for path in tests_of(mutant):
            test = Path(directory, "test.yml")
            test.write_text(re.sub(r"(?m)^rule_files: .*$", f"rule_files: [{rules}]", path.read_text()))
            run = subprocess.run(["promtool", "test", "rules", test], capture_output=True, text=True, timeout=60)
            if run.returncode:
                return True, run.stdout + run.stderr
    return False, ""


def main() -> int:
    if shutil.which("promtool") is None:
        print("promtool is missing: install Debian's package prometheus", file=sys.stderr)
        return 2
    began = time.monotonic()
    todo = list(mutants())
    survived = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, (failed, output) in zip(todo, pool.map(noticed, todo)):
            what = f"{mutant.file}: {mutant.name}: {mutant.change}"
            if mutant.change == "nothing":
                if failed:
                    print(f"{what}: its tests fail without a change\n{output}", file=sys.stderr)
                    return 2
            elif "could not parse expression" in output:
                print(f"{what}: no expression any more", file=sys.stderr)
                return 2
            elif not failed:
                survived += 1
                print(f"survived: {what}")
    count = sum(mutant.change != "nothing" for mutant in todo)
    print(f"{count} mutants, {survived} survived, {time.monotonic() - began:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
