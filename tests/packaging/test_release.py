"""The files that a release publishes, built in build/release/ and used, and the workflow that publishes them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from exporter import __version__
from tests.deploy.containers import check

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv/bin"
TOOLS = ROOT / ".venv/tools/bin"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# What each lock file was resolved from, in pyproject.toml.
LOCKS = {
    "build": ("build",),
    "run": ("dependencies",),
    "image": ("dependencies", "postgresql"),
    "dev": ("dependencies", "postgresql", "test", "lint"),
    "docs": ("dependencies", "docs"),
    "release": ("release",),
    "tools": ("tools",),
}


@pytest.fixture(scope="module")
def published() -> Path:
    """Make everything that a release publishes, where `make release-check` leaves it."""
    folder = ROOT / "build/release"
    check([str(ROOT / "scripts/release"), str(folder)])
    return folder


@pytest.fixture(scope="module")
def wheel(published: Path) -> Path:
    (made,) = published.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment that holds the wheel, what it requires, and no source."""
    environment = tmp_path_factory.mktemp("installed")
    check([sys.executable, "-m", "venv", str(environment)])
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    check([*pip, "--require-hashes", "--requirement", str(ROOT / "requirements/run.txt")])
    check([*pip, "--no-index", str(wheel)])
    return environment / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, cwd=cwd)


# The wheel and the sdist


def test_twine_accepts_both(published: Path, wheel: Path) -> None:
    (sdist,) = published.glob("video_api_exporter-*.tar.gz")
    output = check([str(BIN / "twine"), "check", "--strict", str(wheel), str(sdist)])
    assert output.count("PASSED") == 2


def test_the_wheel_has_exactly_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in (ROOT / "exporter").rglob("*") if path.is_file())
    ours = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert packed == ours
    assert "exporter/py.typed" in packed


def test_a_packager_can_build_and_test_the_sdist(published: Path) -> None:
    (sdist,) = published.glob("video_api_exporter-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "exporter/cli.py", "tests/conftest.py"} <= names
    assert {"deploy/systemd/video-api-exporter.service", "config.example.yaml"} <= names


def test_the_program_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    program = installed / "video-api-exporter"
    version = run(program, "--version", cwd=tmp_path)
    assert version.stdout == f"video-api-exporter {__version__}\n"
    usage = run(program, "--help", cwd=tmp_path)
    assert usage.returncode == 0
    assert "--config.file" in usage.stdout
    where = run(installed / "python", "-c", "import exporter; print(exporter.__file__)", cwd=tmp_path)
    assert str(installed.parent) in where.stdout


def test_check_config_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    program = installed / "video-api-exporter"
    (tmp_path / "key").write_text("k")
    (tmp_path / "key").chmod(0o400)
    (tmp_path / "good.yaml").write_text(f"accounts: [{{name: a, provider: videodb, api_key_file: {tmp_path / 'key'}}}]")
    good = run(program, "check-config", "--config.file=good.yaml", cwd=tmp_path)
    assert (good.returncode, good.stdout, good.stderr) == (0, "good.yaml: OK, 1 account\n", "")
    (tmp_path / "bad.yaml").write_text("accounts: 3\n")
    bad = run(program, "check-config", "--config.file=bad.yaml", cwd=tmp_path)
    assert bad.returncode == 2
    assert bad.stderr.startswith("bad.yaml:1: accounts: ")


def test_the_demo_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    command = [str(installed / "video-api-exporter"), "demo", "--web.listen-address=127.0.0.1:0"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert demo.stdout is not None
        address = next(found for line in demo.stdout if (found := re.search(r"http://\S+:\d+", line)))
        page = [sys.executable, "-c", "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"]
        assert "video_api_exporter_build_info" in check([*page, address.group() + "/metrics"])
        # The page's templates and styles are in the wheel too.
        assert "<html" in check([*page, address.group() + "/"])
    finally:
        demo.terminate()
        demo.communicate(timeout=30)
    assert demo.returncode == 0


def test_the_requirements_fit_together(installed: Path, tmp_path: Path) -> None:
    assert "No broken requirements" in run(installed / "pip", "check", cwd=tmp_path).stdout


# Locks and the bill of materials


def locked(name: str) -> dict[str, str]:
    """Return the locked versions that count on this Python and machine."""
    found: dict[str, str] = {}
    for line in (ROOT / f"requirements/{name}.txt").read_text().splitlines():
        if line and not line.startswith(("#", " ")):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                (pin,) = requirement.specifier
                found[canonicalize_name(requirement.name)] = pin.version
    return found


def wanted(name: str) -> list[Requirement]:
    text = (ROOT / "pyproject.toml").read_text()
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads(text)
    groups: dict[str, list[Any]] = {
        **project["dependency-groups"],
        **project["project"]["optional-dependencies"],
        "dependencies": project["project"]["dependencies"],
    }
    return [Requirement(entry) for group in LOCKS[name] for entry in groups[group] if isinstance(entry, str)]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_the_dependencies_of_the_project(name: str) -> None:
    versions = locked(name)
    for requirement in wanted(name):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement}: make lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement}, {version} is locked: make lock"
        )


