"""Visits to the page, from empty to an explained recommendation."""

from __future__ import annotations

from itertools import pairwise

from selenium.webdriver import Keys

from tests.page.shop import MARKUP, UNKNOWN, Page


def percents(texts: list[str]) -> list[int]:
    return [int(text.removesuffix("%")) for text in texts]


def test_from_empty_to_explained(page: Page) -> None:
    page.open()
    assert page.one("#graph-empty").is_displayed()
    assert page.text(".model .notice") == "Nothing is clicked yet. These are the items clicked most in training."
    assert page.ids() == page.recommended([])

    page.search("TEAPÖT")
    page.all("#found li")[0].click()
    page.settle()
    assert page.texts(".node .name") == ["Blue teapot"]
    assert page.texts(".clicks .title") == ["Blue teapot"]

    for place in (2, 0, 2):
        page.click(place)
    clicks = page.clicks()
    assert len(clicks) == 4
    assert page.ids() == page.recommended(clicks)
    assert len(page.all(".node")) == len(set(clicks))
    assert [(edge.get_attribute("data-from"), edge.get_attribute("data-to")) for edge in page.all(".edge")] == list(
        dict.fromkeys(pairwise(clicks))
    )

    page.point_at(page.all(".row")[4])
    page.wait(lambda: " looked at " in page.text("#why"))
    item = page.ids()[4]
    weights = page.ask("explain", session=clicks, items=[item], model="tagnn_pp")["weights"][0]
    shown = percents(page.texts(".clicks .weight"))
    assert all(abs(100 * weight - whole) <= 0.51 for weight, whole in zip(weights, shown, strict=True))
    assert abs(sum(shown) - 100) <= 2
    assert page.text(".row.looked .title") in page.text("#why")
    assert "looked-at" in (page.all(".node")[0].get_attribute("class") or "")
    page.point_at(page.one("h1"))
    page.wait(lambda: page.texts(".clicks .weight") == [""] * 4)


def test_by_keyboard_alone(page: Page) -> None:
    page.open()
    page.press(Keys.TAB, Keys.ENTER)
    assert page.focused()["id"] == "lists"
    page.chrome.execute_script("document.activeElement.blur()")
    page.tab_to("search")
    page.search("blue")
    assert page.one("#search").get_attribute("aria-activedescendant") == "found-0"
    second = page.texts("#found li .title")[1]
    page.press(Keys.ARROW_DOWN, Keys.ENTER)
    page.settle()
    assert page.texts(".clicks .title") == [second]
    assert page.focused()["id"] == "search"
    assert not page.one("#found-box").is_displayed()

    page.tab_to("row")
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    third = page.ids()[2]
    assert page.focused()["item"] == third
    page.wait(lambda: " looked at " in page.text("#why"))
    page.press(Keys.ENTER)
    page.wait(lambda: len(page.all(".clicks li")) == 2)
    page.settle()
    assert page.focused()["item"] == page.ids()[2]  # the list is another, the place the same
    page.press(Keys.END)
    assert page.focused()["item"] == page.ids()[-1]

    page.shift_tab()
    assert page.focused()["class"] == "take-back"
    page.press(Keys.HOME, Keys.ENTER)
    page.wait(lambda: len(page.all(".clicks li")) == 1)
    page.settle()
    assert page.focused()["class"] == "take-back"
    assert page.ids() == page.recommended([third])


def test_a_click_taken_back(page: Page) -> None:
    page.open()
    page.click(0)
    page.click(6)
    page.click(9)
    clicks = page.clicks()
    before, title = page.ids(), page.texts(".clicks .title")[1]
    page.all(".take-back")[1].click()
    page.settle()
    after = page.ids()
    assert after == page.recommended([clicks[0], clicks[2]])

    def moved(item: str) -> str:
        if item not in before:
            return "new"
        rose = before.index(item) - after.index(item)
        return f"▲ {rose}up {rose}" if rose > 0 else f"▼ {-rose}down {-rose}" if rose < 0 else ""

    assert page.texts(".row .moved") == [moved(item) for item in after]
    assert page.text(".changed").startswith(f"Since {title} was taken back: ")
    assert len(page.all(".gone li")) == len(set(before) - set(after))


