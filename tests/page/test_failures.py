"""What the page says where the service does not answer, and how it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys

from tests.page.browser import Served, console_errors, look_as
from tests.page.shop import Page


@pytest.fixture
def own(chrome: Chrome, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service of this test alone, that asks for a token."""
    monkeypatch.setenv("TAGNN_FAST_TOKEN", "secret")
    look_as(chrome, still=True)
    served = Served(folders[0])
    yield served
    served.stop()
    console_errors(chrome)  # refused requests are among them


def test_a_token_and_a_service_that_goes_down(chrome: Chrome, own: Served) -> None:
    page = Page(chrome, own.url)
    chrome.get(own.url)
    page.wait(lambda: page.text("#problem-words") == "This service asks for a token.")
    for token in ("wrong", "secret"):
        page.one("#token").clear()
        page.one("#token").send_keys(token, Keys.ENTER)
        if token == "wrong":
            page.wait(lambda: page.one("#problem").is_displayed())
    page.wait(lambda: not page.one("#problem").is_displayed())
    page.settle()
    page.click(0)
    listed = page.ids()

    own.stop()
    page.all(".row")[1].click()
    page.wait(lambda: "The service does not answer. Is it still running?" in page.text(".model .notice"))
    assert page.ids() == listed
    page.one("#search").send_keys("blue")
    page.wait(lambda: page.text("#found-caption") == "The service does not answer. Is it still running?")
    page.press(Keys.ESCAPE)

    own.start()
    page.one(".model .notice button").click()
    page.wait(lambda: not page.one(".model .notice").is_displayed())
    page.settle()
    assert len(page.texts(".clicks li")) == 2
    assert page.ids() != listed


def test_a_service_that_is_not_there_at_first(chrome: Chrome, own: Served) -> None:
    page = Page(chrome, own.url)
    chrome.get(own.url)
    page.wait(lambda: page.one("#problem").is_displayed())
    own.stop()
    page.one("#token").send_keys("secret", Keys.ENTER)
    page.wait(lambda: page.text("#problem-words") == "The service does not answer. Is it still running?")
    own.start()
    page.one("#retry").click()
    page.settle()
    assert not page.one("#problem").is_displayed()
