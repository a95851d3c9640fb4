// The fields of a form, one for each kind of schema.

import { el, newId } from "./elements.js";
import { parsed, pretty } from "./json-text.js";
import { limitsOf, shapeOf, typeName } from "./schemas.js";

const marked = new Set(); // fields in which something is wrong

/** Remove the marks from all fields. */
export function unmark() {
  for (const field of marked) field.mark("");
  marked.clear();
}

/** A mistake in a form that is noticed here; the server finds all others. */
export class Unfit extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/**
 * A field: its element; `text()` returns JSON, or undefined to leave it out; `set(value)` shows a value.
 * `text(true)` makes something up for what is missing. `at(step)` is the field within it.
 */
export function makeField(given, { label, isRequired = true, depth = 0 }) {
  const field = { ...shapeOf(given), id: newId(), label, isRequired, depth };
  if (field.kind === "tuple" && !isRequired) field.kind = "any";
  const note = el("p", { class: "problem", id: `${field.id}p`, hidden: true });
  const hint = el("p", { class: "hint quiet", id: `${field.id}h` }, hintOf(field));
  field.mark = (message) => {
    if (message) marked.add(field);
    note.textContent = message;
    note.hidden = !message;
    for (const input of field.inputs ?? []) {
      if (message) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  };
  field.focus = () => (field.inputs?.[0] ?? field.node.querySelector("input, textarea, select, button"))?.focus();
  Object.assign(field, controls[field.kind](field));
  const describedBy = `${field.id}h ${field.id}p`;
  for (const input of field.inputs ?? []) input.setAttribute("aria-describedby", describedBy);
  const name = [label, " ", el("small", {}, `${typeName(given)}${isRequired ? "" : ", optional"}`)];
  const below = hint.textContent && hint;
  if (field.inputs?.length === 1 && !field.isGroup) {
    field.inputs[0].id = field.id;
    const isItem = label === "";
    if (isItem) field.inputs[0].setAttribute("aria-label", "item");
    field.node = el("div", { class: "field" }, !isItem && el("label", { for: field.id }, name), below, field.body, note);
  } else {
    field.node = el("fieldset", { class: "field group", "aria-describedby": describedBy },
      el("legend", {}, name), below, field.body, note);
  }
  return field;
}

function hintOf({ schema, kind }) {
  const preset = schema.default;
  const has = preset != null && !(Array.isArray(preset) && !preset.length) && kind !== "choice";
  return [schema.description, ...limitsOf(schema), has && `default ${JSON.stringify(preset)}`].filter(Boolean).join(" · ");
}

/** What an empty field means. */
function whenEmpty(field, isDraft, fallback, message = "A value is needed here.") {
  if (!field.isRequired) return undefined;
  if (field.isNullable) return "null";
  if (fallback !== undefined) return fallback;
  if (isDraft) return "null";
  throw new Unfit(field, message);
}

const exampleOf = ({ schema }) => schema.examples?.[0] ?? schema.example;

function wrong(value, field) {
  throw new Error(`The form cannot show ${JSON.stringify(value)?.slice(0, 60)} as ${field.label || "an item"}.`);
}

/** The kinds of fields. Each returns { body, inputs, text, set } and, if it has fields within it, { at }. */
const controls = {
  text(field) {
    const input = el("textarea", { rows: 1, spellcheck: "false", autocomplete: "off" });
    input.value = exampleOf(field) ?? "";
    return {
      body: input, inputs: [input],
      text: () => (input.value === "" ? whenEmpty(field, false, '""') : JSON.stringify(input.value)),
      set(value) {
        if (value != null && typeof value !== "string") wrong(value, field);
        input.value = value ?? "";
      },
    };
  },
  number(field) {
    const input = el("input", { inputmode: "decimal", autocomplete: "off", placeholder: field.schema.default });
    input.value = exampleOf(field) ?? "";
    return {
      body: input, inputs: [input],
      text(isDraft) {
        const text = input.value.trim();
        if (text === "") return whenEmpty(field, isDraft, isDraft ? "0" : undefined, "A number is needed here.");
        if (/^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text)) return text;
        if (isDraft) return "0";
        throw new Unfit(field, "This is not a number.");
      },
      set(value) {
        const isExact = typeof value === "number" && (!Number.isInteger(value) || Number.isSafeInteger(value));
        if (value != null && !isExact) wrong(value, field);
        input.value = value ?? "";
      },
    };
  },
  choice(field) {
    const texts = field.values.map((value) => JSON.stringify(value));
    const preset = field.schema.default;
    const select = el("select", {},
      !field.isRequired && el("option", { value: "" }, preset == null ? "not set" : `default (${preset})`),
      field.isRequired && field.isNullable && el("option", { value: "null" }, "null"),
      field.values.map((value, place) => el("option", { value: texts[place] }, String(value))));
    return {
      body: select, inputs: [select],
      text: () => select.value || undefined,
      set(value) {
        select.value = value == null && !field.isRequired ? "" : JSON.stringify(value);
        if (select.selectedIndex < 0) wrong(value, field);
      },
    };
  },
  file(field, multiple = false) {
    const input = el("input", { type: "file", multiple });
    let encoded = [];
    input.addEventListener("change", async () => {
      encoded = await Promise.all([...input.files].map(base64));
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    return {
      body: input, inputs: [input], files: () => [...input.files],
      text(isDraft) {
        if (multiple && (encoded.length || field.isRequired)) return JSON.stringify(encoded);
        return encoded.length ? JSON.stringify(encoded[0]) : whenEmpty(field, isDraft, isDraft ? '""' : undefined, "Choose a file.");
      },
      set(value) {
        if (value?.length) wrong(value, field);
      },
    };
  },
  any(field) {
    const input = el("textarea", { class: "code", rows: 2, spellcheck: "false", placeholder: "JSON" });
    const example = exampleOf(field);
    if (example !== undefined) input.value = pretty(JSON.stringify(example));
    return {
      body: input, inputs: [input],
      text(isDraft) {
        if (input.value.trim() === "") return whenEmpty(field, isDraft, undefined, "JSON is needed here.");
        const { fault } = parsed(input.value);
        if (fault) throw new Unfit(field, fault);
        return input.value.trim();
      },
      set(value) {
        input.value = value === undefined ? "" : pretty(JSON.stringify(value));
      },
    };
  },
  list(field) {
    if (shapeOf(field.schema.items).kind === "file") return controls.file(field, true);
    const items = [];
    const list = el("ol", { class: "items" });
    const changed = () => list.dispatchEvent(new Event("input", { bubbles: true }));
    const clear = () => {
      items.length = 0;
      list.replaceChildren();
    };
    const add = () => {
      const item = makeField(field.schema.items, { label: "", depth: field.depth + 1 });
      const remove = () => {
        items.splice(items.indexOf(item), 1);
        row.remove();
        (items.at(-1) ?? { focus: () => more.focus() }).focus();
        changed();
      };
      const row = el("li", {}, item.node, el("button", { type: "button", class: "small", onclick: remove }, "Remove"));
      items.push(item);
      list.append(row);
      return item;
    };
    const onclick = () => {
      add().focus();
      changed();
    };
    const more = el("button", { type: "button", class: "small", onclick }, "Add an item");
    const example = exampleOf(field);
    if (Array.isArray(example)) for (const value of example) add().set(value);
    else if (field.isRequired && field.depth < 3) add();
    return {
      isGroup: true, body: el("div", {}, list, more), items, at: (step) => items[step],
      text: (isDraft) => (items.length ? `[${items.map((item) => item.text(isDraft)).join(", ")}]`
        : whenEmpty(field, isDraft, "[]")),
      set(value) {
        if (value != null && !Array.isArray(value)) wrong(value, field);
        clear();
        for (const item of value ?? []) add().set(item);
      },
    };
  },
  tuple(field) {
    const items = field.schema.prefixItems.map((schema, place) =>
      makeField(schema, { label: String(place + 1), depth: field.depth + 1 }));
    return {
      isGroup: true, body: el("div", { class: "fields" }, items.map((item) => item.node)), at: (step) => items[step],
      text: (isDraft) => `[${items.map((item) => item.text(isDraft)).join(", ")}]`,
      set(value) {
        if (!Array.isArray(value) || value.length !== items.length) wrong(value, field);
        items.forEach((item, place) => item.set(value[place]));
      },
    };
  },
  object(field) {
    const fields = new Map();
    const body = el("div", { class: "fields" });
    // What is optional is built when it is wanted, since a type may contain itself.
    const build = () => {
      for (const [name, schema] of Object.entries(field.schema.properties ?? {})) {
        const isRequired = field.schema.required?.includes(name) ?? false;
        const inner = makeField(schema, { label: name, isRequired, depth: field.depth + 1 });
        inner.node.hidden = isRequired && inner.values?.length === 1 && !inner.isNullable; // there is nothing to choose
        fields.set(name, inner);
        body.append(inner.node);
      }
    };
    const include = (isWanted) => {
      if (isWanted && !fields.size) build();
      body.hidden = !isWanted;
    };
    const isAlways = field.isRequired && !field.isNullable && field.depth < 8;
    const box = el("input", { type: "checkbox", onchange: () => include(box.checked) });
    if (isAlways) build();
    else include(false);
    const isOut = () => !isAlways && !box.checked;
    return {
      isGroup: true, fields, at: (step) => fields.get(step),
      body: el("div", { class: "fields" }, !isAlways && el("label", { class: "inline" }, box, "send it"), body),
      text(isDraft) {
        if (isOut()) return field.isRequired ? "null" : undefined;
        const parts = [...fields].map(([name, inner]) => [JSON.stringify(name), inner.text(isDraft)]);
        return `{${parts.filter(([, text]) => text !== undefined).map((part) => part.join(": ")).join(", ")}}`;
      },
      set(value) {
        if (value == null && !isAlways) {
          box.checked = false;
          return include(false);
        }
        if (typeof value !== "object" || value === null || Array.isArray(value)) wrong(value, field);
        box.checked = true;
        include(true);
        const unknown = Object.keys(value).find((name) => !fields.has(name));
        if (unknown !== undefined) throw new Error(`The form has no field for ${JSON.stringify(unknown)}.`);
        for (const [name, inner] of fields) if (name in value || !inner.isRequired) inner.set(value[name]);
      },
    };
  },
  union(field) {
    const place = el("div", { class: "variant" });
    const isEmpty = (!field.isRequired && "not set") || (field.isNullable && "null");
    let inner;
    const choose = () => {
      const schema = field.variants[select.value];
      inner = schema && makeField(schema, { label: "", depth: field.depth + 1 });
      place.replaceChildren(...(inner ? [inner.node] : []));
    };
    const select = el("select", { onchange: choose, "aria-label": `type of ${field.label || "item"}` },
      isEmpty && el("option", { value: "" }, isEmpty),
      field.variants.map((variant, number) => el("option", { value: number }, typeName(variant))));
    choose();
    return {
      isGroup: true, body: el("div", {}, select, place), inputs: [select], at: (step) => inner?.at?.(step),
      text: (isDraft) => (inner ? inner.text(isDraft) : whenEmpty(field, isDraft)),
      set(value) {
        for (const option of value == null && isEmpty ? [""] : field.variants.keys()) {
          select.value = option;
          choose();
          try {
            return inner?.set(value);
          } catch { /* the next one may fit */ }
        }
        wrong(value, field);
      },
    };
  },
};

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/** The pairs of a name and a text or a file that a field is in a form, a query or a path. */
export function pairsOf(name, field, isDraft) {
  if (field.files) {
    const files = field.files();
    if (!files.length && field.isRequired && field.kind === "file" && !isDraft) throw new Unfit(field, "Choose a file.");
    return files.map((file) => [name, file]);
  }
  if (field.items) return field.items.flatMap((item) => pairsOf(name, item, isDraft));
  const text = field.text(isDraft);
  return text === undefined ? [] : [[name, text[0] === '"' ? JSON.parse(text) : text]];
}

/** Mark the field at a path such as $.items[0].name; return it, or undefined. */
export function markAt(field, path, message) {
  const steps = path.match(/[^.[\]$"']+/g) ?? [];
  let found = field;
  for (const step of steps) {
    const next = found?.at?.(step);
    if (!next) break;
    found = next;
  }
  found?.mark?.(message);
  return found;
}
