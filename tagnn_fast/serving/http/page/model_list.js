// What one model recommends: the list with its bars, what changed in it, and what each item looked at.

import { Catalogue } from "./catalogue.js";
import { element, roveIn, settleFocus } from "./dom.js";
import { changesBetween, stepBetween } from "./session.js";

const LENGTH = 20;
const PATIENCE = 300; // milliseconds that a list waits for its titles
const ROW = ".row";
const ORDINALS = new Intl.PluralRules("en", { type: "ordinal" });

export class ModelList {
  #aborter = null;
  #answered = null; // clicks, ids and how the list before became this one
  #weights = null; // by id, of the clicks
  #looked = null; // id
  #touched = null; // id that a finger was on before

  /**
   * on.pick(id), on.look(list, id or null), on.learnt() for new titles, on.answered(list).
   */
  constructor(service, model, on) {
    Object.assign(this, { service, model, on });
    this.catalogue = new Catalogue(service, model.name);
    this.list = element("ol", { class: "recommended", "aria-label": `Recommended by ${model.name}` });
    this.notice = element("p", { class: "notice", hidden: true });
    this.changed = element("p", { class: "changed" });
    this.gone = element("div", { class: "gone", hidden: true });
    this.unit = element("span", {}, "score");
    this.about = element("span", { class: "detail" });
    this.difference = element("span", { class: "detail difference" });
    const items = `${Number(model.items).toLocaleString("en")} items`;
    this.about.textContent = [model.architecture, items, `version ${String(model.version).slice(0, 7)}`].join(" · ");
    this.element = element(
      "section",
      { class: "model", "aria-busy": "true" },
      element("div", { class: "heading" }, element("h2", {}, model.name), this.unit),
      this.about,
      this.difference,
      this.notice,
      this.changed,
      this.list,
      this.gone,
    );
    for (let place = 0; place < 8; place++) this.list.append(element("li", { class: "skeleton", "aria-hidden": "true" }));
    this.#listen();
  }

  get ids() {
    return this.#answered?.ids ?? null;
  }

  /** Ask for recommendations, instead of whatever was asked before. */
  async refresh(clicks) {
    this.#aborter?.abort();
    const { signal } = (this.#aborter = new AbortController());
    this.element.setAttribute("aria-busy", "true");
    try {
      const answer = await this.service.recommend(clicks, this.model.name, Math.min(LENGTH, this.model.k_max), signal);
      const titles = this.catalogue.learn([...clicks, ...answer.items], signal).catch(() => null); // ids will do
      await Promise.race([titles, new Promise((done) => setTimeout(done, PATIENCE))]);
      if (signal.aborted) return;
      this.#take(clicks, answer);
      titles.then(() => signal.aborted || this.#learnt());
      if (this.#answered.byModel && this.model.can_explain && answer.items.length) {
        const weights = await this.service.explain(clicks, answer.items, this.model.name, signal);
        this.#weights = new Map(answer.items.map((id, place) => [id, weights[place]]));
        if (this.#looked !== null) this.on.look(this, this.#looked);
      }
    } catch (error) {
      if (!signal.aborted) this.#fail(error, clicks);
    } finally {
      if (!signal.aborted) this.element.setAttribute("aria-busy", "false");
    }
  }

  stop() {
    this.#aborter?.abort();
  }

  /** The weight of each click for an item; null where they are not known. */
  weights(id) {
    return this.#weights?.get(id) ?? null;
  }

  /** Why there are no weights, in words. */
  whyNone() {
    if (!this.#answered?.byModel) return "Popularity looks at no clicks.";
    return this.model.can_explain ? "" : `${this.model.name} cannot say which clicks it looked at.`;
  }

  /** Mark what another model's list has not, or has elsewhere; nothing for null. */
  compareWith(other) {
    const places = other === null ? null : new Map(other.ids.map((id, place) => [id, place + 1]));
    for (const row of this.list.querySelectorAll(ROW)) {
      const mark = row.querySelector(".elsewhere");
      const place = places?.get(row.dataset.id);
      row.classList.toggle("alone", places !== null && place === undefined);
      mark.textContent = places === null ? "" : elsewhere(this.ids.indexOf(row.dataset.id) + 1, place);
    }
    const common = places === null ? 0 : this.ids.filter((id) => places.has(id)).length;
    this.difference.textContent = places === null ? "" : `${common} of ${this.ids.length} in both lists`;
  }

  /** Show which item is looked at. */
  mark(id) {
    for (const row of this.list.querySelectorAll(ROW)) row.classList.toggle("looked", row.dataset.id === id);
  }

  #take(clicks, answer) {
    const before = this.#answered;
    const same = before !== null && JSON.stringify(before.clicks) === JSON.stringify(clicks);
    const step = same ? before.step : before && { ...stepBetween(before.clicks, clicks), ...changesBetween(before.ids, answer.items) };
    const byModel = answer.answer === "model";
    this.#answered = { clicks, ids: answer.items, scores: answer.scores, byModel, skipped: answer.skipped, step };
    this.#weights = null;
    this.#draw();
    this.on.answered(this);
  }

  #learnt() {
    for (const row of this.list.querySelectorAll(ROW)) this.#name(row);
    this.#say();
    this.on.learnt();
  }

  #draw() {
    const { ids, scores, byModel, step } = this.#answered;
    const rows = [...this.list.querySelectorAll(ROW)];
    const focused = rows.indexOf(document.activeElement);
    const stop = rows.findIndex((row) => row.tabIndex === 0);
    const lowest = Math.min(0, ...scores);
    const highest = Math.max(...scores, lowest + 1e-9);
    this.unit.textContent = byModel ? "score" : "clicks";
    this.list.classList.toggle("steady", !step?.rose.some((places) => places !== 0)); // no room for what moved
    this.list.replaceChildren(
      ...ids.map((id, place) => {
        const bar = element("span", { class: "bar" });
        bar.style.setProperty("--share", (scores[place] - lowest) / (highest - lowest));
        const row = element(
          "button",
          { type: "button", class: "row", "data-id": id },
          element("span", { class: "rank" }, String(place + 1)),
          moved(step ? step.rose[place] : 0),
          element("span", { class: "name" }, element("span", { class: "title" }), element("span", { class: "detail id" }), element("span", { class: "detail elsewhere" })),
          element("span", { class: "score" }, byModel ? scores[place].toFixed(2) : Math.round(scores[place]).toLocaleString("en"), bar),
        );
        this.#name(row);
        return element("li", {}, row);
      }),
    );
    settleFocus(this.list, ROW, Math.max(0, focused < 0 ? stop : focused), focused >= 0);
    this.#say();
  }

  #name(row) {
    const { id } = row.dataset;
    const title = this.catalogue.title(id);
    row.querySelector(".title").textContent = title ?? id;
    row.querySelector(".id").textContent = title === null ? "" : id;
  }

