// What a person looks at: the clicks and the models. It stands in the fragment of the address, so that it can be sent on.

/** Clicks and names of models in an address's fragment; what cannot be read is left out. */
export function readFragment(fragment) {
  const fields = new Map(
    fragment
      .replace(/^#/, "")
      .split("&")
      .map((field) => [field.slice(0, field.indexOf("=")), field.slice(field.indexOf("=") + 1)]),
  );
  const clicks = (fields.get("session") ?? "").split(",").filter(Boolean).map(decoded).filter(Boolean);
  return { clicks, model: decoded(fields.get("model") ?? ""), other: decoded(fields.get("with") ?? "") };
}

export function writeFragment({ clicks, model, other }) {
  const fields = [];
  if (clicks.length) fields.push(`session=${clicks.map(encodeURIComponent).join(",")}`);
  if (model) fields.push(`model=${encodeURIComponent(model)}`);
  if (other) fields.push(`with=${encodeURIComponent(other)}`);
  return fields.length ? `#${fields.join("&")}` : "";
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** How one list of clicks became another: by one more click, by one less, or otherwise. */
export function stepBetween(before, after) {
  const [shorter, longer] = before.length < after.length ? [before, after] : [after, before];
  if (longer.length - shorter.length !== 1) return { kind: "other" };
  let place = 0;
  while (place < shorter.length && shorter[place] === longer[place]) place++;
  if (shorter.slice(place).some((id, index) => id !== longer[place + 1 + index])) return { kind: "other" };
  return { kind: longer === after ? "clicked" : "taken back", id: longer[place] };
}

/** What became of a list: for each of its items how many places it rose, or null for a new one; and what is gone. */
export function changesBetween(before, after) {
  const old = new Map(before.map((id, place) => [id, place]));
  const rose = after.map((id, place) => (old.has(id) ? old.get(id) - place : null));
  const kept = new Set(after);
  return { rose, gone: before.filter((id) => !kept.has(id)) };
}
