"""axe-core finds nothing serious, whatever the page shows and however it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page.browser import LARGE, PHONE, look_as
from tests.page.shop import UNKNOWN, Page
from tests.support import ROOT

AXE = ROOT / "build" / "axe" / "package" / "axe.min.js"


def findings(page: Page) -> list[tuple[str, str, str]]:
    """Rule, what it says, and where, of each that is serious or worse."""
    page.chrome.execute_script(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.chrome.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 15
    return [
        (rule["id"], node["failureSummary"], node["html"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [LARGE, PHONE], ids=["large", "phone"])
def test_no_serious_findings(page: Page, dark: bool, size: tuple[int, int]) -> None:
    if not AXE.exists():
        pytest.skip(f"{AXE.relative_to(ROOT)} is not there: npm pack axe-core (make page-test)")
    look_as(page.chrome, dark=dark, size=size, still=True)
    page.open()
    assert findings(page) == []
    page.click(2)
    page.open(UNKNOWN, *page.ids()[:3], **{"with": "sr_gnn"})
    page.all(".take-back")[2].click()
    page.settle()
    page.chrome.execute_script("document.querySelectorAll('.row')[3].focus()")
    page.wait(lambda: " looked at " in page.text("#why"))
    assert findings(page) == []
    page.one("#search").send_keys("blue")
    page.wait(lambda: len(page.all("#found li")) > 1)
    assert findings(page) == []
