"""Small exported models whose items have titles, and a page on them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pyarrow as pa
import torch
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tagnn_fast.data import Dataset, Vocabulary, synthetic_dataset
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.runs.run import create_run
from tagnn_fast.serving.export import export
from tagnn_fast.training.recipes import resolve

FIRST = 2**60  # ids that JavaScript's numbers cannot tell apart
MARKUP = '<b>Bold</b> & "<img src=x onerror=alert(1)>"'
UNKNOWN = "999"


def make_shop(folder: Path) -> list[Path]:
    """Exported folders of two models with random weights, one that explains and one that does not."""
    made = synthetic_dataset(clicks=4_000, items=120)
    raw_ids = [FIRST + number for number in range(len(made.vocabulary))]
    titles: list[str | None] = made.vocabulary.titles.to_pylist()
    most, second, third = (int(item) - 1 for item in made.vocabulary.by_popularity()[:3])
    titles[most], titles[second], titles[third] = "Blue teapot", MARKUP, None
    vocabulary = Vocabulary(pa.array(raw_ids), made.vocabulary.counts, pa.array(titles))
    dataset = Dataset("shop", made.train, made.test, vocabulary)
    return [_exported(dataset, architecture, folder) for architecture in ("tagnn_pp", "sr_gnn")]


def _exported(dataset: Dataset, architecture: str, folder: Path) -> Path:
    overrides = {"hidden_size": 16, "architecture": architecture}
    model, training = resolve("clean", overrides, len(dataset.vocabulary), longest_prefix=12)
    run = create_run(folder / f"{architecture}_run", model, training, dataset, folder)
    torch.manual_seed(0)
    run.keep_model({name: 3 * value for name, value in make_model(model, training).state_dict().items()}, 1)
    export(run, folder / architecture)
    return folder / architecture


class Page:
    """What a person sees and does.

    Args:
        chrome: a browser.
        url: of the service.
    """

    def __init__(self, chrome: Chrome, url: str) -> None:
        self.chrome, self.url = chrome, url

    def open(self, *clicks: object, **fields: str) -> None:
        """Visit the page anew, with a session in its address, and wait for its lists."""
        parts = [f"session={','.join(quote(str(click), safe='') for click in clicks)}"] if clicks else []
        self.chrome.get("about:blank")  # another fragment alone loads nothing
        self.chrome.get(f"{self.url}/#{'&'.join([*parts, *(f'{name}={value}' for name, value in fields.items())])}")
        self.settle()

    def settle(self) -> None:
        """Wait until every list is there and explained."""
        busy = "return document.querySelectorAll('.model[aria-busy=true], .skeleton').length"
        self.wait(lambda: self.all(".row") and not self.chrome.execute_script(busy))

    def wait(self, happened: Callable[[], object]) -> None:
        """Until it does."""
        deadline = time.monotonic() + 60
        while not happened():
            assert time.monotonic() < deadline, self.text("body")
            time.sleep(0.03)

    def all(self, selector: str) -> list[WebElement]:
        """Elements."""
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The first of them."""
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What stands in it, seen or only heard."""
        return " ".join(self.texts(selector)[:1])

    def texts(self, selector: str) -> list[str]:
        """The same of all."""
        script = "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent)"
        found: list[str] = self.chrome.execute_script(script, selector)
        return found

    def ids(self, model: int = 0) -> list[str]:
        """Recommended items of the first list, or of another."""
        script = """
            const rows = document.querySelectorAll('.model')[arguments[0]].querySelectorAll('.row');
            return [...rows].map((row) => row.dataset.id);
        """
        found: list[str] = self.chrome.execute_script(script, model)
        return found

    def clicks(self) -> list[str]:
        """Ids in the address."""
        fields = self.chrome.current_url.partition("#")[2].split("&")
        return next((field[8:].split(",") for field in fields if field.startswith("session=")), [])

    def search(self, text: str) -> None:
        """Type into the search, and wait for what it finds."""
        self.one("#search").send_keys(text)
        self.wait(lambda: self.all("#found[aria-busy=false]"))

    def click(self, place: int) -> None:
        """Click a recommendation of the first list."""
        self.all(".row")[place].click()
        self.settle()

    def point_at(self, element: WebElement) -> None:
        """Move the mouse there."""
        ActionChains(self.chrome).move_to_element(element).perform()

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.chrome).send_keys(*keys).perform()

    def shift_tab(self) -> None:
        """Go back to the element before."""
        ActionChains(self.chrome).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()

    def focused(self) -> dict[str, str]:
        """What of the element with the focus tells it from others, and whether the focus can be seen."""
        script = """
            const {id, className, dataset, textContent} = document.activeElement;
            const style = getComputedStyle(document.activeElement);
            return {id, class: className, item: dataset.id ?? "", text: textContent, outline: style.outlineStyle};
        """
        found: dict[str, str] = self.chrome.execute_script(script)
        return found

    def tab_to(self, kind: str) -> None:
        """Press Tab until an element with this id or class has the focus."""
        for _ in range(30):
            self.press(Keys.TAB)
            found = self.focused()
            if kind in (found["id"], *found["class"].split()):
                assert found["outline"] != "none"
                return
        raise AssertionError(f"Tab does not come to {kind}")

    def ask(self, path: str, **body: Any) -> Any:
        """What the service itself answers."""
        request = Request(f"{self.url}/v1/{path}", json.dumps(body).encode() if body else None)
        with urlopen(request) as answer:
            return json.load(answer)

    def recommended(self, clicks: list[str], model: str = "tagnn_pp") -> list[str]:
        """The 20 ids that it answers with."""
        return [str(item) for item in self.ask("recommend", session=clicks, model=model)["items"]]
