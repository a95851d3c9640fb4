// Background jobs: a call with the header Prefer becomes one, which is followed by its events to its end.

import { chunkList, eventsIn, mediaOf, readBody, saveButton, seconds, sinkFor } from "./answers.js";
import { root } from "./api.js";
import { el } from "./elements.js";
import { parsed } from "./json-text.js";
import { resolve } from "./schemas.js";

const RESPOND_ASYNC = "respond-async";
const JOBS = "/v1/jobs/";
const MOST_FAILURES = 20; // connections in a row that bring no event
const LONGEST_PAUSE = 5_000; // milliseconds before the next one
const FAILED = ["failed", "timed_out", "cancelled", "expired"];

export const PREFER = ["Prefer", RESPOND_ASYNC];
export const isPrefer = ({ name, in: where }) => where === "header" && name.toLowerCase() === "prefer";

/** Return whether calls of an operation may become background jobs. */
export function takesJobs(operation, parameters) {
  const { headers = {} } = resolve(operation.responses?.["202"]);
  return parameters.some(isPrefer) && Object.keys(headers).some((name) => name.toLowerCase() === "preference-applied");
}

/** Return whether a call has become a background job, whose document is the body of the response. */
export const isJob = ({ status, headers }) =>
  status === 202 && (headers.get("preference-applied") ?? "").includes(RESPOND_ASYNC);

/**
 * A job that is followed: its element, and `cancel()`. `problem(parts)` returns the element of a problem document, `say(text)`
 * is for people who do not see the page, and `signal` ends the following, not the job.
 */
export class Job {
  constructor({ id, state, links }, { key, signal, problem, say }) {
    Object.assign(this, { links, signal, problem, say, last: 0, isOver: false });
    this.headers = key.map(([name, value]) => [name, value]);
    this.state = el("strong");
    this.clock = el("span");
    this.line = el("p", { class: "status" }, this.state, this.clock);
    this.times = el("div", { class: "answer" });
    this.bar = el("progress", { "aria-label": "Progress" });
    this.done = el("p", { class: "quiet" });
    this.progress = el("div", { class: "progress", hidden: true }, this.bar, this.done);
    this.facts = el("dl", { class: "facts" }, el("dt", {}, "Job"), el("dd", {}, id));
    this.fault = el("p", { class: "problem", role: "alert" });
    this.chunks = chunkList();
    this.tools = el("span", { class: "bar" }, this.chunks.tools);
    this.stream = el("div", { class: "answer" });
    this.body = el("div", { class: "answer" });
    this.node = el("div", { class: "answer" },
      this.line, this.times, this.progress, this.facts, this.fault, this.stream, this.body);
    this.state.textContent = state;
  }

  /** Request one of the job's links; return the response, or null if there is none. */
  ask(link, { headers = [], ...options } = {}) {
    // Behind a proxy, the prefix in the link may not be the one that the browser needs: only the page knows that.
    const path = this.links[link];
    const url = new URL(`.${path.slice(Math.max(0, path.lastIndexOf(JOBS)))}`, root);
    return fetch(url, { ...options, headers: [...this.headers, ...headers], signal: this.signal, cache: "no-store" })
      .catch(() => null);
  }

  async cancel() {
    if (this.isOver) return;
    const response = await this.ask("cancel", { method: "POST" });
    this.fault.textContent = response?.ok || this.signal.aborted ? ""
      : `The job was not cancelled: ${response ? `status ${response.status}` : "the server did not answer"}.`;
  }

  /** Show the job until it has ended; return a message if its end cannot be known. */
  async follow() {
    const began = performance.now();
    const tick = () => (this.clock.textContent = seconds(performance.now() - began));
    const ticks = setInterval(tick, 100);
    try {
      const failure = await this.readAllEvents();
      this.chunks.flush();
      if (this.isOver) await this.showResult(await this.ask("result"));
      return failure;
    } finally {
      clearInterval(ticks);
      tick();
      this.bar.hidden = true;
    }
  }

