// The page at /docs. It reads openapi.json beside it and builds the rest: a list, a form for each operation, the answers.
// What the server sends is only ever put into text nodes. Keys live in an input element, and nowhere else.

const root = new URL(".", location.href);
const DEADLINE = "X-Request-Timeout";
const MOST_SHOWN = 200_000; // characters of an answer
const MOST_CHUNKS = 1_000; // lines of a stream
const MOST_KEPT = 64 * 2 ** 20; // bytes of an answer, to save it as a file
const views = new Map(); // what has been built, by operation
const marked = new Set(); // fields in which something is wrong
let api, shown;

const $ = (id) => document.getElementById(id);

/** Make an element: attributes, `on...` for listeners, and children, which are elements or text. */
function el(tag, attributes = {}, ...children) {
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
const newId = () => `e${++serial}`;

/** A choice of few, as radio buttons in a row. */
function segments(legend, options, onchange) {
  const name = newId();
  const inputs = Object.entries(options).map(([value, label], place) => {
    const input = el("input", { type: "radio", name, value, checked: place === 0, onchange: () => onchange(value) });
    return el("label", {}, input, el("span", {}, label));
  });
  return el("div", { class: "segments", role: "radiogroup", "aria-label": legend }, inputs);
}

// ---- JSON as text: numbers of any size survive, since nothing turns them into JavaScript's

const TOKEN = /"(?:[^"\\]+|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g;

/** Lay valid JSON out for reading: what fits is on one line, and so is a list of plain values. */
function pretty(json, width = 80) {
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

function colored(json) {
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

function parsed(text) {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { fault: `This is not JSON: ${error.message}.` };
  }
}

// ---- schemas

function resolve(schema) {
  if (typeof schema !== "object" || schema === null) return {};
  while (schema.$ref) {
    const { $ref, ...beside } = schema;
    const steps = $ref.slice(2).split("/").map((step) => decodeURIComponent(step).replace(/~1/g, "/").replace(/~0/g, "~"));
    const target = steps.reduce((found, step) => found?.[step], api) ?? {};
    schema = { ...target, $name: steps.at(-1), ...beside };
  }
  if (schema.allOf) {
    const { allOf, ...beside } = schema;
    schema = allOf.map(resolve).reduce((all, part) => ({
      ...all, ...part,
      properties: { ...all.properties, ...part.properties },
      required: [...(all.required ?? []), ...(part.required ?? [])],
    }), {});
    schema = { ...schema, ...beside };
  }
  return schema;
}

/** What a schema asks for: { kind, schema, isNullable, variants }. */
function shapeOf(given) {
  const schema = resolve(given);
  const { anyOf, oneOf, ...beside } = schema;
  const all = anyOf ?? oneOf ?? (Array.isArray(schema.type) && schema.type.map((type) => ({ ...schema, type })));
  if (all) {
    const variants = all.filter((variant) => resolve(variant).type !== "null");
    const isNullable = variants.length < all.length;
    if (variants.length !== 1) return { kind: "union", schema, variants, isNullable };
    const only = shapeOf(variants[0]);
    if (Array.isArray(schema.type)) return { ...only, isNullable };
    return { ...only, schema: { ...only.schema, ...beside }, isNullable: isNullable || only.isNullable };
  }
  const values = schema.enum ?? ("const" in schema ? [schema.const] : schema.type === "boolean" ? [false, true] : null);
  if (values) {
    return { kind: "choice", schema, values: values.filter((value) => value !== null), isNullable: values.includes(null) };
  }
  return { kind: kindOf(schema), schema, isNullable: schema.type === "null" };
}

function kindOf(schema) {
  switch (schema.type) {
    case "integer": case "number": return "number";
    case "string": return isBinary(schema) ? "file" : "text";
    case "array": return schema.prefixItems ? "tuple" : schema.items ? "list" : "any";
    case "object": return schema.additionalProperties === false || Object.keys(schema.properties ?? {}).length ? "object" : "any";
    default: return "any";
  }
}

const isBinary = ({ format, contentEncoding, contentMediaType }) =>
  ["binary", "byte"].includes(format) || contentEncoding === "base64" || contentMediaType === "application/octet-stream";

/** The type in words, for people. */
function typeName(given) {
  const { kind, schema, variants, values, isNullable } = shapeOf(given);
  const names = {
    number: () => schema.type,
    text: () => schema.format ?? "string",
    list: () => `list of ${typeName(schema.items).replace(/^file$/, "files")}`,
    tuple: () => `[${schema.prefixItems.map(typeName).join(", ")}]`,
    object: () => schema.$name ?? "object",
    union: () => schema.$name ?? variants.map(typeName).join(" or "),
    choice: () => (schema.type === "boolean" ? "boolean" : values.map((value) => JSON.stringify(value)).join(" | ")),
    any: () => ({ object: "object", array: "list", null: "null" })[schema.type] ?? "anything",
  };
  const name = names[kind]?.() ?? kind;
  return isNullable && name !== "null" ? `${name} or null` : name;
}

function limitsOf(schema) {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, pattern } = schema;
  const { minLength, maxLength, minItems, maxItems } = schema;
  const range = (least, most, unit) => {
    if (least != null && most != null) return least === most ? `exactly ${least}${unit}` : `${least} to ${most}${unit}`;
    if (least != null) return `at least ${least}${unit}`;
    return most != null && `at most ${most}${unit}`;
  };
  return [
    range(minimum, maximum, ""),
    exclusiveMinimum != null && `above ${exclusiveMinimum}`,
    exclusiveMaximum != null && `below ${exclusiveMaximum}`,
    multipleOf != null && `a multiple of ${multipleOf}`,
    range(minLength, maxLength, " characters"),
    !schema.prefixItems && range(minItems, maxItems, " items"),
    pattern && `matches ${pattern}`,
  ].filter(Boolean);
}

