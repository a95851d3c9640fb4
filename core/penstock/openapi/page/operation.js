// One operation: its form, its calls, its answers.

import { MOST_SHOWN, chunks, mediaOf, problemNode, readBody, saveButton, seconds, sinkFor, size, timingOf } from "./answers.js";
import { root } from "./api.js";
import { BODIES, editorFor, editors } from "./bodies.js";
import { asCurl, asPython } from "./calls.js";
import { el, newId, segments } from "./elements.js";
import { Unfit, makeField, markAt, pairsOf, unmark } from "./fields.js";
import { parsed } from "./json-text.js";
import { Job, PREFER, isJob, isPrefer, takesJobs } from "./jobs.js";
import { keyHeader, showKey } from "./keys.js";
import { notation, resolve } from "./schemas.js";

const DEADLINE = "X-Request-Timeout";

export class View {
  constructor({ path, method, operation, parameters }) {
    Object.assign(this, { path, method, operation });
    this.isStream = hasStream(operation);
    const usable = parameters.filter(({ name, in: where }) => where !== "cookie" && name.toLowerCase() !== "accept");
    this.deadline = usable.find(({ name }) => name.toLowerCase() === DEADLINE.toLowerCase());
    // One field is enough for a deadline, which has other headers too.
    const isDeadline = ({ name, in: where }) => this.deadline && where === "header" && /timeout/i.test(name);
    this.takesJobs = takesJobs(operation, usable);
    const hasControl = (parameter) => isDeadline(parameter) || (this.takesJobs && isPrefer(parameter));
    this.parameters = usable.filter((parameter) => !hasControl(parameter)).map((parameter) => ({
      ...parameter,
      field: makeField({ description: parameter.description, ...parameter.schema }, {
        label: parameter.name, isRequired: parameter.required ?? parameter.in === "path",
      }),
    }));
    this.answer = el("section", { class: "answer", "aria-label": "Answer" });
    this.said = el("p", { class: "note", role: "status" }, "The answer will be here.");
    this.editors = this.makeEditors();
    this.node = this.build();
    this.node.addEventListener("input", () => this.refresh());
    this.node.addEventListener("change", () => this.refresh());
    this.refresh();
  }

  makeEditors() {
    const content = resolve(this.operation.requestBody).content ?? {};
    return Object.entries(content).map(([media, { schema }]) => ({ media, ...editors[editorFor(media)](schema) }));
  }

  build() {
    const { operation } = this;
    const of = (...places) => this.parameters.filter(({ in: place }) => places.includes(place)).map(({ field }) => field.node);
    const headers = of("header");
    const about = [operation.summary, operation.description].filter(Boolean).join("\n\n");
    this.send = el("button", { class: "main" }, "Send");
    this.stop = el("button", { type: "button", disabled: true, onclick: () => this.cancel() }, "Cancel");
    this.limit = el("input", { inputmode: "decimal", autocomplete: "off", placeholder: "none", id: newId() });
    this.body = el("div", { class: "fields" });
    this.bar = el("div", { class: "bar" });
    this.framing = this.makeFraming();
    const form = el("form", { novalidate: true, onsubmit: (event) => this.submit(event) },
      el("div", { class: "fields" }, of("path", "query"), this.editors.length ? this.bar : null, this.body),
      headers.length ? el("details", {}, el("summary", {}, "Headers"), el("div", { class: "fields" }, headers)) : null,
      el("div", { class: "options" }, this.takesJobs && this.kinds(), this.framing,
        this.deadline && el("label", { title: `${DEADLINE}, in seconds` }, "Deadline", this.limit, "s")),
      el("div", { class: "actions" }, this.send, this.stop, el("small", {}, "Ctrl+Enter sends, Escape cancels")));
    this.choose(0);
    this.heading = el("h2", { tabindex: "-1" }, el("span", { class: "method" }, this.method), el("code", {}, this.path));
    return el("article", {}, this.heading, about && el("p", { class: "about" }, about),
      el("div", { class: "columns" }, form, el("div", {}, this.said, this.answer, this.calls())), this.schemas());
  }

