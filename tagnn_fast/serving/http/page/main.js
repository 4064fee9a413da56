// The page: one session, shown as a graph and a list of clicks, and what one or two models recommend after it.

import { ClickList } from "./click_list.js";
import { element, percent } from "./dom.js";
import { GraphView } from "./graph_view.js";
import { ModelList } from "./model_list.js";
import { SearchBox } from "./search_box.js";
import { Service } from "./service.js";
import { readFragment, writeFragment } from "./session.js";

const by = (id) => document.getElementById(id);
const service = new Service(document.baseURI.replace(/[?#].*$/, ""));
const touch = matchMedia("(hover: none)").matches;

let models = []; // all that the service has
let clicks = [];
let lists = []; // of the one or two models shown
let looked = [null, null]; // a list and an id on it

const graph = new GraphView(by("graph"), by("graph-empty"), by("graph-words"));
const clickList = new ClickList(by("clicks"), (place) => goTo(clicks.filter((_, other) => other !== place)));
new SearchBox(by("search"), {
  find: async (text, limit, signal) => {
    if (!lists.length) return [];
    const items = await service.find(text, lists[0].model.name, limit, signal);
    lists[0].catalogue.remember(items);
    return items;
  },
  onPick: ({ id }) => goTo([...clicks, id]),
});

const titleOf = (id) => lists.map((list) => list.catalogue.title(id)).find((title) => title !== null) ?? id;
const unknownTo = (id) => lists.filter((list) => list.catalogue.isUnknown(id)).map((list) => list.model.name);

function drawSession() {
  const unknown = new Set(clicks.filter((id) => unknownTo(id).length === lists.length));
  graph.draw(clicks, titleOf, unknown);
  clickList.draw(clicks, titleOf, unknownTo);
  by("clicks-heading").hidden = by("legend").hidden = by("clear").hidden = !clicks.length;
  by("copy").hidden = !clicks.length || !navigator.clipboard;
  look(...looked);
}

/** Show which clicks an item on a list looked at; nothing for null. */
function look(list, id) {
  looked = [list, id];
  const weights = list !== null && id !== null ? list.weights(id) : null;
  graph.highlight(weights);
  clickList.highlight(weights);
  for (const other of lists) other.mark(other === list ? id : null);
  by("why").classList.toggle("reason", id !== null);
  by("why").textContent = !clicks.length ? "" : id === null ? hint() : reason(list, id, weights);
}

function hint() {
  if (!lists.some((list) => list.model.can_explain)) return "";
  return touch
    ? "Tap a recommendation to see which clicks it looked at, and again to click it."
    : "Point at a recommendation to see which clicks it looked at. Click it to go on from there.";
}

function reason(list, id, weights) {
  if (weights === null) return list.whyNone();
  const shares = new Map();
  clicks.forEach((click, place) => shares.set(click, (shares.get(click) ?? 0) + (weights[place] ?? 0)));
  const most = [...shares].sort((one, other) => other[1] - one[1]).filter(([, share]) => share >= 0.005).slice(0, 3);
  const seen = most.map(([click, share]) => `${titleOf(click)} (${percent(share)})`).join(", ");
  return `${titleOf(id)}${lists.length > 1 ? `, on the list of ${list.model.name},` : ""} looked at ${seen || "no click"}.`;
}

/** Another session, or other models: into the address, and onto the page. */
function goTo(newClicks, names = lists.map((list) => list.model.name)) {
  const [model, other] = names;
  const fragment = writeFragment({ clicks: newClicks, model: models.length > 1 ? model : "", other: other ?? "" });
  history.pushState(null, "", fragment || location.pathname + location.search);
  show(newClicks, names);
}

function show(newClicks, names) {
  clicks = newClicks;
  if (JSON.stringify(names) !== JSON.stringify(lists.map((list) => list.model.name))) chooseModels(names);
  looked = [null, null];
  drawSession();
  for (const list of lists) list.refresh(clicks);
}

function chooseModels(names) {
  const kept = new Map(lists.map((list) => [list.model.name, list]));
  const on = { pick: (id) => goTo([...clicks, id]), look, learnt: drawSession, answered, failed };
  lists = names.map((name) => kept.get(name) ?? new ModelList(service, models.find((model) => model.name === name), on));
  for (const [name, list] of kept) if (!names.includes(name)) list.stop();
  by("lists").replaceChildren(...lists.map((list) => list.element));
  by("main").classList.toggle("two", lists.length > 1);
  const options = (chosen, first) => [...first, ...models.map(({ name }) => element("option", { value: name, selected: name === chosen }, name))];
  by("model").replaceChildren(...options(names[0], []));
  by("other").replaceChildren(...options(names[1], [element("option", { value: "" }, "none")]));
  by("models").hidden = models.length < 2;
}


function answered(list) {
  drawSession();
  const both = lists.length > 1 && lists.every(({ ids }) => ids !== null);
  for (const one of lists) if (one.ids !== null) one.compareWith(both ? lists.find((other) => other !== one) : null);
  const first = list.ids.length ? `, first ${titleOf(list.ids[0])}` : "";
  by("status").textContent = `${list.model.name}: ${list.ids.length} recommendations after ${clicks.length} clicks${first}. ${list.changed.textContent}`;
}

function failed(_, error) {
  if (error.status === 401) problem(error);
}

/** What keeps the whole page from working, and what a person can do about it. */
function problem(error) {
  by("problem").hidden = error === null;
  by("problem-words").textContent = error?.message ?? "";
  by("token-form").hidden = error?.status !== 401;
  by("retry").hidden = error?.status === 401;
}

function readAddress() {
  const asked = readFragment(location.hash);
  const known = new Set(models.map(({ name }) => name));
  const model = known.has(asked.model) ? asked.model : models[0].name;
  const other = known.has(asked.other) && asked.other !== model ? [asked.other] : [];
  show(asked.clicks, [model, ...other]);
}

async function start() {
  try {
    models = await service.models();
    problem(null);
    readAddress();
  } catch (error) {
    problem(error);
  }
}

by("models").addEventListener("change", () => {
  const [model, other] = [by("model").value, by("other").value];
  goTo(clicks, other && other !== model ? [model, other] : [model]);
});
by("models").addEventListener("submit", (event) => event.preventDefault());
by("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment is the session's
  by("lists").focus();
});
by("clear").addEventListener("click", () => {
  goTo([]);
  by("search").focus();
});
by("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(location.href).then(
    () => (by("status").textContent = "The link is copied."),
    () => (by("status").textContent = "The link could not be copied: copy the address instead."),
  );
  by("copy").textContent = by("status").textContent === "The link is copied." ? "Copied" : "Copy the address";
  setTimeout(() => (by("copy").textContent = "Copy link"), 1500);
});
by("retry").addEventListener("click", start);
by("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  service.token = by("token").value.trim();
  start();
});
addEventListener("popstate", () => models.length && readAddress());

start();
