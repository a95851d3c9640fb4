// Requests as calls of other programs.

import { TOKEN, pretty } from "./json-text.js";

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const python = (text) => JSON.stringify(text);
const CONSTANTS = { true: "True", false: "False", null: "None" };
const pythonValue = (json) =>
  pretty(json).replace(TOKEN, (token) => CONSTANTS[token] ?? (token[0] === '"' ? python(JSON.parse(token)) : token));

export function asCurl({ method, url, headers, key, body, isStream }) {
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

export function asPython({ method, url, headers, key, body, isStream }) {
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