/** A schema in the notation of a programmer, with the types that it names below it. */
function notation(given) {
  const names = new Map();
  const write = (part, indent, isTop) => {
    if (part === true || part == null) return "anything";
    const { kind, schema, variants, isNullable } = shapeOf(part);
    const inner = `${indent}  `;
    const name = schema.$name;
    let text;
    if (name && !isTop) {
      names.set(name, part);
      text = name;
    } else if (kind === "object") {
      const lines = Object.entries(schema.properties ?? {}).map(([key, value]) => {
        const { schema: of } = shapeOf(value);
        const about = [...limitsOf(of), of.description?.split("\n")[0]].filter(Boolean).join("; ");
        const preset = of.default === undefined ? "" : ` = ${JSON.stringify(of.default)}`;
        const mark = schema.required?.includes(key) ? "" : "?";
        return `${inner}${key}${mark}: ${write(value, inner)}${preset}${about && `    // ${about}`}`;
      });
      text = lines.length ? `{\n${lines.join("\n")}\n${indent}}` : "{}";
    } else if (kind === "list") text = `list of ${write(schema.items, indent)}`;
    else if (kind === "union") text = variants.map((variant) => write(variant, indent)).join(" or ");
    else if (schema.type === "object" && schema.additionalProperties) {
      text = `{ [name]: ${write(schema.additionalProperties, indent)} }`;
    } else return typeName(part);
    return isNullable ? `${text} or null` : text;
  };
  let text = write(given, "", true);
  for (const [name, part] of names) text += `\n\n${name} ${write(part, "", true)}`;
  return text;
}

// ---- fields of a form

/** A mistake in a form that is noticed here; the server finds all others. */
class Unfit extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/**
 * A field: its element; `text()` returns JSON, or undefined to leave it out; `set(value)` shows a value.
 * `text(true)` makes something up for what is missing. `at(step)` is the field within it.
 */
