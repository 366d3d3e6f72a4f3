// The parts of a page that are not markup: packed into the page itself, or files beside it. Both ways lead here.

import { unpacked } from "./unpacked.js";

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";

/** Bytes from five letters for four, as packing.py writes them. */
export function unwritten(text) {
  const digits = new Uint8Array(128);
  for (let i = 0; i < LETTERS.length; i++) digits[LETTERS.charCodeAt(i)] = i;
  const digit = (i) => (i < text.length ? digits[text.charCodeAt(i)] : 84);
  const bytes = new Uint8Array(Math.ceil(text.length / 5) * 4);
  for (let i = 0, to = 0; i < text.length; i += 5, to += 4) {
    const value = (((digit(i) * 85 + digit(i + 1)) * 85 + digit(i + 2)) * 85 + digit(i + 3)) * 85 + digit(i + 4);
    bytes[to] = value >>> 24;
    bytes[to + 1] = value >>> 16;
    bytes[to + 2] = value >>> 8;
    bytes[to + 3] = value;
  }
  return bytes.subarray(0, Math.floor((text.length * 4) / 5));
}

let places = null;
const coming = new Map();

async function fetched(place) {
  const answer = await fetch(new URL(place, document.baseURI));
  if (!answer.ok) throw new Error(`${place}: HTTP ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

function placeOf(name) {
  places ??= JSON.parse(document.getElementById("places")?.textContent ?? "{}");
  return places[name] ?? null;
}

/** Whether this page has a part as a file. */
export const hasPart = (name) => placeOf(name) !== null;

/** The bytes of a part that is a file; null for a part that this page lacks. */
function file(name) {
  if (!hasPart(name)) return null;
  if (!coming.has(name)) coming.set(name, fetched(placeOf(name)));
  const bytes = coming.get(name);
  bytes.catch(() => coming.delete(name));
  return bytes;
}

/** Begin to fetch parts that are files. */
export const prefetch = (names) => names.forEach(file);

/** A part's element, once the browser has read all of it; null for a part that this page lacks. */
async function elementOf(name) {
  const known = () => document.getElementById(`part-${name}`);
  // The script runs before the last parts are read, so that the model starts while they are.
  if (document.readyState === "loading" && !known()?.nextElementSibling && !document.getElementById("places")) {
    await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
  }
  return known();
}

/** The bytes of a part as they are kept (most are gzip, see `unpacked`); null for a part that this page lacks. */
export async function part(name) {
  const inside = await elementOf(name);
  if (!inside) return file(name);
  const bytes = unwritten(inside.textContent);
  inside.remove();
  return bytes;
}

/** A part as the text that it is. */
export const textOf = async (name) => new TextDecoder().decode(await unpacked(await part(name)));

let facts = null;

/** What the page knows of its model, of its own check, and its words; read once. */
export const factsOf = () => (facts ??= textOf("facts").then(JSON.parse));
