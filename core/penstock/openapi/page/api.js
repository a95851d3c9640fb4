// The description of the API, and the addresses in it.

/** The address below which the API is: behind a proxy or a mount, only the browser knows it. */
export const root = new URL(".", location.href);

/** The OpenAPI document; undefined until it has been read. */
export let api;

export function describe(document) {
  api = document;
}
