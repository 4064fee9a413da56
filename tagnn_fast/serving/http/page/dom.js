// Elements, made one way everywhere: texts are texts and never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes and children; texts among these are shown as they are. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same of SVG. */
export function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Let arrow keys, Home and End move the focus among buttons of a list, which is one stop for Tab. */
export function roveIn(list, selector) {
  const buttons = () => [...list.querySelectorAll(selector)];
  list.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(event.target);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, next))].focus();
  });
  list.addEventListener("focusin", (event) => {
    if (event.target.matches(selector)) for (const button of buttons()) button.tabIndex = button === event.target ? 0 : -1;
  });
}

/** Make one button of a list its stop for Tab, after the list was filled; focus it where the focus had been inside. */
export function settleFocus(list, selector, place, focus) {
  const all = [...list.querySelectorAll(selector)];
  const chosen = all[Math.max(0, Math.min(all.length - 1, place))];
  for (const button of all) button.tabIndex = button === chosen ? 0 : -1;
  if (focus && chosen) chosen.focus();
}

export const percent = (share) => `${Math.round(100 * share)}%`;
