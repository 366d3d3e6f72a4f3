// Helpers that create elements. None parses a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const find = (selector, root = document) => root.querySelector(selector);
export const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element: el("button", {class: "quiet", onclick: f}, "Text", child, ...). */
export function el(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name), attributes, children);
}

/** One of the page's symbols, drawn in the colour of the text around it. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true", viewBox: "0 0 20 20" }, svg("use", { href: `#i-${name}` }));
}

/** A meaning: sign and word, never colour alone. `level` is good, caution, problem or information. */
export function mark(level, text) {
  return el("span", { class: `mark ${level}` }, el("i", { "aria-hidden": "true" }), text);
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** Hand a file to the user. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Show a short note at the foot of the window; screen readers say it. */
export function note(text) {
  const place = find("#note");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(note.timer);
  note.timer = setTimeout(() => (place.hidden = true), 4000);
}
