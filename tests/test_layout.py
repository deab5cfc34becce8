"""Who may import whom: one way through the house, and no arrow back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "exporter"

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "app": {"*"},
    "catalogue": {"config", "errors", "readings", "thresholds"},
    "cli": {"*"},
    "clock": set(),
    "config": {"credentials", "durations", "errors", "keyuse", "schema", "thresholds", "values", "yamlfile"},
    "credentials": {"errors"},
    "database": {"errors"},
    "durations": set(),
    "errors": set(),
    "exposition": {"catalogue", "clock", "readings"},
    "handpoll": {"*"},
    "http11": set(),
    "keyuse": {"credentials", "errors", "yamlfile"},
    "ledger": {"readings"},
    "limits": {"clock", "errors", "state"},
    "logs": {"redaction"},
    "options": set(),
    "poller": {
        "catalogue",
        "clock",
        "config",
        "errors",
        "ledger",
        "limits",
        "logs",
        "providers",
        "readings",
        "redaction",
        "self_metrics",
        "slots",
        "store",
        "transport",
    },
    "providers": {"errors", "readings"},
    "readings": set(),
    "redaction": set(),
    "scheduler": {"catalogue", "clock", "config", "readings"},
    "schema": {"thresholds", "values", "yamlfile"},
    "self_metrics": set(),
    "server": {"errors", "http11", "webauth", "webconfig"},
    "shards": {"config"},
    "slots": {"clock", "readings"},
    "state": {"clock", "database", "errors", "readings"},
    "store": {"catalogue", "clock", "config", "exposition", "readings"},
    "summary": {"catalogue", "readings", "thresholds"},
    "systemd": set(),
    "thresholds": set(),
    "tlscontext": set(),
    "transport": {"errors"},
    "values": {"credentials", "durations", "thresholds"},
    "webauth": {"http11", "webconfig"},
    "webconfig": {"errors", "schema", "tlscontext", "values", "yamlfile"},
    "yamlfile": {"errors"},
}
OWNED = {
    "requests": {"transport"},
    "urllib3": {"transport"},
    "apscheduler": {"scheduler"},
    "yaml": {"yamlfile", "demo"},
    "pydantic": {"schema", "config", "values", "webconfig", "state"},
    "sqlite3": {"database", "state", "limits"},
    "h11": {"http11"},
    "bcrypt": {"webauth"},
    "isal": {"exposition"},
    "jinja2": {"statuspage"},
}


def part(path: Path) -> str:
    """Return the module's name in the table: a package counts as one."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    name = part(path)
    if name in ("demo", "statuspage"):
        return
    ours = {dotted.split(".")[1] for dotted in imports(path) if dotted.startswith("exporter.")}
    allowed = MAY_IMPORT[name]
    ours.discard("__version__")
    ours.discard(name)
    assert "*" in allowed or ours <= allowed, f"{name} imports {sorted(ours - allowed)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_known_to_its_owner_alone(path: Path) -> None:
    libraries = {dotted.split(".")[0] for dotted in imports(path)}
    for library, owners in OWNED.items():
        assert library not in libraries or part(path) in owners, f"{part(path)} imports {library}"


@pytest.mark.parametrize("package", ["demo", "statuspage"])
def test_the_demo_and_the_page_are_imported_by_app_and_cli_alone(package: str) -> None:
    for path in MODULES:
        if part(path) not in ("app", "cli", package):
            assert not any(dotted.startswith(f"exporter.{package}") for dotted in imports(path)), path


def test_a_vendor_is_named_only_in_providers_and_the_demo() -> None:
    for path in MODULES:
        if part(path) in ("providers", "demo"):
            continue
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & {"videodb", "vidnavigator"}, path


def test_every_module_stands_in_the_table() -> None:
    known = set(MAY_IMPORT) | {"demo", "statuspage"}
    assert {part(path) for path in MODULES} <= known
    assert {part(path) for path in MODULES} >= set(MAY_IMPORT)