def test_two_models(page: Page) -> None:
    page.open()
    page.click(3)
    page.click(5)
    page.one("#other").send_keys("sr_gnn")
    page.wait(lambda: len(page.all(".model")) == 2)
    page.settle()
    assert page.texts(".model h2") == ["tagnn_pp", "sr_gnn"]
    clicks = page.clicks()
    one, other = page.ids(0), page.ids(1)
    assert (one, other) == (page.recommended(clicks), page.recommended(clicks, "sr_gnn"))
    marks = page.texts(".model:first-child .elsewhere")
    assert [mark == "only here" for mark in marks] == [item not in other for item in one]
    assert [mark == "same place" for mark in marks] == [left == right for left, right in zip(one, other, strict=True)]
    assert page.text(".difference") == f"{len(set(one) & set(other))} of 20 in both lists"
    page.point_at(page.all(".model:last-child .row")[0])
    page.wait(lambda: page.text("#why") == "sr_gnn cannot say which clicks it looked at.")
    assert page.chrome.current_url.endswith("&model=tagnn_pp&with=sr_gnn")


def test_a_title_with_markup(page: Page) -> None:
    page.open()
    place = page.texts(".row .title").index(MARKUP)
    page.click(place)
    assert page.text(".clicks .title") == MARKUP
    assert page.text(".node title") == MARKUP
    page.search("<b>bold")
    assert page.texts("#found .title") == [MARKUP]
    assert page.all("img, b") == []


def test_an_item_without_title(page: Page) -> None:
    page.open()
    untitled = next(item for item, title in zip(page.ids(), page.texts(".row .title"), strict=True) if item == title)
    page.click(page.ids().index(untitled))
    assert page.text(".clicks .title") == untitled


def test_the_address_has_the_session(page: Page) -> None:
    page.open()
    page.click(1)
    page.click(4)
    clicks, listed = page.texts(".clicks .title"), page.ids()
    page.chrome.refresh()
    page.settle()
    assert (page.texts(".clicks .title"), page.ids()) == (clicks, listed)
    page.chrome.back()
    page.wait(lambda: page.texts(".clicks .title") == clicks[:1])
    page.settle()
    page.one("#clear").click()
    page.settle()
    assert page.texts(".clicks li") == []
    assert page.focused()["id"] == "search"


def test_unknown_items_and_odd_addresses(page: Page) -> None:
    page.open(UNKNOWN, "no, such &=item", model="none", **{"with": "%E0"})
    assert page.text(".model .notice").startswith("This model knows none of the clicks")
    assert page.texts(".clicks .title") == [UNKNOWN, "no, such &=item"]
    assert len(page.all(".node.unknown")) == 2
    page.point_at(page.all(".row")[0])
    page.wait(lambda: page.text("#why") == "Popularity looks at no clicks.")
    page.click(0)
    assert page.text(".model .notice") == "2 of 3 clicks are unknown to this model and were skipped."
    assert page.texts(".clicks .detail")[0] == "unknown to tagnn_pp: skipped"
    page.point_at(page.all(".row")[1])
    page.wait(lambda: page.texts(".node .weight") == ["", "", "100%"])  # only what is known was looked at
    page.open("%")
    assert page.texts(".clicks .title") == ["%"]


def test_fast_clicks(page: Page) -> None:
    """The last request counts, whichever answer comes first."""
    page.open()
    page.chrome.execute_script("for (const place of [0, 3, 1, 2, 0]) document.querySelectorAll('.row')[place].click()")
    page.settle()
    clicks = page.clicks()
    assert len(clicks) == 5
    assert page.ids() == page.recommended(clicks)


def test_enter_before_the_answer(page: Page) -> None:
    """It picks the best of what the whole text finds, not of what the letters before did."""
    page.open()
    page.one("#search").send_keys("blue teapot", Keys.ENTER)
    page.wait(lambda: page.texts(".clicks .title") == ["Blue teapot"])
    assert page.text("#search") == ""
