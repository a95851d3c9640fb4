// JSON Schemas: what they ask for, and how they are written for people.

import { api } from "./api.js";

export function resolve(schema) {
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
export function shapeOf(given) {
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
export function typeName(given) {
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

export function limitsOf(schema) {
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
export function notation(given) {
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