  /** The choice between a call that is waited for and a background job. */
  kinds() {
    const choice = segments("Send as", { call: "Call", job: "Background job" }, (kind) => {
      this.asJob = kind === "job";
      if (this.framing) this.framing.hidden = this.asJob; // the document of a job is JSON
    });
    return el("span", { class: "bar" }, "Send as", choice);
  }

  makeFraming() {
    const media = Object.keys(this.responses().content ?? {});
    const both = media.includes("text/event-stream") && media.includes("application/x-ndjson");
    if (!both) return null;
    const choice = segments("Stream as", { "application/x-ndjson": "NDJSON", "text/event-stream": "SSE" }, (accept) => {
      this.accept = accept;
    });
    return el("span", { class: "bar" }, "Stream as", choice);
  }

  responses() {
    const found = this.operation.responses ?? {};
    return resolve(found[Object.keys(found).find((status) => status.startsWith("2"))]);
  }

  choose(place) {
    const editor = (this.editor = this.editors[place]);
    if (!editor) return;
    const select = el("select", { class: "small", "aria-label": "Kind of body", onchange: () => this.choose(select.selectedIndex) },
      this.editors.map(({ media }) => el("option", { title: media }, BODIES[media] ?? media)));
    select.selectedIndex = place;
    const hasFocus = this.bar.contains(document.activeElement);
    this.bar.replaceChildren(this.editors.length > 1 ? select : el("h3", {}, editor.media), editor.bar ?? "");
    if (hasFocus) select.focus();
    this.body.replaceChildren(editor.node);
  }

  calls() {
    const paper = el("pre", { class: "paper", tabindex: "0", "aria-label": "The same call" });
    let write = asCurl;
    this.refresh = () => {
      try {
        const call = write(this.request(true));
        paper.textContent = call.length > MOST_SHOWN ? "The call is too long to be shown." : call;
      } catch (error) {
        paper.textContent = error.message;
      }
    };
    const choice = segments("The same call in", { curl: "curl", python: "Python" }, (value) => {
      write = value === "curl" ? asCurl : asPython;
    });
    const copy = el("button", { type: "button", class: "small" }, "Copy");
    copy.addEventListener("click", async () => {
      getSelection().selectAllChildren(paper);
      await navigator.clipboard?.writeText(paper.textContent).then(() => {
        copy.textContent = "Copied";
        setTimeout(() => (copy.textContent = "Copy"), 1500);
      }, () => {});
    });
    return el("section", { class: "fields", "aria-label": "The same call" },
      el("div", { class: "bar" }, el("h3", {}, "The same call"), el("span", { class: "bar" }, choice, copy)), paper);
  }

