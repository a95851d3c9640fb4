// The body of a request: one form for each media type that an operation takes.

import { el, segments } from "./elements.js";
import { makeField, pairsOf } from "./fields.js";
import { pretty } from "./json-text.js";
import { shapeOf } from "./schemas.js";

export const editors = {
  json(schema) {
    const shape = shapeOf(schema);
    const form = makeField(schema, { label: shape.schema.$name ?? "body" });
    const isOpen = shape.kind === "object" && !shape.isNullable;
    const raw = makeField({ description: "" }, { label: "body" });
    const fields = isOpen ? el("div", { class: "fields" }, [...form.fields.values()].map((field) => field.node)) : form.node;
    if (isOpen && !form.fields.size) fields.append(el("p", { class: "note" }, "It takes no input."));
    const fault = el("p", { class: "problem", role: "alert" });
    raw.inputs[0].classList.add("whole");
    raw.node.hidden = true;
    let isRaw = false;
    const change = (mode) => {
      fault.textContent = "";
      try {
        if (mode === "raw") raw.inputs[0].value = pretty(form.text(true) ?? "null");
        else form.set(JSON.parse(raw.text()));
      } catch (error) {
        fault.textContent = error.message;
        bar.querySelector(`[value=${isRaw ? "raw" : "form"}]`).checked = true;
        return;
      }
      isRaw = mode === "raw";
      fields.hidden = isRaw;
      raw.node.hidden = !isRaw;
    };
    const bar = segments("Editor", { form: "Fields", raw: "Text" }, change);
    const inUse = () => (isRaw ? raw : form);
    return {
      bar, node: el("div", {}, fields, raw.node, fault), field: inUse,
      make: (media, isDraft) => ({ kind: "json", media, body: inUse().text(isDraft) ?? "null" }),
    };
  },
  pairs(schema) {
    const form = makeField(schema, { label: "form" });
    const fields = [...(form.fields ?? [])];
    return {
      node: el("div", { class: "fields" }, fields.map(([, field]) => field.node)), field: () => form,
      make(media, isDraft) {
        const pairs = fields.flatMap(([name, field]) => pairsOf(name, field, isDraft));
        if (media.startsWith("multipart/")) {
          const body = new FormData();
          for (const [name, value] of pairs) body.append(name, value);
          return { kind: "multipart", media: null, pairs, body };
        }
        return { kind: "pairs", media, pairs, body: new URLSearchParams(pairs).toString() };
      },
    };
  },
  bytes() {
    const file = makeField({ type: "string", format: "binary" }, { label: "body", isRequired: false });
    const text = makeField({ type: "string" }, { label: "or as text", isRequired: false });
    return {
      node: el("div", { class: "fields" }, file.node, text.node), field: () => file,
      make(media) {
        const [chosen] = file.files();
        return { kind: "bytes", media, file: chosen, body: chosen ?? text.inputs[0].value };
      },
    };
  },
};

export const editorFor = (media) =>
  /[/+]json$/.test(media) ? "json" : /^(multipart\/|application\/x-www-form)/.test(media) ? "pairs" : "bytes";

export const BODIES = {
  "application/json": "JSON",
  "application/x-www-form-urlencoded": "URL-encoded form",
  "multipart/form-data": "Multipart form",
  "application/octet-stream": "Bytes",
};
