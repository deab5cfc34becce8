"""Containers on a machine without an image registry.

A base is made of Debian's packages (mmdebstrap), images are built by buildah and run by podman as they would be
anywhere. Everything lies in one folder, which is removed at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Container:
    """One running container; its output can be waited for."""

    def __init__(self, containers: Containers, identity: str) -> None:
        self._containers = containers
        self.identity = identity

    def wait_for(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Return the match in the first line of the output that has one; fail where none comes in time."""
        follow = subprocess.Popen(
            [*self._containers.podman, "logs", "--follow", self.identity],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        limit = threading.Timer(seconds, follow.kill)
        limit.start()
        seen = []
        assert follow.stdout is not None
        try:
            for line in follow.stdout:
                seen.append(line)
                if found := re.search(pattern, line):
                    return found
        finally:
            limit.cancel()
            follow.kill()
            follow.stdout.close()
            follow.wait()
        raise AssertionError(f"no {pattern!r} in:\n{''.join(seen)}")

    def exec(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._containers.run_podman("exec", "--interactive", self.identity, *command, stdin=stdin)

    def get(self, url: str) -> str:
        """Request a URL from inside the container, by its loopback."""
        code = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"
        response = self.exec("python3", "-c", code, url)
        assert response.returncode == 0, response.stderr
        return response.stdout

    def stop(self, seconds: int = 10) -> int:
        """Stop it as `docker stop` does and return its exit status."""
        self._containers.run_podman("stop", "--time", str(seconds), self.identity)
        return int(self.inspect()["State"]["ExitCode"])

    def inspect(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._containers.run_podman("inspect", self.identity).stdout)[0]
        return state

    def logs(self) -> str:
        response = self._containers.run_podman("logs", self.identity)
        return response.stdout + response.stderr


class Containers:
    """Images and containers with a storage of their own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        self.podman = ["podman", *self._storage, "--runtime", "runc"]

    def base(self, tag: str, suite: str, *packages: str, hooks: tuple[str, ...] = ()) -> None:
        """Make an image of Debian's packages and put it under a name."""
        archive = self._folder / "base.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
        command += [f"--customize-hook={hook}" for hook in hooks]
        if CERTIFICATES.exists():
            # So that a build reaches what this machine reaches, behind a proxy with an authority of its own too.
            command.append(f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}")
        check([*command, suite, str(archive)])
        check([*self.podman, "import", "--quiet", str(archive), tag])
        archive.unlink()

    def build(self, context: Path, tag: str, *arguments: str) -> None:
        """Build an image as it is described, from what is here."""
        build = ["bud", "--quiet", "--pull-never", "--isolation", "chroot", "--network", "host", "--format", "docker"]
        check(["buildah", *self._storage, *build, "--tag", tag, *arguments, str(context)])

    def image(self, tag: str) -> dict[str, Any]:
        """Return what podman knows of an image."""
        known: dict[str, Any] = json.loads(check([*self.podman, "image", "inspect", tag]))[0]
        return known

    def run_podman(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.podman, *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        return self.run_podman("run", "--rm", *LIMITS, *arguments)

    def start(self, *arguments: str) -> Container:
        """Start a container."""
        return Container(self, check([*self.podman, "run", "--detach", *LIMITS, *arguments]).strip())

    def remove_containers(self) -> None:
        for container in self.run_podman("ps", "--all", "--quiet").stdout.split():
            # With those that share its network, which go first.
            self.run_podman("rm", "--force", "--depend", "--volumes", "--time", "2", container)

    def remove(self) -> None:
        """End what runs and forget everything."""
        self.remove_containers()
        self.run_podman("rmi", "--all", "--force")
        shutil.rmtree(self._folder, ignore_errors=True)


# Fixed, since podman would ask for more than some machines let root have.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=512:512")


def check(command: list[str]) -> str:
    """Run a program that has to succeed and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
