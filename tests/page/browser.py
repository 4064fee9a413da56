"""A headless Chromium, and services for it to visit."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service as Driver

LARGE, PHONE = (1280, 960), (390, 844)


def needs_chromium() -> tuple[str, str]:
    """The browser and its driver; the test is skipped where there is none."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if found[0] is None or found[1] is None:
        pytest.skip("there is no Chromium: apt-get install chromium chromium-driver")
    return found[0], found[1]


@contextmanager
def browser() -> Iterator[Chrome]:
    """One that is ended whatever happens."""
    chromium, driver = needs_chromium()
    options = ChromeOptions()
    options.binary_location = chromium
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *("--disable-extensions", "--disable-background-networking", "--no-first-run", "--renderer-process-limit=1"),
        f"--window-size={LARGE[0]},{LARGE[1]}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, Driver(driver))
    try:
        chrome.set_script_timeout(60)
        yield chrome
    finally:
        chrome.quit()


def look_as(chrome: Chrome, *, dark: bool = False, size: tuple[int, int] = LARGE, still: bool = False) -> None:
    """Set what the machine prefers, and the size of the window."""
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
    ]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def console_errors(chrome: Chrome) -> list[str]:
    """What the page said to the console since the last look, violations of its policy among it."""
    entries: list[dict[str, Any]] = chrome.get_log("browser")
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


class Served:
    """A service of its own process.

    Args:
        folders: exported ones.
        options: of ``tagnn-fast serve``.
    """

    def __init__(self, *folders: str | Path, options: tuple[str, ...] = ()) -> None:
        self._folders, self._options, self.url = folders, options, ""
        self.start()

    def start(self) -> None:
        """Start, again at the port that it had."""
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "tagnn_fast.cli", "serve", *map(str, self._folders), "--port", port]
        self._process = subprocess.Popen(
            [*command, "--drain", "0", *self._options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        printed = ""
        for line in self._process.stdout:
            printed += line
            if found := re.search(r"serving at (http://\S+)", line):
                self.url = found[1]
                return
        raise AssertionError(printed)

    def stop(self) -> None:
        """End it, as a machine that goes down would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
