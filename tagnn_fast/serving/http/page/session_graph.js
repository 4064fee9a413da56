// The graph of a session, and where its nodes stand.

/**
 * A node for each item, in order of first click, with the places of its clicks; an edge for each pair of items that
 * follow each other, with how often they do, and when they first and last did.
 */
export function sessionGraph(clicks) {
  const nodes = new Map();
  const edges = new Map();
  clicks.forEach((id, place) => {
    if (!nodes.has(id)) nodes.set(id, { id, places: [] });
    nodes.get(id).places.push(place);
    if (place === 0) return;
    const from = clicks[place - 1];
    const key = JSON.stringify([from, id]);
    if (!edges.has(key)) edges.set(key, { from, to: id, count: 0, first: place, last: place });
    const edge = edges.get(key);
    edge.count++;
    edge.last = place;
  });
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

export const RADIUS = 21;
const TOP = 56;
const ROW = 128;
const ODD = 50; // every second column stands lower, so that an edge along a row passes its nodes

/** Places of nodes on a grid as wide as the picture: a node that has a place keeps it, whatever comes after. */
export class Layout {
  #slots = new Map(); // by id: column and row

  constructor(width) {
    this.width = width;
    this.columns = Math.max(2, Math.min(6, Math.floor(width / 112)));
  }

  /** Give each node a place, by the clicks up to its first; nodes no longer in the graph give theirs up. */
  place(graph) {
    const present = new Set(graph.nodes.map((node) => node.id));
    for (const id of [...this.#slots.keys()]) if (!present.has(id)) this.#slots.delete(id);
    for (const { id, places } of graph.nodes) {
      if (this.#slots.has(id)) continue;
      const edges = graph.edges.filter(({ from, to, first }) => first < places[0] && this.#slots.has(from) && this.#slots.has(to));
      const before = graph.edges.find(({ first }) => first === places[0])?.from ?? null;
      this.#slots.set(id, this.#best(before, edges));
    }
  }

  /** Where a node stands. */
  point(id) {
    const { column, row } = this.#slots.get(id);
    return this.#at(column, row);
  }

  get height() {
    const lowest = Math.max(0, ...[...this.#slots.keys()].map((id) => this.point(id).y));
    return lowest + RADIUS + 46;
  }

  #at(column, row) {
    const step = this.width / this.columns;
    return { x: step * (column + 0.5), y: TOP + row * ROW + (column % 2 ? ODD : 0) };
  }

  /** The free place near to the node before, by an edge that crosses little. */
  #best(before, edges) {
    const slots = [...this.#slots.values()];
    const taken = new Set(slots.map(({ column, row }) => `${column} ${row}`));
    const there = before === null ? null : this.point(before);
    const rows = Math.max(-1, ...slots.map(({ row }) => row)) + 2; // the last one is free
    const near = before === null ? 0 : Math.max(0, this.#slots.get(before).row - 2);
    const points = [...this.#slots.keys()].map((id) => this.point(id));
    const segments = edges.map(({ from, to }) => [this.point(from), this.point(to)]);
    let best = null;
    for (let row = near; row < rows && (row < near + 5 || best === null); row++) {
      for (let column = 0; column < this.columns; column++) {
        if (taken.has(`${column} ${row}`)) continue;
        const here = this.#at(column, row);
        let cost = 60 * row + column;
        if (there !== null) {
          cost += Math.hypot(here.x - there.x, here.y - there.y) + (here.x < there.x ? 8 : 0);
          for (const point of points) if (point.x !== there.x || point.y !== there.y) cost += distance(point, here, there) < 40 ? 150 : 0;
          for (const [one, two] of segments) cost += cross(here, there, one, two) ? 80 : 0;
        }
        if (best === null || cost < best.cost) best = { cost, column, row };
      }
    }
    return { column: best.column, row: best.row };
  }
}

/** Distance of a point from a segment. */
export function distance(point, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy || 1;
  const share = Math.max(0, Math.min(1, ((point.x - from.x) * dx + (point.y - from.y) * dy) / length));
  return Math.hypot(point.x - from.x - share * dx, point.y - from.y - share * dy);
}

/** Whether two segments cross, other than in a common end. */
function cross(a, b, c, d) {
  const side = (p, q, r) => Math.sign((q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x));
  return side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
}