  #say() {
    const { clicks, byModel, skipped, step } = this.#answered;
    let words = "";
    if (!clicks.length) words = "Nothing is clicked yet. These are the items clicked most in training.";
    else if (!byModel) words = "This model knows none of the clicks, so these are the items clicked most in training.";
    else if (skipped) words = `${skipped} of ${clicks.length} clicks ${skipped === 1 ? "is unknown to this model and was" : "are unknown to this model and were"} skipped.`;
    this.notice.textContent = words;
    this.notice.classList.remove("problem");
    this.notice.hidden = !words;
    this.changed.textContent = step ? this.#changes(step) : "";
    this.gone.hidden = !step?.gone.length;
    this.gone.replaceChildren();
    if (!this.gone.hidden) {
      this.gone.append(
        element("h3", { class: "caption" }, "No longer on the list"),
        element("ul", {}, ...step.gone.map((id) => element("li", {}, this.catalogue.title(id) ?? id))),
      );
    }
  }

  #changes({ kind, id, rose, gone }) {
    const counts = [
      [rose.filter((places) => places === null).length, "new"],
      [rose.filter((places) => places > 0).length, "up"],
      [rose.filter((places) => places !== null && places < 0).length, "down"],
      [gone.length, "gone"],
    ];
    const what = counts.filter(([count]) => count).map(([count, word]) => `${count} ${word}`);
    const title = this.catalogue.title(id) ?? id;
    const since = { clicked: `After the click on ${title}`, "taken back": `Since ${title} was taken back` }[kind] ?? "Against the list before";
    return `${since}: ${what.join(", ") || "nothing changed"}.`;
  }

  #fail(error, clicks) {
    const again = element("button", { type: "button" }, "Try again");
    again.addEventListener("click", () => this.refresh(clicks));
    this.notice.replaceChildren(`${error.message} `, again);
    this.notice.classList.add("problem");
    this.notice.hidden = false;
    for (const skeleton of this.list.querySelectorAll(".skeleton")) skeleton.remove();
    this.on.failed(this, error);
  }

  #look(id) {
    if (this.#looked === id) return;
    this.#looked = id;
    this.on.look(this, id);
  }

  #listen() {
    const { list } = this;
    const idOf = (event) => event.target.closest(ROW)?.dataset.id ?? null;
    roveIn(list, ROW);
    list.addEventListener("focusin", (event) => this.#look(idOf(event)));
    list.addEventListener("focusout", () => this.#look(null));
    list.addEventListener("pointerover", (event) => event.pointerType === "touch" || this.#look(idOf(event)));
    list.addEventListener("pointerleave", () => this.#look(list.querySelector(`${ROW}:focus-visible`)?.dataset.id ?? null));
    list.addEventListener("pointerdown", (event) => {
      this.#touched = event.pointerType === "touch" ? this.#looked : idOf(event);
    });
    list.addEventListener("click", (event) => {
      const id = idOf(event);
      // A finger cannot point without a tap: its first tap looks, the second clicks. Keys have no pointer before them.
      if (id !== null && (event.detail === 0 || this.#touched === id)) this.on.pick(id);
    });
  }
}

/** Where an item stands on the other list. */
function elsewhere(here, there) {
  if (there === undefined) return "only here";
  if (there === here) return "same place";
  const ending = { one: "st", two: "nd", few: "rd", other: "th" }[ORDINALS.select(there)];
  return `${there}${ending} there`;
}

/** How far an item rose or fell, for the eye and for the ear. */
function moved(rose) {
  const [mark, words] = rose === null ? ["new", ""] : rose > 0 ? [`▲ ${rose}`, `up ${rose}`] : rose < 0 ? [`▼ ${-rose}`, `down ${-rose}`] : ["", ""];
  const kind = rose === null ? "moved new" : "moved";
  if (!words) return element("span", { class: kind }, mark);
  return element("span", { class: kind }, element("span", { "aria-hidden": "true" }, mark), element("span", { class: "hidden" }, words));
}
