"""Takes the pictures of the pages for the documentation, in Chromium over the demo. Run ``make pictures``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
START_SECONDS = 120.0
POLL_SECONDS = 25.0
"""Seconds of the demo in which every account is polled, and some fail."""
SWITCHES = ["--disable-gpu", "--no-proxy-server", "--disable-background-networking"]
ACCOUNT = "accounts/vidnavigator/archive"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


class Picture(NamedTuple):
    name: str
    path: str
    viewport: Any
    scheme: str = "light"
    pixels: int = 0
    """Height in pixels, that of the viewport if 0."""


PICTURES = (
    Picture("status-page", "", DESKTOP),
    Picture("status-page-dark", "", DESKTOP, "dark"),
    Picture("status-page-phone", "", PHONE),
    Picture("account-page", ACCOUNT, DESKTOP, pixels=1500),
    Picture("account-page-dark", ACCOUNT, DESKTOP, "dark", pixels=1500),
    Picture("account-page-phone", ACCOUNT, PHONE, pixels=1500),
)


REPORT = Picture("report", "", {"width": 1000, "height": 1250})


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """Run the demo on a free port. Yield its address and its configuration file when every account was polled."""
    command = [sys.executable, "-m", "exporter", "demo", "--web.listen-address=127.0.0.1:0", "--log.level=error"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            url = next(found[0] for line in running.stdout if (found := re.search(r"http://\S+/", line)))
            config = next(found[1] for line in running.stdout if (found := re.search(r"--config.file=(\S+)", line)))
            _wait_until_ready(url)
            time.sleep(POLL_SECONDS)
            yield url, config
        finally:
            running.terminate()


def _wait_until_ready(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url + "-/ready", timeout=10).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return


def take(browser: Browser, url: str, picture: Picture) -> None:
    """Write one picture."""
    viewport = {**picture.viewport, "height": picture.pixels or picture.viewport["height"]}
    context = browser.new_context(viewport=viewport, color_scheme=picture.scheme, device_scale_factor=1)  # type: ignore[arg-type]  # a scheme
    page = context.new_page()
    page.goto(url + picture.path)
    page.screenshot(path=IMAGES / f"{picture.name}.png")
    context.close()


def write_report(config: str, page: Path) -> None:
    """Write the HTML report on the last month that has ended."""
    last = datetime.now(timezone.utc).replace(day=1) - timedelta(1)
    command = [sys.executable, "-m", "exporter", "report", f"--config.file={config}", f"--month={last:%Y-%m}"]
    page.write_bytes(subprocess.run([*command, "--output=html"], cwd=ROOT, check=True, capture_output=True).stdout)


def main() -> None:
    chosen = [picture for picture in (*PICTURES, REPORT) if not sys.argv[1:] or picture.name in sys.argv[1:]]
    with demo() as (url, config), sync_playwright() as playwright, TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        page = Path(folder) / "report.html"
        write_report(config, page)
        for picture in chosen:
            take(browser, page.as_uri() if picture is REPORT else url, picture)
            print(IMAGES / f"{picture.name}.png")
        browser.close()


if __name__ == "__main__":
    main()
