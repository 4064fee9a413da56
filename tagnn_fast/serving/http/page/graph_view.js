// The session's graph as a picture: nodes by recency, steps as arrows, and which clicks a recommendation looked at.

import { percent, shape } from "./dom.js";
import { distance, Layout, RADIUS, sessionGraph } from "./session_graph.js";

const RECENCIES = 4; // shades, the last click's first

export class GraphView {
  #drawn = null; // arguments of the last drawing, for another width
  #layout = null;
  #nodes = new Map(); // by id: its group, ring and label of attention, and the places of its clicks

  constructor(svg, empty, words) {
    Object.assign(this, { svg, empty, words });
    new ResizeObserver(() => {
      if (this.#drawn && svg.clientWidth && svg.clientWidth !== this.#layout?.width) this.draw(...this.#drawn);
    }).observe(svg.parentElement);
  }

  /** Draw the graph of clicks; those of unknown items have a broken outline. */
  draw(clicks, titleOf, unknown) {
    this.#drawn = [clicks, titleOf, unknown];
    this.empty.hidden = clicks.length > 0;
    this.svg.toggleAttribute("hidden", clicks.length === 0);
    const width = this.svg.clientWidth || 480;
    if (this.#layout?.width !== width) this.#layout = new Layout(width);
    const graph = sessionGraph(clicks);
    this.#layout.place(graph);
    const height = this.#layout.height;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    const before = new Set(this.#nodes.keys());
    this.#nodes.clear();
    const edges = graph.edges.map((edge) => this.#edge(edge, graph, edge.last === clicks.length - 1));
    const nodes = graph.nodes.map((node) => this.#node(node, clicks, titleOf(node.id), unknown.has(node.id), !before.has(node.id)));
    this.svg.replaceChildren(...edges, ...nodes);
    this.words.textContent = described(graph, titleOf);
  }

  /** Show the weight of each click, or none of them. */
  highlight(weights) {
    this.svg.classList.toggle("explained", weights !== null);
    for (const { ring, label, group, places } of this.#nodes.values()) {
      const weight = weights === null ? 0 : places.reduce((sum, place) => sum + (weights[place] ?? 0), 0);
      ring.setAttribute("stroke-width", (2 + 9 * weight).toFixed(2));
      ring.setAttribute("r", (RADIUS + 4 + 4.5 * weight).toFixed(2));
      group.classList.toggle("looked-at", weights !== null && weight >= 0.005);
      label.textContent = weight >= 0.005 ? percent(weight) : "";
    }
  }

  #node({ id, places }, clicks, title, unknown, isNew) {
    const { x, y } = this.#layout.point(id);
    const last = places.at(-1);
    const recency = Math.min(RECENCIES - 1, clicks.length - 1 - last);
    const ring = shape("circle", { class: "ring", r: RADIUS + 4 });
    const label = shape("text", { class: "weight", y: -RADIUS - 16 });
    const lines = wrapped(title, Math.floor(this.#layout.width / this.#layout.columns / 7));
    const group = shape(
      "g",
      { class: `node recency-${recency}${unknown ? " unknown" : ""}${isNew ? " new" : ""}`, transform: `translate(${x} ${y})`, "data-id": id },
      shape("title", {}, title),
      ring,
      shape("circle", { class: "disc", r: RADIUS }),
      shape("text", { class: "order", y: 5 }, String(last + 1)),
      places.length > 1 ? shape("text", { class: "times", x: RADIUS + 3, y: -RADIUS + 7 }, `×${places.length}`) : null,
      label,
      ...lines.map((line, number) => shape("text", { class: "name", y: RADIUS + 17 + 15 * number }, line)),
    );
    this.#nodes.set(id, { group, ring, label, places });
    return group;
  }

  #edge({ from, to, count }, graph, isLast) {
    const one = this.#layout.point(from);
    const { path, tip, middle } = from === to ? loop(one) : this.#arc(one, this.#layout.point(to), graph, [from, to]);
    return shape(
      "g",
      { class: isLast ? "edge last" : "edge", "data-from": from, "data-to": to },
      shape("path", { class: "line", d: path }),
      shape("path", { class: "tip", d: "M0 0 -9 -4.5 -9 4.5Z", transform: `translate(${tip.x} ${tip.y}) rotate(${tip.angle})` }),
      count > 1 ? shape("text", { class: "count", x: middle.x, y: middle.y + 4 }, `×${count}`) : null,
    );
  }

  /** A bow from one node to another that keeps away from the others; there and back lie on different sides. */
  #arc(one, two, graph, ends) {
    const others = graph.nodes.filter(({ id }) => !ends.includes(id)).map(({ id }) => this.#layout.point(id));
    const length = Math.hypot(two.x - one.x, two.y - one.y);
    const normal = { x: -(two.y - one.y) / length, y: (two.x - one.x) / length };
    let best = null;
    for (const bend of [-0.14, 0.26, -0.34, 0.46, -0.56]) {
      const control = { x: (one.x + two.x) / 2 + bend * length * normal.x, y: (one.y + two.y) / 2 + bend * length * normal.y };
      const middle = at(0.5, one, control, two);
      const near = others.filter((point) => Math.min(distance(point, one, middle), distance(point, middle, two)) < RADIUS + 12).length;
      const outside = middle.y < 12 || middle.x < 12 || middle.x > this.#layout.width - 12 ? 1 : 0;
      const cost = 10 * (near + outside) + Math.abs(bend);
      if (best === null || cost < best.cost) best = { cost, control, middle };
    }
    const { control, middle } = best;
    const begin = toward(one, control, RADIUS + 3);
    const end = toward(two, control, RADIUS + 5);
    const angle = (Math.atan2(two.y - control.y, two.x - control.x) * 180) / Math.PI;
    return { path: `M${begin.x} ${begin.y}Q${control.x} ${control.y} ${end.x} ${end.y}`, tip: { ...end, angle }, middle };
  }
}

/** A bow from a node to itself, over its left shoulder. */
function loop({ x, y }) {
  const begin = { x: x - RADIUS - 2, y: y - 6 };
  const end = { x: x - 10, y: y - RADIUS - 4 };
  return {
    path: `M${begin.x} ${begin.y}C${x - 58} ${y - 16} ${x - 28} ${y - 58} ${end.x} ${end.y}`,
    tip: { ...end, angle: 66 },
    middle: { x: x - 46, y: y - 38 },
  };
}

function at(share, one, control, two) {
  const rest = 1 - share;
  const on = (axis) => rest * rest * one[axis] + 2 * rest * share * control[axis] + share * share * two[axis];
  return { x: on("x"), y: on("y") };
}

/** The point at a distance from one towards another. */
function toward(one, other, far) {
  const length = Math.hypot(other.x - one.x, other.y - one.y) || 1;
  const round = (value) => Math.round(value * 10) / 10;
  return { x: round(one.x + ((other.x - one.x) * far) / length), y: round(one.y + ((other.y - one.y) * far) / length) };
}

/** A title in at most two lines. */
function wrapped(title, width) {
  const lines = [""];
  for (const word of title.split(/\s+/)) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= width) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  const shown = lines.length > 2 ? [lines[0], `${lines[1]}…`] : lines;
  return shown.map((line) => (line.length > width + 1 ? `${line.slice(0, width)}…` : line));
}

function described({ nodes, edges }, titleOf) {
  if (!nodes.length) return "Session graph: empty";
  const steps = edges.map(({ from, to, count }) => `${titleOf(from)} to ${titleOf(to)}${count > 1 ? `, ${count} times` : ""}`);
  const items = nodes.map(({ id }) => titleOf(id)).join(", ");
  return `Session graph. Items: ${items}. Steps: ${steps.join("; ") || "none yet"}.`;
}
