// The search: a text field with a list of items below it, for the mouse and the keyboard.

import { element } from "./dom.js";

const SHOWN = 12;
const PAUSE = 90; // milliseconds without a key before the service is asked

export class SearchBox {
  #aborter = null;
  #timer = 0;
  #items = [];
  #active = -1;
  #wantsFirst = false; // Enter was pressed before the answer came

  /**
   * find(text, limit, signal): items; onPick(item): one was chosen.
   */
  constructor(input, { find, onPick }) {
    Object.assign(this, { input, find, onPick });
    this.box = document.getElementById("found-box");
    this.list = document.getElementById("found");
    this.caption = document.getElementById("found-caption");
    input.addEventListener("input", () => this.#later());
    input.addEventListener("focus", () => this.#ask());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.#key(event));
    this.box.addEventListener("pointerdown", (event) => event.preventDefault()); // the focus stays in the field
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.#pick([...this.list.children].indexOf(option));
    });
  }

  close() {
    clearTimeout(this.#timer);
    this.#aborter?.abort();
    this.#wantsFirst = false;
    this.box.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.#activate(-1);
  }

  #later() {
    clearTimeout(this.#timer);
    this.#aborter?.abort();
    this.list.setAttribute("aria-busy", "true");
    this.#activate(-1); // what is shown was found by another text
    this.#timer = setTimeout(() => this.#ask(), PAUSE);
  }

  async #ask() {
    clearTimeout(this.#timer);
    this.#aborter?.abort();
    const { signal } = (this.#aborter = new AbortController());
    const text = this.input.value.trim();
    this.list.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => this.#show([], "Searching…", true), 250);
    try {
      const items = await this.find(text, SHOWN, signal);
      if (!signal.aborted) this.#show(items, items.length ? (text ? "" : "Most clicked") : `No item has “${text}” in its title or id.`);
    } catch (error) {
      if (!signal.aborted) this.#show([], error.message);
    } finally {
      clearTimeout(slow);
    }
  }

  #show(items, caption, busy = false) {
    this.#items = items;
    this.list.setAttribute("aria-busy", String(busy));
    this.caption.textContent = caption;
    this.caption.hidden = !caption;
    this.list.replaceChildren(
      ...items.map(({ id, title }, number) =>
        element(
          "li",
          { role: "option", id: `found-${number}`, "aria-selected": "false" },
          element("span", { class: "title" }, title ?? id),
          title === null ? null : element("span", { class: "detail" }, id),
        ),
      ),
    );
    this.box.hidden = false;
    this.input.setAttribute("aria-expanded", String(items.length > 0));
    this.#activate(items.length && this.input.value.trim() ? 0 : -1);
    if (this.#wantsFirst && !busy) {
      this.#wantsFirst = false;
      if (this.#active === 0) this.#pick(0);
    }
  }

  #activate(place) {
    this.#active = place;
    [...this.list.children].forEach((option, number) => option.setAttribute("aria-selected", String(number === place)));
    if (place < 0) this.input.removeAttribute("aria-activedescendant");
    else {
      this.input.setAttribute("aria-activedescendant", `found-${place}`);
      this.list.children[place].scrollIntoView({ block: "nearest" });
    }
  }

  #key(event) {
    const count = this.#items.length;
    if (event.key === "Escape") {
      if (!this.box.hidden) this.close();
      else this.input.value = "";
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (this.box.hidden) this.#ask();
      else if (count) this.#activate((this.#active + (event.key === "ArrowDown" ? 1 : this.#active < 0 ? count : count - 1)) % count);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (this.list.getAttribute("aria-busy") === "true") this.#wantsFirst = this.input.value.trim() !== "";
      else if (!this.box.hidden && this.#active >= 0) this.#pick(this.#active);
    }
  }

  #pick(place) {
    const item = this.#items[place];
    this.input.value = "";
    this.close();
    this.onPick(item);
  }
}