@pytest.mark.parametrize("name", LOCKS)
def test_every_lock_has_hashes_and_names_no_host(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    entries = re.split(r"^(?=[a-zA-Z])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert "--hash=sha256:" in entry, entry
    assert "://" not in text


@pytest.mark.parametrize("name", ["run", "image"])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_installs_from_wheels_on_every_supported_python(python: str, name: str, tmp_path: Path) -> None:
    command = [str(BIN / "uv"), "pip", "install", "--dry-run", "--require-hashes", "--only-binary", ":all:"]
    command += ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28", "--target", str(tmp_path)]
    done = subprocess.run(
        [*command, "--requirement", str(ROOT / f"requirements/{name}.txt")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Would install \d\d packages", done.stderr)


def test_the_bill_of_materials_lists_the_locked_packages(published: Path) -> None:
    bill = json.loads((published / "video-api-exporter.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "video-api-exporter"
    parts = {canonicalize_name(part["name"]): part["version"] for part in bill["components"]}
    assert parts == locked("run")
    assert all(part["purl"].startswith("pkg:pypi/") for part in bill["components"])
    assert str(ROOT) not in json.dumps(bill)


# One version, one set of Pythons, everywhere


def test_all_artefacts_are_of_one_version(published: Path) -> None:
    names = {path.name for path in published.iterdir()}
    assert names == {
        f"video_api_exporter-{__version__}-py3-none-any.whl",
        f"video_api_exporter-{__version__}.tar.gz",
        f"video-api-exporter-{__version__}.tgz",
        "video-api-exporter.cdx.json",
    }


def test_the_changelog_knows_this_version() -> None:
    assert re.search(
        rf"^## \[?(Unreleased|{re.escape(__version__)})\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


def test_every_supported_python_is_declared_and_tested() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert tuple(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)) == PYTHONS
    assert f'requires-python = ">={PYTHONS[0]}"' in project
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert tuple(ci["jobs"]["test"]["strategy"]["matrix"]["python"]) == PYTHONS
    assert default_environment()["python_version"] in PYTHONS


# The workflows


def test_actionlint_is_clean() -> None:
    check([str(TOOLS / "actionlint"), str(ROOT / ".github/workflows/*.yml")])


def test_zizmor_is_clean() -> None:
    check([str(TOOLS / "zizmor"), "--offline", "--no-progress", str(ROOT / ".github")])


def test_github_accepts_every_key() -> None:
    command = [str(TOOLS / "check-jsonschema"), "--builtin-schema"]
    check([*command, "vendor.github-workflows", *map(str, WORKFLOWS)])
    check([*command, "vendor.dependabot", str(ROOT / ".github/dependabot.yml")])


def test_every_action_is_pinned_to_a_commit() -> None:
    used = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line), line


def test_a_release_publishes_wheel_image_and_chart_each_with_provenance() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    assert {"build", "wheel", "image", "chart"} <= set(jobs)
    for name in ("build", "image", "chart"):
        assert any("attest-build-provenance" in step.get("uses", "") for step in jobs[name]["steps"]), name
        assert jobs[name]["permissions"]["id-token"] == "write"
    assert any("gh-action-pypi-publish" in step.get("uses", "") for step in jobs["wheel"]["steps"])


def test_shell_scripts_are_clean() -> None:
    scripts = [
        path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")
    ]
    assert len(scripts) > 5
    check([str(TOOLS / "shellcheck"), *map(str, scripts), str(ROOT / ".ci/run")])


def test_the_dockerfile_is_clean() -> None:
    check([str(TOOLS / "hadolint"), str(ROOT / "Dockerfile")])
