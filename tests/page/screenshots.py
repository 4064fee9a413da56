"""Pictures of the page for the guides: ``python -m tests.page.screenshots EXPORTED OTHER FOLDER``."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, Keys

from tests.page.browser import PHONE, Served, browser, look_as
from tests.page.shop import Page

TITLES = ["Blue teapot", "Red teapot", "Green garden chair", "Red teapot", "Green teapot"]
COLOURS = 128  # enough for one accent colour and its shades


def save(chrome: Chrome, path: Path) -> None:
    """What can be seen now, small."""
    Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def visit(page: Page, row: int) -> None:
    """Click items by their titles, and look at a recommendation."""
    page.open()
    for count, title in enumerate(TITLES, 1):
        page.one("#search").send_keys(title, Keys.ENTER)
        page.wait(lambda count=count: len(page.all(".clicks li")) == count)  # type: ignore[misc]
        page.settle()
    look_at(page, row)


def look_at(page: Page, row: int) -> None:
    page.point_at(page.all(".row")[row])
    page.wait(lambda: " looked at " in page.text("#why"))


def main(one: str, other: str, folder: str) -> None:
    """Two models in light, one in dark, and a phone."""
    served = Served(one, other)
    try:
        with browser() as chrome:
            page = Page(chrome, served.url)
            look_as(chrome, size=(1280, 820), still=True)
            visit(page, 3)
            clicks = page.clicks()
            page.open(*clicks, **{"with": page.texts("#other option")[2]})
            page.all(".take-back")[2].click()
            page.settle()
            look_at(page, 3)
            save(chrome, Path(folder) / "page-light.png")
            look_as(chrome, dark=True, size=(1280, 820), still=True)
            page.open(*clicks)
            look_at(page, 4)
            save(chrome, Path(folder) / "page-dark.png")
            look_as(chrome, size=PHONE, still=True)
            page.open(*clicks[:4])
            save(chrome, Path(folder) / "page-narrow.png")
    finally:
        served.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
