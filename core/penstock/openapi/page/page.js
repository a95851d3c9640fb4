// The page at /docs. It reads openapi.json beside it and builds the rest: a list, a form for each operation, the answers.

import { api, describe, root } from "./api.js";
import { $, el } from "./elements.js";
import { parsed } from "./json-text.js";
import { keyHeader, showKey } from "./keys.js";
import { View } from "./operation.js";
import { resolve } from "./schemas.js";

const views = new Map(); // what has been built, by operation
let shown;

function operations() {
  const found = [];
  for (const [path, item] of Object.entries(api.paths ?? {})) {
    for (const method of ["get", "post", "put", "patch", "delete"]) {
      const operation = item[method];
      if (!operation) continue;
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
      found.push({ id: operation.operationId ?? `${method}:${path}`, path, method: method.toUpperCase(), operation, parameters });
    }
  }
  return found;
}

function list(found) {
  const rows = found.map(({ id, method, path, operation }) => {
    const title = operation.summary ?? operation.description?.split("\n")[0];
    const link = el("a", { href: `#${encodeURIComponent(id)}`, title }, el("span", { class: "method" }, method),
      el("code", {}, path.split(/(?<=\/)/).flatMap((part) => [part, el("wbr")])));
    return el("li", {}, link);
  });
  const filter = el("input", { type: "search", placeholder: "Filter", "aria-label": "Filter the endpoints" });
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  $("endpoints").replaceChildren(el("div", {}, rows.length > 10 ? filter : "", el("ul", {}, rows)));
}

function route(found, isFirst) {
  const one = found.find(({ id }) => location.hash === `#${encodeURIComponent(id)}`) ?? found[0];
  if (!views.has(one.id)) views.set(one.id, new View(one));
  shown = views.get(one.id);
  $("main").replaceChildren(shown.node);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${encodeURIComponent(one.id)}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${one.path} · ${api.info?.title ?? "API"}`;
  if (!isFirst) shown.heading.focus({ preventScroll: true });
  shown.refresh();
}

function fail(text, again = load) {
  $("main").replaceChildren(el("p", { class: "failure", role: "alert" }, text),
    el("p", {}, el("button", { type: "button", onclick: again }, "Try again")));
}

async function load() {
  let response;
  try {
    const headers = keyHeader().map(([name, value]) => [name, value]);
    response = await fetch(new URL("openapi.json", root), { headers, cache: "no-cache" });
  } catch {
    return fail("The server does not answer. It may have stopped.");
  }
  if (response.status === 401 || response.status === 403) {
    showKey(true);
    $("secret").focus();
    return fail("This server describes its API to those with a key. Enter yours above, and press Enter.");
  }
  const { value, fault } = parsed(await response.text());
  if (!response.ok || fault) return fail(`The description of the API cannot be read: ${fault ?? `status ${response.status}`}`);
  describe(value);
  start();
}

function start() {
  $("title").replaceChildren(api.info?.title ?? "API", " ", el("small", {}, api.info?.version ?? ""));
  showKey(Object.keys(api.components?.securitySchemes ?? {}).length > 0);
  const found = operations();
  if (!found.length) return fail("This app has no endpoints yet.");
  list(found);
  addEventListener("hashchange", () => route(found));
  route(found, true);
}

$("key").addEventListener("input", () => shown?.refresh());

addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    shown?.submit();
  } else if (event.key === "Escape") shown?.cancel();
  else if (event.key === "Enter" && event.target.id === "secret" && !api) load();
});

load();
