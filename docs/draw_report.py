"""Draws ``images/report.png``, the HTML report on the demo's accounts. Run it after a change of the page."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from exporter.demo.past import live
from exporter.demo.vendors import Vendors
from exporter.demo.world import make_world

IMAGE = Path(__file__).parent / "images" / "report.png"


def draw() -> None:
    month = time.strftime("%Y-%m", time.gmtime(time.time() - 28 * 86400))
    with tempfile.TemporaryDirectory() as name, Vendors(log_limit=0) as vendors, sync_playwright() as playwright:
        folder = Path(name)
        world = make_world(vendors, speed=1.0)
        config = world.write_config(folder, folder / "state.db")
        live(world, config, folder / "state.db", lambda: False)
        command = [sys.executable, "-m", "exporter", "report", f"--config.file={config}", f"--month={month}"]
        page = subprocess.run([*command, "--output=html"], check=True, capture_output=True).stdout
        (folder / "report.html").write_bytes(page)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1000, "height": 1250})
        tab.goto((folder / "report.html").as_uri())
        tab.screenshot(path=IMAGE)
        browser.close()


if __name__ == "__main__":
    draw()