  schemas() {
    const responses = Object.entries(this.operation.responses ?? {}).map(([status, response]) => [status, resolve(response)]);
    const isGood = ([status]) => status.startsWith("2");
    const good = responses.filter(isGood);
    const item = (status) => (this.isStream && status === good[0]?.[0] ? ", each item" : "");
    const contents = [["Body", resolve(this.operation.requestBody)], ...good];
    const errors = responses.filter((each) => !isGood(each)).map(([status, { description = "" }]) =>
      `${status}  ${description.replaceAll("`", "")}`);
    const section = (title, text) => el("div", { class: "fields" }, el("h3", {}, title), el("pre", { class: "paper" }, text));
    return el("details", {}, el("summary", {}, "Schemas"), el("div", { class: "fields" },
      contents.flatMap(([title, { content = {} }]) => {
        const types = Object.groupBy(Object.keys(content), (media) => notation(content[media].schema));
        return Object.entries(types).map(([text, media]) =>
          section(`${title}${item(title)}: ${media.join(" or ")}`, text));
      }),
      errors.length > 0 && section("Errors", errors.join("\n"))));
  }

  /** What the form says: { method, url, headers, key, body, isStream, isJob }. */
  request(isDraft = false) {
    const query = new URLSearchParams();
    const headers = [];
    let path = this.path;
    for (const { name, in: where, field } of this.parameters) {
      for (const [, value] of pairsOf(name, field, isDraft)) {
        if (where === "query") query.append(name, value);
        else if (where === "header") headers.push([name, value]);
        else if (value === "" && !isDraft) throw new Unfit(field, "A value is needed here.");
        else path = path.replace(`{${name}}`, encodeURIComponent(value));
      }
    }
    const url = new URL(path.replace(/^\//, "./"), root).href + (query.size ? `?${query}` : "");
    const body = this.editor ? this.editor.make(this.editor.media, isDraft) : { kind: "none" };
    if (body.media) headers.push(["Content-Type", body.media]);
    if (this.asJob) headers.push(PREFER);
    else if (this.accept) headers.push(["Accept", this.accept]);
    if (this.limit.value.trim()) headers.push([DEADLINE, this.limit.value.trim()]);
    const isStream = this.isStream && !this.asJob;
    return { method: this.method, url, headers, key: keyHeader(this.operation), body, isStream, isJob: this.asJob };
  }

  /** Mark what an error is about; return the field, or an object with its `focus`. */
  mark(path, message) {
    if (path.toLowerCase() === DEADLINE.toLowerCase() && this.deadline) {
      this.limit.setAttribute("aria-invalid", "true");
      return this.limit;
    }
    const name = path.replace(/^\$\.?/, "");
    const parameter = this.parameters.find((one) => one.name.toLowerCase() === name.toLowerCase());
    if (parameter) {
      parameter.field.mark(message);
      return parameter.field;
    }
    return this.editor && markAt(this.editor.field(), path, message);
  }

  cancel() {
    if (this.job) this.job.cancel();
    else if (this.mayBeJob && !this.isUnwanted) this.isUnwanted = true; // a job is cancelled by its id, which is not known yet
    else this.controller?.abort();
  }

  async submit(event) {
    event?.preventDefault();
    if (this.controller && !this.job) return;
    unmark();
    this.limit.removeAttribute("aria-invalid");
    let request;
    try {
      request = this.request();
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      error.field.mark(error.message);
      error.field.focus();
      return;
    }
    const unfit = [...request.headers, ...request.key].find(([, value]) => !/^[\t -~]*$/.test(value));
    if (unfit) return this.say(`${unfit[0]} has characters that a header cannot carry.`, true);
    await this.leaveJob();
    if (!this.controller) await (this.running = this.run(request));
  }

  /** Stop following a job, which goes on. */
  async leaveJob() {
    if (this.job) this.controller.abort();
    await this.running;
  }

  async run(request) {
    this.answer.replaceChildren();
    this.say("Waiting for the answer …");
    this.controller = new AbortController();
    this.mayBeJob = request.isJob;
    this.isUnwanted = false;
    this.stop.disabled = false;
    const began = performance.now();
    const ticks = setInterval(() => (this.answer.childElementCount ? null : this.tick(began)), 100);
    try {
      await this.exchange(request, began);
    } finally {
      clearInterval(ticks);
      if (document.activeElement === this.stop) this.send.focus();
      this.stop.disabled = true;
      this.controller = this.job = null;
    }
  }

  async follow(response, key) {
    const { signal } = this.controller;
    const say = (text) => this.announce(text);
    this.job = new Job(await response.json(), { key, signal, say, problem: (parts) => this.problem(parts) });
    this.answer.replaceChildren(this.job.node);
    if (this.isUnwanted) this.job.cancel();
    const failure = await this.job.follow();
    if (failure) this.say(failure, true);
  }

  /** Say something to those who do not see the page. */
  announce(text) {
    this.say(text);
    this.said.className = "unseen";
  }

  say(text, isBad = false) {
    this.said.className = isBad ? "failure" : "note";
    this.said.replaceChildren(text);
  }

  tick(began) {
    let clock = this.said.querySelector("span");
    if (!clock) this.said.append(" ", (clock = el("span", { "aria-hidden": "true" })));
    clock.textContent = seconds(performance.now() - began);
  }

  async exchange({ method, url, headers, key, body }, began) {
    const { signal } = this.controller;
    let sink;
    let failure;
    try {
      const all = [...headers, ...key].map(([name, value]) => [name, value]);
      const response = await fetch(url, { method, headers: all, body: body.body, signal, cache: "no-store" });
      if (isJob(response)) return await this.follow(response, key);
      const parts = [];
      const media = mediaOf(response);
      sink = sinkFor(media, parts);
      const facts = this.show(response, sink, began);
      failure = await readBody(response, sink, parts, facts);
      const end = sink.end();
      facts.finish(parts, media, facts.isCut);
      if (media === "application/problem+json") this.answer.insertBefore(await this.problem(parts), sink.node);
      if (end) failure = `The stream failed: ${end.message ?? "no reason given"}${end.code ? ` (${end.code})` : ""}.`;
      if (!failure) return;
    } catch (error) {
      failure = sink ? `The answer cannot be shown: ${error.message}.`
        : `The server did not answer: ${error.message}. It may have stopped, or cannot be reached.`;
    }
    const after = seconds(performance.now() - began);
    const count = sink?.count ? `, with ${chunks(sink.count())}` : "";
    if (signal.aborted && this.mayBeJob) this.say(`Not answered for ${after}. The server may have stored the job, which then runs.`, true);
    else if (signal.aborted) this.say(`Cancelled after ${after}${count}.`);
    else this.say(`${failure} (after ${after}${count})`, true);
  }

  show(response, sink, began) {
    const { headers, ok, status, statusText } = response;
    const timing = timingOf(headers);
    const total = el("span");
    const line = el("p", { class: ok ? "status" : "status bad" }, el("strong", {}, `${status} ${statusText}`.trim()), total);
    const phases = el("div", { class: "phases", "aria-hidden": "true" }, ["queue", "exec", "rest"].map((name) => el("span", { class: name })));
    const legend = el("p", { class: "legend" }, [["queue", "in the queue"], ["exec", sink.count ? "to the first chunk" : "executing"]].map(
      ([name, label]) => name in timing && el("span", { class: name }, `${seconds(timing[name])} ${label}`)));
    const named = [["x-request-id", "Request id"], ["retry-after", "Retry after"]].filter(([name]) => headers.has(name));
    const facts = el("dl", { class: "facts" }, named.flatMap(([name, label]) =>
      [el("dt", {}, label), el("dd", {}, headers.get(name) + (name === "retry-after" ? " s" : ""))]));
    const rest = el("dl", { class: "facts" }, [...headers].flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    const tools = el("div", { class: "bar" }, el("h3", {}, headers.get("content-type") ?? "no body"), el("span", { class: "bar" }, sink.tools ?? ""));
    this.answer.replaceChildren(line, phases, legend, facts, tools, sink.node,
      el("details", {}, el("summary", {}, "Response headers"), rest));
    this.said.className = "unseen";
    const update = (bytes) => {
      const ms = performance.now() - began;
      total.textContent = `${seconds(ms)}${sink.count ? `, ${chunks(sink.count())}` : ""}, ${size(bytes)}`;
      const { queue = 0, exec = 0 } = timing;
      [queue, exec, Math.max(0, ms - queue - exec)].forEach((part, place) => (phases.children[place].style.flexGrow = part));
    };
    return {
      update,
      finish: (parts, media, isCut) => {
        if (!parts.length) update(0);
        if (parts.length) tools.lastChild.append(saveButton(parts, media, isCut));
        this.announce(`${line.firstChild.textContent}, ${total.textContent}`);
      },
    };
  }

  async problem(parts) {
    const { value } = parsed(await new Blob(parts).text());
    const node = problemNode(value ?? {}, this);
    if (value?.status === 401) showKey(true);
    return node;
  }
}

function hasStream(operation) {
  if (operation["x-stream"]) return true;
  return Object.values(operation.responses ?? {}).map(resolve).some((response) =>
    response["x-stream"] || Object.values(response.content ?? {}).some((media) => media["x-stream"] || media.schema?.["x-stream"]));
}
