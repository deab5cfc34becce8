#!/usr/bin/env python3
"""Run the demo's vendors, the exporter, Prometheus and Alertmanager on loopback until Ctrl-C.

Prometheus has the rules of deploy/, and Alertmanager its routes and inhibitions. Every notification is printed here and
not sent by e-mail, Slack, PagerDuty and so on. All take free ports. All data is deleted when the stack stops.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
PROGRAMS = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
START_SECONDS = 30.0


@contextmanager
def webhook(receive: Callable[[dict[str, Any]], None]) -> Iterator[str]:
    """Receive Alertmanager's notifications on a free port. Yield the URL to send them to."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receive(json.loads(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def alertmanager_config(url: str, group_wait: str, group_interval: str) -> str:
    """Return the configuration in deploy/ with this URL for every receiver, and with these waits."""
    config = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())
    for receiver in config["receivers"]:
        name = receiver["name"]
        receiver.clear()
        receiver |= {"name": name, "webhook_configs": [{"url": url + name, "send_resolved": True}]}
    config["route"] |= {"group_wait": group_wait, "group_interval": group_interval}
    del config["global"]
    return yaml.safe_dump(config, sort_keys=False)


def prometheus_config(exporter: str, alertmanager: str, rules: str, interval: str) -> str:
    """Return the configuration in deploy/ for these addresses (host:port), rule files and interval."""
    config = yaml.safe_load((DEPLOY / "prometheus/single.yml").read_text())
    config["global"] |= {"scrape_interval": interval, "evaluation_interval": interval}
    config["rule_files"] = [rules]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [exporter]}]
    return yaml.safe_dump(config, sort_keys=False)


@contextmanager
def running(name: str, command: Sequence[str], listening: str, log: Path) -> Iterator[str]:
    """Run a program until the block ends. Yield the host and port that `listening` finds in its log."""
    with log.open("w") as output:
        # A new session, so that Ctrl-C reaches only this script, which stops the programs in order.
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        end = time.monotonic() + START_SECONDS
        while (found := re.search(listening, log.read_text())) is None:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} does not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def show(notification: dict[str, Any]) -> None:
    """Print a notification with a line for each alert."""
    receiver = notification["receiver"]
    for alert in notification["alerts"]:
        labels = alert["labels"]
        mark = f"{alert['status']:<8} {labels.get('severity', ''):<8} {labels['alertname']}"
        print(f"{time.strftime('%H:%M:%S')} to {receiver}: {mark}: {alert['annotations']['summary']}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speed", default="60", help="simulated seconds a second in the demo (default: 60)")
    speed = parser.parse_args().speed
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            print(f"{program} is missing: install Debian's package {package}", file=sys.stderr)
            return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        # Handle SIGINT too, because a shell makes background programs ignore it.
        signal.signal(number, signal.default_int_handler)
    listening = r'msg="Listening on" (?:component=\S+ )?address=(\S+)'  # Prometheus 3 names the component
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="video-api-exporter-stack-")))

            def start(name: str, command: Sequence[str], listening: str) -> str:
                return stack.enter_context(running(name, command, listening, directory / f"{name}.log"))

            url = stack.enter_context(webhook(show))
            exporter = start(
                "exporter",
                [
                    *(sys.executable, "-m", "exporter", "demo", f"--speed={speed}"),
                    "--web.listen-address=127.0.0.1:0",
                ],
                r"listening on http://([^\s\"]+)",
            )
            (directory / "alertmanager.yml").write_text(alertmanager_config(url, "5s", "30s"))
            alertmanager = start(
                "alertmanager",
                [
                    *("prometheus-alertmanager", f"--config.file={directory / 'alertmanager.yml'}"),
                    *(f"--storage.path={directory / 'alertmanager'}", "--cluster.listen-address="),
                    "--web.listen-address=127.0.0.1:0",
                ],
                listening,
            )
            config = prometheus_config(exporter, alertmanager, str(DEPLOY / "prometheus/rules/*.yml"), "5s")
            (directory / "prometheus.yml").write_text(config)
            prometheus = start(
                "prometheus",
                [
                    *("prometheus", f"--config.file={directory / 'prometheus.yml'}"),
                    *(f"--storage.tsdb.path={directory / 'prometheus'}", "--web.listen-address=127.0.0.1:0"),
                ],
                listening,
            )
            print(
                f"exporter      http://{exporter}/\n"
                f"Prometheus    http://{prometheus}/alerts\n"
                f"Alertmanager  http://{alertmanager}/\n\n"
                "Notifications are printed here; most alerts wait for 5 to 15 minutes. Ctrl-C stops the stack.\n",
                flush=True,
            )
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
