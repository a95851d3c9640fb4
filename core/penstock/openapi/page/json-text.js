// JSON as text: numbers of any size survive, since nothing turns them into JavaScript's.

import { el } from "./elements.js";

export const TOKEN = /"(?:[^"\\]+|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g;

/** Lay valid JSON out for reading: what fits is on one line, and so is a list of plain values. */
export function pretty(json, width = 80) {
  const tokens = json.match(TOKEN);
  let place = 0;
  const value = (indent) => {
    const open = tokens[place++];
    if (open !== "{" && open !== "[") return open;
    const close = open === "{" ? "}" : "]";
    const inner = `${indent}  `;
    const items = [];
    while (tokens[place] !== close) {
      if (tokens[place] === ",") place++;
      const name = open === "{" ? `${tokens[(place += 2) - 2]}: ` : "";
      items.push(name + value(inner));
    }
    place++;
    const line = open + items.join(", ") + close;
    const isPlain = open === "[" && !items.some((item) => "{[".includes(item[0]));
    if (isPlain || (indent.length + line.length <= width && !line.includes("\n"))) return line;
    return `${open}\n${inner}${items.join(`,\n${inner}`)}\n${indent}${close}`;
  };
  try {
    return value("");
  } catch {
    return json; // nested too deeply
  }
}

export function colored(json) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const { 0: token, index } of json.matchAll(TOKEN)) {
    const isName = json[index + token.length] === ":";
    const kind = token[0] === '"' ? (isName ? null : "s") : /^[\w-]/.test(token) ? "n" : null;
    if (!kind) continue;
    fragment.append(json.slice(end, index), el("span", { class: kind }, token));
    end = index + token.length;
  }
  fragment.append(json.slice(end));
  return fragment;
}

export function parsed(text) {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { fault: `This is not JSON: ${error.message}.` };
  }
}
