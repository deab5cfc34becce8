"""Runs the whole exporter as a process that polls simulated vendors in another process."""

from __future__ import annotations

import gzip
import secrets
import sys
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import trustme
from prometheus_client.parser import text_string_to_metric_families as parse

from bench.processes import Process, free_port
from bench.workload import configuration


class Daemon:
    """An exporter and its vendors. ``stack`` stops both."""

    def __init__(
        self,
        count: int,
        poll: str,
        latency: float,
        directory: Path,
        stack: ExitStack,
        *,
        declared: bool = False,
        tls: bool = False,
    ) -> None:
        """``poll`` is the block ``poll`` of the configuration. The latency is in seconds."""
        self._declared = declared
        self.state = f"path: {directory}/state.db"
        self.count, self._poll, self._directory, self._stack = count, poll, directory, stack
        self._keys = [secrets.token_hex(16) for _ in range(count)]
        keys = directory / "keys"
        keys.write_text("\n".join(self._keys))
        vendor = [sys.executable, "-m", "bench.vendor", str(keys), str(latency)]
        if tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(directory / "ca.pem")
            authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
            vendor.append(str(directory / "server.pem"))
            self._poll += f", ca_file: {directory}/ca.pem"
        self.vendor = stack.enter_context(Process(vendor, directory / "vendor.log"))
        self.vendor_url = self.vendor.wait_for_line("serving").split()[1]
        self.config = directory / "config.yaml"
        self.configure(count)

    @property
    def first_key(self) -> str:
        return self._keys[0]

    def configure(self, count: int) -> None:
        """Write a configuration with the first ``count`` accounts, and a state."""
        lines = configuration(count, self.vendor_url, self._keys[:count], self._poll, declared=self._declared)
        self.config.write_text("".join(lines) + f"state: {{{self.state}}}\n")

    def start(self, env: Mapping[str, str] | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        argv = [
            *(sys.executable, "-m", "exporter", f"--config.file={self.config}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle", "--log.level=warn"),
        ]
        self.process = self._stack.enter_context(Process(argv, self._directory / "exporter.log", env))

    def until(self, path: str, done: Callable[[bytes], bool] = lambda body: True) -> float:
        """Return the seconds from the start until a path responded with 200 with the wanted body."""
        return self.process.wait_for(self.url + path, until=done)

    def is_complete(self, page: bytes) -> bool:
        """Return whether the page has a good poll of every account."""
        up = [line for line in page.split(b"\n") if line.startswith(b"video_api_up{")]
        return len(up) == self.count and all(line.endswith(b" 1.0") for line in up)

    def own(self) -> dict[str, float]:
        """Return the exporter's own samples without labels, and histogram buckets by ``le``."""
        # With gzip, as Prometheus requests it. For plain text the exporter would have to keep a copy.
        request = urllib.request.Request(self.url + "/metrics", headers={"Accept-Encoding": "gzip"})
        text = gzip.decompress(urllib.request.urlopen(request).read()).decode()
        text = text[text.index("# HELP video_api_exporter_") :]
        found = {}
        for family in parse(text):
            for sample in family.samples:
                bound = sample.labels.get("le")
                if bound or not sample.labels:
                    found[sample.name + (f" {bound}" if bound else "")] = sample.value
        return found
