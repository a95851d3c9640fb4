// The caller's key. It lives in an input element, and nowhere else.

import { api } from "./api.js";
import { $, el } from "./elements.js";
import { resolve } from "./schemas.js";

const schemes = () => {
  const found = Object.values(api?.components?.securitySchemes ?? {}).map(resolve).flatMap((scheme) =>
    scheme.type === "apiKey" ? (scheme.in === "header" ? [{ header: scheme.name, prefix: "" }] : [])
      : [{ header: "Authorization", prefix: scheme.scheme === "basic" ? "Basic " : "Bearer " }]);
  return found.length ? found : [{ header: "Authorization", prefix: "Bearer " }];
};

export function showKey(isNeeded) {
  if (!isNeeded && !$("secret")) return;
  // Not a password, which the browser would offer to keep.
  const input = $("secret") ?? el("input", {
    id: "secret", class: "secret", autocomplete: "off", spellcheck: "false", autocapitalize: "none",
    title: "Kept in this tab until it is closed or loaded again",
  });
  const options = schemes().map(({ header, prefix }, place) => el("option", { value: place }, prefix ? `${header}: ${prefix}` : header));
  const choice = el("select", { id: "scheme", "aria-label": "How the key is sent", hidden: options.length < 2 }, options);
  $("key").replaceChildren(el("label", { for: "secret", class: "quiet" }, "Key"), choice, input);
}

export function keyHeader(operation) {
  const secret = $("secret")?.value.trim();
  if (!secret || operation?.security?.length === 0) return [];
  const { header, prefix } = schemes()[$("scheme").value] ?? schemes()[0];
  return [[header, prefix + secret, prefix]];
}
