"""Draw every dashboard as a PNG in `build/preview/`.

A history of the demo is written for a Prometheus on loopback, esbuild bundles the page with Grafana's own
components, and headless Chromium takes one picture of each dashboard.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from grafana.files import rendered
from grafana.preview.history import backfill
from grafana.server import Prometheus

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "build/preview"
HOURS = 54  # the Account dashboard shows two days, and its first hours need data from before
WIDTH = 1600
CELL, GAP, HEAD = 30, 8, 92  # as in page.tsx

ALL = {"datasource": "Prometheus", "job": ".+", "instance": ".+", "provider": ".+", "account": ".+"}
PICTURES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "fleet": ("fleet.json", ALL | {"unit": "credits"}),
    "account": ("account.json", ALL | {"provider": "vidnavigator", "account": "media-prod"}),
    "account-videodb": ("account.json", ALL | {"provider": "videodb", "account": "video-lab"}),
    "exporter": ("exporter.json", ALL),
}


def main() -> None:
    """Make the history unless one is given, then the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, help="folder to keep the history in, for drawing again")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit normally, so that Prometheus is stopped
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dashboards-") as name:
        folder = arguments.history or Path(name)
        made = folder / "end"
        if not made.exists():
            folder.mkdir(exist_ok=True)
            end = time.time() // 60 * 60
            backfill(folder, end - HOURS * 3600, end)
            made.write_text(str(end))
        bundle()
        with Prometheus(folder) as prometheus:
            for picture in PICTURES:
                draw(picture, arguments.theme, prometheus.url, float(made.read_text()), Path(name))


def bundle() -> None:
    """Bundle the page and its imports into one script."""
    subprocess.run(
        [
            HERE.parent / "node_modules/.bin/esbuild",
            HERE / "page.tsx",
            "--bundle",
            f"--outfile={OUT / 'page.js'}",
            "--jsx=automatic",
            '--define:process.env.NODE_ENV="production"',
            "--loader:.svg=dataurl",
            "--loader:.ttf=dataurl",
            "--log-level=warning",
        ],
        check=True,
    )

    # The components fetch their icons from the paths of a Grafana server.
    icons = HERE.parent / "node_modules/@grafana/ui/dist/public/img"
    shutil.copytree(icons, OUT / "public/build/img", dirs_exist_ok=True)


def draw(picture: str, theme: str, prometheus: str, now: float, profile: Path) -> None:
    """Take one picture of one dashboard."""
    file, variables = PICTURES[picture]
    dashboard = json.loads(rendered()[file])
    setup = {"dashboard": dashboard, "prometheus": prometheus, "now": now, "theme": theme, "variables": variables}
    page = OUT / f"{picture}.html"
    text = json.dumps(setup).replace("</", "<\\/")
    page.write_text(
        '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css">'
        '<body style="margin:0"><div id="root"></div>'
        f'<script>window.preview={text}</script><script src="page.js"></script>'
    )
    height = HEAD + max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) * (CELL + GAP)
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed; on Debian: apt-get install chromium")
    png = OUT / f"{picture}.png"
    subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            f"--user-data-dir={profile / 'chromium'}",
            f"--window-size={WIDTH},{height}",
            "--virtual-time-budget=30000",
            f"--screenshot={png}",
            page.as_uri(),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=180,
    )
    print(png)


if __name__ == "__main__":
    main()