  async readAllEvents() {
    let failures = 0;
    while (!this.isOver && !this.signal.aborted) {
      const { last } = this;
      const response = await this.ask("events", { headers: last ? [["Last-Event-ID", String(last)]] : [] });
      if (response?.ok) await this.readEvents(response);
      else if (response?.status < 500) {
        await this.showBody(response);
        return `The job can no longer be followed: status ${response.status}.`;
      }
      failures = this.last > last ? 0 : failures + 1;
      if (failures > MOST_FAILURES) return "The server cannot be reached. The job does not need this page, and goes on.";
      if (failures && !this.isOver) {
        this.fault.textContent = "The connection broke off. Connecting again …";
        await this.pause(Math.min(failures * 1_000, LONGEST_PAUSE));
      }
    }
    return null;
  }

  pause(ms) {
    return new Promise((resume) => {
      setTimeout(resume, ms);
      this.signal.addEventListener("abort", resume, { once: true });
    });
  }

  async readEvents(response) {
    if (response.status === 204) this.isOver = true; // there is no event that was not read
    else for await (const event of eventsIn(response)) this.take(event);
  }

  take({ id, event, data }) {
    if (!(Number(id) > this.last)) return;
    this.last = Number(id);
    this.fault.textContent = "";
    const { value = {} } = parsed(data);
    if (event === "chunk") this.showChunk(data);
    else if (event === "restarted") this.chunks.clear();
    else if (event === "progress") this.showProgress(value);
    else if (value.state) {
      this.isOver = event === "end";
      this.show(value);
    }
  }

  show({ state, at, reason, cancel_requested: isUnwanted }) {
    if (!isUnwanted) this.note(state, Date.parse(at));
    const text = `${state.replaceAll("_", " ")}${isUnwanted ? ", cancelling …" : reason ? ` again: ${reason}` : ""}`;
    this.state.textContent = text;
    this.line.classList.toggle("bad", FAILED.includes(state));
    this.say(`Job ${text}`);
  }

  /** Note when the job has come into a state. Another engine may run it anew. */
  note(state, at) {
    if (state === "queued") this.queued ??= at;
    else if (state === "running") this.started = at;
    else if (this.started) this.showTimes([["queue", this.started - this.queued, "in the queue"], ["exec", at - this.started, "executing"]]);
    if (!this.isOver) this.progress.hidden = true;
  }

  showTimes(parts) {
    const phases = el("div", { class: "phases", "aria-hidden": "true" }, parts.map(([name]) => el("span", { class: name })));
    parts.forEach(([, ms], place) => (phases.children[place].style.flexGrow = ms));
    const legend = parts.map(([name, ms, label]) => el("span", { class: name }, `${seconds(ms)} ${label}`));
    this.times.replaceChildren(phases, el("p", { class: "legend" }, legend));
  }

  showChunk(data) {
    if (!this.chunks.count()) {
      const bar = el("div", { class: "bar" }, el("h3", {}, "Chunks"), this.tools);
      this.stream.replaceChildren(bar, this.chunks.node);
    }
    this.chunks.add({ data });
  }

  showProgress({ done, total, message }) {
    this.progress.hidden = false;
    this.bar.hidden = total == null;
    if (total != null) Object.assign(this.bar, { max: total, value: done });
    const amount = total == null ? short(done) : `${short(done)} of ${short(total)}`;
    this.done.textContent = [amount, message].filter(Boolean).join(" · ");
  }

  /** Show the endpoint's answer. */
  async showResult(response) {
    if (!response) this.fault.textContent = "The result cannot be read: the server did not answer.";
    else await this.showBody(response);
  }

  async showBody(response) {
    const media = mediaOf(response);
    const parts = [];
    const sink = sinkFor(media, parts);
    const facts = { update() {} };
    const failure = await readBody(response, sink, parts, facts);
    sink.end();
    this.fault.textContent = failure ?? "";
    const save = parts.length > 0 && saveButton(parts, media, facts.isCut);
    // The chunks of a stream are shown already.
    if (response.ok && this.chunks.count()) return this.tools.append(save || "");
    const tools = el("span", { class: "bar" }, sink.tools ?? "", save);
    if (media === "application/problem+json") this.body.append(await this.problem(parts));
    this.body.append(el("div", { class: "bar" }, el("h3", {}, media || "no body"), tools), sink.node);
  }
}

/** A number for people: one that is not whole is rounded. */
const short = (number) => (Number.isInteger(number) ? String(number) : String(Number(number.toPrecision(4))));
