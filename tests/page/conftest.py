"""One browser and one service for all visits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.page.browser import Served, browser, console_errors, look_as
from tests.page.shop import Page, make_shop


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    with browser() as chrome:
        yield chrome


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def served(folders: list[Path]) -> Iterator[Served]:
    served = Served(*folders)
    yield served
    served.stop()


@pytest.fixture
def page(chrome: Chrome, served: Served) -> Iterator[Page]:
    """With nothing to complain about in the console, before and after."""
    look_as(chrome, still=True)
    console_errors(chrome)
    yield Page(chrome, served.url)
    assert console_errors(chrome) == []
