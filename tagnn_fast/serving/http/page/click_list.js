// The clicks of the session, each of which can be taken back.

import { element, percent, roveIn, settleFocus } from "./dom.js";

const BUTTON = ".take-back";

export class ClickList {
  #shares = [];

  constructor(list, onTakeBack) {
    this.list = list;
    roveIn(list, BUTTON);
    list.addEventListener("click", (event) => {
      const button = event.target.closest(BUTTON);
      if (button) onTakeBack([...list.querySelectorAll(BUTTON)].indexOf(button));
    });
  }

  /** Show the clicks; `unknownTo(id)` names the models that do not know an item. */
  draw(clicks, titleOf, unknownTo) {
    const focused = [...this.list.querySelectorAll(BUTTON)].indexOf(document.activeElement);
    this.#shares = [];
    this.list.replaceChildren(
      ...clicks.map((id, place) => {
        const title = titleOf(id);
        const models = unknownTo(id);
        const share = element("span", { class: "share" });
        const number = element("span", { class: "weight" });
        this.#shares.push({ share, number });
        return element(
          "li",
          {},
          share,
          element("span", { class: "rank" }, String(place + 1)),
          element(
            "span",
            { class: "name" },
            element("span", { class: "title" }, title),
            title === id ? null : element("span", { class: "detail" }, id),
            models.length ? element("span", { class: "detail" }, `unknown to ${models.join(" and ")}: skipped`) : null,
          ),
          number,
          element("button", { type: "button", class: "take-back", "aria-label": `Take back click ${place + 1}, ${title}`, title: "Take back" }, "×"),
        );
      }),
    );
    settleFocus(this.list, BUTTON, focused < 0 ? clicks.length - 1 : focused, focused >= 0);
  }

  /** Show the weight of each click, or none of them. */
  highlight(weights) {
    this.#shares.forEach(({ share, number }, place) => {
      const weight = weights?.[place] ?? 0;
      share.style.setProperty("--share", weight);
      number.textContent = weights === null ? "" : percent(weight);
    });
  }
}
