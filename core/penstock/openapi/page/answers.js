// Answers: the parts in which they are shown.

import { el, segments } from "./elements.js";
import { colored, parsed, pretty } from "./json-text.js";

const MOST_CHUNKS = 1_000; // lines of a stream
export const MOST_SHOWN = 200_000; // characters of an answer
const MOST_KEPT = 64 * 2 ** 20; // bytes of an answer, to save it as a file

export const seconds = (ms) => (ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);
export const size = (count) =>
  count < 1024 ? `${count} B` : count < 2 ** 20 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 2 ** 20).toFixed(1)} MiB`;

export const chunks = (count) => (count === 1 ? "1 chunk" : `${count} chunks`);

export function timingOf(headers) {
  const found = {};
  for (const [, name, duration] of (headers.get("server-timing") ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g)) {
    found[name] = Number(duration);
  }
  return found;
}

export function saveButton(parts, media, isCut) {
  return el("button", {
    type: "button", class: "small",
    onclick() {
      const href = URL.createObjectURL(new Blob(parts, { type: media }));
      el("a", { href, download: `answer.${media.replace(/^.*\/(x-)?|\+.*$/g, "") || "bin"}` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10_000);
    },
  }, isCut ? `Save the first ${size(MOST_KEPT)}` : "Save");
}

/** A list of chunks, of which the last ones are shown, as lines or as one text. */
export function chunkList() {
  const list = el("ol", { class: "chunks paper", tabindex: "0", "aria-label": "Chunks" });
  const dropped = el("p", { class: "quiet", hidden: true }, `The last ${MOST_CHUNKS} are shown.`);
  const views = segments("View", { lines: "Chunks", joined: "Joined text" }, (view) => {
    list.classList.toggle("joined", view === "joined");
  });
  views.hidden = true;
  const began = performance.now();
  let count = 0;
  let waiting = [];
  let timer;
  const rowOf = ({ event, data, at }) => {
    const isText = data[0] === '"';
    if (isText) views.hidden = false;
    return el("li", {}, el("time", {}, `+${seconds(at)}`), event && el("b", {}, event), el("code", {}, data),
      isText && el("span", { class: "plain" }, parsed(data).value ?? data));
  };
  // A fast stream has more chunks than can be shown one by one, and must not wait for that.
  const flush = () => {
    clearTimeout(timer);
    timer = null;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...waiting.slice(-MOST_CHUNKS).map(rowOf));
    waiting = [];
    while (list.childElementCount > MOST_CHUNKS) list.firstChild.remove();
    dropped.hidden = count <= MOST_CHUNKS;
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  };
  return {
    node: el("div", { class: "answer" }, list, dropped), tools: views, count: () => count, flush,
    add({ event, data }) {
      waiting.push({ event, data, at: performance.now() - began });
      count++;
      timer ??= setTimeout(flush, 50);
    },
    clear() {
      waiting = [];
      count = 0;
      list.replaceChildren();
      flush();
    },
  };
}

/** Sinks show the body of an answer as it arrives: `push(text)`, and `end()`, which may return an error object. */
function chunkSink(split) {
  const list = chunkList();
  let rest = "";
  let failure;
  return {
    node: list.node, tools: list.tools, count: list.count,
    push(text) {
      rest += text;
      if (!text.includes("\n")) return;
      const found = split(rest);
      rest = found.rest;
      for (const { event, data } of found.chunks) {
        if (event === "end") continue;
        const error = (event === "error" || data.startsWith('{"error":')) && parsed(data).value;
        if (error && Object.keys(error).length === 1) failure = error.error;
        else list.add({ event, data });
      }
    },
    end() {
      list.flush();
      return failure;
    },
  };
}

const linesOf = (text) => {
  const lines = text.split("\n");
  const rest = lines.pop();
  return { rest, chunks: lines.filter(Boolean).map((data) => ({ data })) };
};

function eventsOf(text) {
  const blocks = text.split(/\r?\n\r?\n/);
  const rest = blocks.pop();
  const chunks = blocks.map((block) => {
    const fields = {};
    for (const line of block.split(/\r?\n/)) {
      const [, name, value] = /^([^:]+):? ?(.*)$/.exec(line) ?? [];
      if (name) fields[name] = name === "data" && "data" in fields ? `${fields.data}\n${value}` : value;
    }
    return fields;
  });
  return { rest, chunks: chunks.filter((fields) => "data" in fields) };
}

/** Yield the events in the body of a response, until it ends or breaks off. */
export async function* eventsIn(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const text = decoder.decode(value, { stream: true });
    rest += text;
    if (!text.includes("\n")) continue;
    const found = eventsOf(rest);
    rest = found.rest;
    yield* found.chunks;
  }
}

function textSink(media) {
  const paper = el("pre", { class: "paper", tabindex: "0", "aria-label": "Body" });
  let all = "";
  return {
    node: paper,
    push(text) {
      if (all.length > MOST_SHOWN) return;
      all += text;
      if (!isJson(media)) paper.append(text.slice(0, MOST_SHOWN));
    },
    end() {
      const isWhole = all.length <= MOST_SHOWN;
      if (isJson(media)) {
        let shownText = all.slice(0, MOST_SHOWN);
        if (isWhole && !parsed(all).fault) shownText = pretty(all);
        paper.replaceChildren(isWhole ? colored(shownText) : shownText);
      }
      if (!isWhole) paper.append(" …");
      if (!all) paper.replaceWith(el("p", { class: "quiet" }, "The body is empty."));
    },
  };
}

function mediaSink(media, parts) {
  const node = el("div", { class: "paper" });
  return {
    node,
    push() {},
    end() {
      const src = URL.createObjectURL(new Blob(parts, { type: media }));
      if (media.startsWith("image/")) node.append(el("img", { src, alt: "The answer" }));
      else if (media.startsWith("audio/")) node.append(el("audio", { src, controls: true }));
      else node.append("Bytes, to be saved as a file.");
    },
  };
}

const isJson = (media) => /[/+]json$/.test(media);

export function sinkFor(media, parts) {
  if (media === "application/x-ndjson") return chunkSink(linesOf);
  if (media === "text/event-stream") return chunkSink(eventsOf);
  if (isJson(media) || media.startsWith("text/") || media === "") return textSink(media);
  return mediaSink(media, parts);
}

export const mediaOf = (response) => (response.headers.get("content-type") ?? "").split(";")[0].trim();

/** Read a body into a sink, and into `parts`; return a message if it breaks off. */
export async function readBody(response, sink, parts, facts) {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  let total = 0;
  try {
    for (let piece; reader && !(piece = await reader.read()).done; ) {
      total += piece.value.length;
      if (total <= MOST_KEPT) parts.push(piece.value);
      else facts.isCut = true;
      sink.push(decoder.decode(piece.value, { stream: true }));
      facts.update(total);
    }
  } catch {
    return "The answer broke off before its end; the server's log may have the reason.";
  }
  return null;
}

/** A problem document, with the fields that it complains about marked in the form. */
export function problemNode(problem, view) {
  const items = (problem.errors ?? []).map(({ path, reason }) => {
    const field = view.mark(path, reason);
    const name = field?.focus ? el("button", { type: "button", class: "small", onclick: () => field.focus() }, path) : el("code", {}, path);
    return el("li", {}, name, " ", reason);
  });
  const code = (problem.type ?? "").replace("urn:penstock:", "");
  return el("div", { class: "failure" },
    el("p", {}, el("b", {}, problem.title ?? "Error"), " ", code && el("code", { class: "quiet" }, code)),
    el("p", {}, problem.detail ?? ""), el("ul", {}, items));
}
