// Elements of the page. What a server sends is only ever put into text nodes.

export const $ = (id) => document.getElementById(id);

/** Make an element: attributes, `on...` for listeners, and children, which are elements or text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

let serial = 0;
export const newId = () => `e${++serial}`;

/** A choice of few, as radio buttons in a row. */
export function segments(legend, options, onchange) {
  const name = newId();
  const inputs = Object.entries(options).map(([value, label], place) => {
    const input = el("input", { type: "radio", name, value, checked: place === 0, onchange: () => onchange(value) });
    return el("label", {}, input, el("span", {}, label));
  });
  return el("div", { class: "segments", role: "radiogroup", "aria-label": legend }, inputs);
}