function makeField(given, { label, isRequired = true, depth = 0 }) {
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
function pairsOf(name, field, isDraft) {
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
function markAt(field, path, message) {
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

// ---- the body of a request: one form for each media type that an operation takes

const editors = {
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

const editorFor = (media) =>
  /[/+]json$/.test(media) ? "json" : /^(multipart\/|application\/x-www-form)/.test(media) ? "pairs" : "bytes";

const BODIES = {
  "application/json": "JSON",
  "application/x-www-form-urlencoded": "URL-encoded form",
  "multipart/form-data": "Multipart form",
  "application/octet-stream": "Bytes",
};

// ---- keys

const schemes = () => {
  const found = Object.values(api?.components?.securitySchemes ?? {}).map(resolve).flatMap((scheme) =>
    scheme.type === "apiKey" ? (scheme.in === "header" ? [{ header: scheme.name, prefix: "" }] : [])
      : [{ header: "Authorization", prefix: scheme.scheme === "basic" ? "Basic " : "Bearer " }]);
  return found.length ? found : [{ header: "Authorization", prefix: "Bearer " }];
};

function showKey(isNeeded) {
  if (!isNeeded && !$("secret")) return;
  // Not a password, which the browser would offer to keep.
  const input = $("secret") ?? el("input", {
    id: "secret", class: "secret", autocomplete: "off", spellcheck: "false", autocapitalize: "none",
    title: "Kept in this tab until it is closed or loaded again", oninput: () => shown?.refresh(),
  });
  const options = schemes().map(({ header, prefix }, place) => el("option", { value: place }, prefix ? `${header}: ${prefix}` : header));
  const choice = el("select", { id: "scheme", "aria-label": "How the key is sent", hidden: options.length < 2 }, options);
  $("key").replaceChildren(el("label", { for: "secret", class: "quiet" }, "Key"), choice, input);
}

function keyHeader(operation) {
  const secret = $("secret")?.value.trim();
  if (!secret || operation?.security?.length === 0) return [];
  const { header, prefix } = schemes()[$("scheme").value] ?? schemes()[0];
  return [[header, prefix + secret, prefix]];
}

// ---- requests, also as calls of other programs

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const python = (text) => JSON.stringify(text);
const CONSTANTS = { true: "True", false: "False", null: "None" };
const pythonValue = (json) =>
  pretty(json).replace(TOKEN, (token) => CONSTANTS[token] ?? (token[0] === '"' ? python(JSON.parse(token)) : token));

function asCurl({ method, url, headers, key, body, isStream }) {
  const isPlain = method === "GET" || (method === "POST" && body.kind !== "none");
  const words = ["curl", isStream && "-N", !isPlain && `-X ${method}`].filter(Boolean);
  const lines = [[...words, quoted(url)].join(" ")];
  for (const [name, value] of headers) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  for (const [name, , prefix] of key) lines.push(`-H "${name}: ${prefix}$API_KEY"`);
  if (body.kind === "multipart") {
    for (const [name, value] of body.pairs) {
      const file = value.name?.replace(/[\\"]/g, "\\$&");
      lines.push(file == null ? `--form-string ${quoted(`${name}=${value}`)}` : `-F ${quoted(`${name}=@"${file}"`)}`);
    }
  } else if (body.file) lines.push(`--data-binary ${quoted(`@${body.file.name}`)}`);
  else if (body.kind !== "none") lines.push(`--data-raw ${quoted(body.body)}`);
  return lines.join(" \\\n  ");
}

function asPython({ method, url, headers, key, body, isStream }) {
  const opened = (file) => `open(${python(file.name)}, "rb")`;
  const given = [`${python(method)}, ${python(url)}`];
  const all = headers.filter(([name]) => body.kind !== "json" || name !== "Content-Type");
  const pairs = all.map(([name, value]) => `${python(name)}: ${python(value)}`);
  pairs.push(...key.map(([name, , prefix]) => `${python(name)}: ${prefix ? `${python(prefix)} + ` : ""}os.environ["API_KEY"]`));
  if (pairs.length) given.push(`headers={${pairs.join(", ")}}`);
  if (body.kind === "json") given.push(`json=${pythonValue(body.body).replaceAll("\n", "\n    ")}`);
  else if (body.kind === "multipart") {
    const parts = body.pairs.map(([name, value]) =>
      `        (${python(name)}, ${value.name == null ? `(None, ${python(value)})` : opened(value)}),\n`);
    given.push(`files=[\n${parts.join("")}    ]`);
  } else if (body.file) given.push(`content=${opened(body.file)}`);
  else if (body.kind !== "none") given.push(`content=${python(body.body)}`);
  given.push(`timeout=${isStream ? "None" : "60"}`);
  const start = `${key.length ? "import os\n\n" : ""}import httpx\n\n`;
  const call = `(\n    ${given.join(",\n    ")},\n)`;
  if (isStream) return `${start}with httpx.stream${call} as response:\n    for line in response.iter_lines():\n        print(line)\n`;
  return `${start}response = httpx.request${call}\nprint(response.status_code, response.text)\n`;
}

// ---- answers

const seconds = (ms) => (ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);
const size = (count) =>
  count < 1024 ? `${count} B` : count < 2 ** 20 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 2 ** 20).toFixed(1)} MiB`;

const chunks = (count) => (count === 1 ? "1 chunk" : `${count} chunks`);

function timingOf(headers) {
  const found = {};
  for (const [, name, duration] of (headers.get("server-timing") ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g)) {
    found[name] = Number(duration);
  }
  return found;
}

function saveButton(parts, media, isCut) {
  return el("button", {
    type: "button", class: "small",
    onclick() {
      const href = URL.createObjectURL(new Blob(parts, { type: media }));
      el("a", { href, download: `answer.${media.replace(/^.*\/(x-)?|\+.*$/g, "") || "bin"}` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10_000);
    },
  }, isCut ? `Save the first ${size(MOST_KEPT)}` : "Save");
}

/** Sinks show the body of an answer as it arrives: `push(text)`, and `end()`, which may return an error object. */
function chunkSink(split) {
  const list = el("ol", { class: "chunks paper", tabindex: "0", "aria-label": "Chunks" });
  const dropped = el("p", { class: "quiet", hidden: true }, `The last ${MOST_CHUNKS} are shown.`);
  const views = segments("View", { lines: "Chunks", joined: "Joined text" }, (view) => {
    list.classList.toggle("joined", view === "joined");
  });
  views.hidden = true;
  const began = performance.now();
  let count = 0;
  let rest = "";
  let waiting = [];
  let timer, failure;
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
    node: el("div", { class: "answer" }, list, dropped), tools: views, count: () => count,
    push(text) {
      rest += text;
      if (!text.includes("\n")) return;
      const found = split(rest);
      rest = found.rest;
      const at = performance.now() - began;
      for (const { event, data } of found.chunks) {
        if (event === "end") continue;
        const error = (event === "error" || data.startsWith('{"error":')) && parsed(data).value;
        if (error && Object.keys(error).length === 1) failure = error.error;
        else {
          waiting.push({ event, data, at });
          count++;
        }
      }
      timer ??= setTimeout(flush, 50);
    },
    end() {
      flush();
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

function sinkFor(media, parts) {
  if (media === "application/x-ndjson") return chunkSink(linesOf);
  if (media === "text/event-stream") return chunkSink(eventsOf);
  if (isJson(media) || media.startsWith("text/") || media === "") return textSink(media);
  return mediaSink(media, parts);
}

/** A problem document, with the fields that it complains about marked in the form. */
function problemNode(problem, view) {
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

// ---- one operation: its form, its answers

class View {
  constructor({ path, method, operation, parameters }) {
    Object.assign(this, { path, method, operation });
    this.isStream = hasStream(operation);
    const usable = parameters.filter(({ name, in: where }) => where !== "cookie" && name.toLowerCase() !== "accept");
    this.deadline = usable.find(({ name }) => name.toLowerCase() === DEADLINE.toLowerCase());
    // One field is enough for a deadline, which has other headers too.
    const isDeadline = ({ name, in: where }) => this.deadline && where === "header" && /timeout/i.test(name);
    this.parameters = usable.filter((parameter) => !isDeadline(parameter)).map((parameter) => ({
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
    const form = el("form", { novalidate: true, onsubmit: (event) => this.submit(event) },
      el("div", { class: "fields" }, of("path", "query"), this.editors.length ? this.bar : null, this.body),
      headers.length ? el("details", {}, el("summary", {}, "Headers"), el("div", { class: "fields" }, headers)) : null,
      el("div", { class: "options" }, this.framing(),
        this.deadline && el("label", { title: `${DEADLINE}, in seconds` }, "Deadline", this.limit, "s")),
      el("div", { class: "actions" }, this.send, this.stop, el("small", {}, "Ctrl+Enter sends, Escape cancels")));
    this.choose(0);
    this.heading = el("h2", { tabindex: "-1" }, el("span", { class: "method" }, this.method), el("code", {}, this.path));
    return el("article", {}, this.heading, about && el("p", { class: "about" }, about),
      el("div", { class: "columns" }, form, el("div", {}, this.said, this.answer, this.calls())), this.schemas());
  }

  framing() {
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
    const item = this.isStream ? ", each item" : "";
    const contents = [["Body", resolve(this.operation.requestBody)], ...responses.filter(isGood)];
    const errors = responses.filter((each) => !isGood(each)).map(([status, { description = "" }]) =>
      `${status}  ${description.replaceAll("`", "")}`);
    const section = (title, text) => el("div", { class: "fields" }, el("h3", {}, title), el("pre", { class: "paper" }, text));
    return el("details", {}, el("summary", {}, "Schemas"), el("div", { class: "fields" },
      contents.flatMap(([title, { content = {} }]) => {
        const types = Object.groupBy(Object.keys(content), (media) => notation(content[media].schema));
        return Object.entries(types).map(([text, media]) =>
          section(`${title}${title === "Body" ? "" : item}: ${media.join(" or ")}`, text));
      }),
      errors.length > 0 && section("Errors", errors.join("\n"))));
  }

  /** What the form says: { method, url, headers, key, body, isStream }. */
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
    if (this.accept) headers.push(["Accept", this.accept]);
    if (this.limit.value.trim()) headers.push([DEADLINE, this.limit.value.trim()]);
    return { method: this.method, url, headers, key: keyHeader(this.operation), body, isStream: this.isStream };
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
    this.controller?.abort();
  }

  async submit(event) {
    event?.preventDefault();
    if (this.controller) return;
    for (const field of marked) field.mark("");
    marked.clear();
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
    this.answer.replaceChildren();
    this.say("Waiting for the answer …");
    this.controller = new AbortController();
    this.stop.disabled = false;
    const began = performance.now();
    const ticks = setInterval(() => (this.answer.childElementCount ? null : this.tick(began)), 100);
    try {
      await this.exchange(request, began);
    } finally {
      clearInterval(ticks);
      if (document.activeElement === this.stop) this.send.focus();
      this.stop.disabled = true;
      this.controller = null;
    }
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
      const parts = [];
      const media = (response.headers.get("content-type") ?? "").split(";")[0].trim();
      sink = sinkFor(media, parts);
      const facts = this.show(response, sink, began);
      failure = await this.read(response, sink, parts, facts);
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
    if (signal.aborted) this.say(`Cancelled after ${after}${count}.`);
    else this.say(`${failure} (after ${after}${count})`, true);
  }

  /** Read the body; return a message if it breaks off. */
  async read(response, sink, parts, facts) {
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
        this.say(`${line.firstChild.textContent}, ${total.textContent}`);
        this.said.className = "unseen"; // it is read out
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

// ---- the list, and which operation is shown

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
    const link = el("a", { href: `#${encodeURIComponent(id)}`, title }, el("span", { class: "method" }, method), el("code", {}, path));
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
  api = value;
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

addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    shown?.submit();
  } else if (event.key === "Escape") shown?.cancel();
  else if (event.key === "Enter" && event.target.id === "secret" && !api) load();
});

load();
