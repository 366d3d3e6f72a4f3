// What the product's page asks a server for, answered here: by what the page carries, and by a worker that runs the model.

import { computing } from "./computing.js";
import { factsOf } from "./parts.js";
import { Problem } from "./problems.js";

export const listeners = { key: null };
export const useKey = () => null;
export const address = (path) => new URL(path, document.baseURI);
export const contents = (source) => ({ file: source.file });

/** The words of a language: the product's, and where a page without a server says something else, its own. */
export async function dictionary(name) {
  const { words } = await factsOf();
  return words[name];
}

/** Answer `path` as the server would. */
export async function askJson(path, { query = {}, file, signal, progress } = {}) {
  const { card } = await factsOf();
  if (path === "v1/models") return { models: [{ name: card.name, title: card.title, default: true }] };
  if (path === "v1/model") return card;
  if (path === "v1/explain") return computing.ask({ explain: { file, query } }, { signal, progress });
  throw new Problem(404, { code: "alone" });
}

export const ask = async (path, options) => ({ json: () => askJson(path, options) });
