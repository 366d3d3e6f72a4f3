// Calls to the server. Every failure becomes a Problem (the server refused) or Unreachable.

import { Problem, Unreachable } from "./problems.js";

const KEY = "pellucid-api-key";
export const listeners = { key: null };

const stored = () => {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
};

let typed = stored();

export function useKey(key) {
  typed = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    return;
  }
}

export function address(path, query = {}) {
  // A path on the server, relative to the page, which a proxy may have moved.
  const url = new URL(path.replace(/^\/+/, ""), document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== false) url.searchParams.set(name, value);
  }
  return url;
}

async function refusal(answer) {
  const document = await answer.json().catch(() => ({}));
  return new Problem(answer.status, document, Number(answer.headers.get("Retry-After")) || null);
}

/** Ask for `path`; resolves to the Response of an answer that is not a refusal. */
export async function ask(path, { query, method = "GET", body, json, signal } = {}) {
  const headers = typed ? { "X-API-Key": typed } : {};
  if (json !== undefined) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  }
  let answer;
  try {
    answer = await fetch(address(path, query), { method, body, headers, signal, redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable(error.message);
  }
  if (answer.status === 401 && listeners.key) {
    const before = typed;
    const key = await listeners.key();
    if (key !== null && key !== before) {
      useKey(key);
      return ask(path, { query, method, body, signal, ...(json !== undefined && { json }) });
    }
  }
  // A proxy may answer for a stopped server.
  if (answer.status === 502 || answer.status === 504) throw new Unreachable(`HTTP ${answer.status}`);
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/** What is sent of an item: its file, or the address it lies at. */
export function contents(source) {
  if (source.url) return { method: "POST", json: { url: source.url } };
  const body = new FormData();
  // The file name is not sent: the server does not need it.
  body.append("file", source.file, "image");
  return { method: "POST", body };
}

/** The words of a language, or the list of languages. */
export async function dictionary(name) {
  const answer = await fetch(new URL(`../i18n/${name}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`no dictionary ${name}`);
  return answer.json();
}
