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

/** The bytes of a part that is a file; null for a part that this page lacks. */
function file(name) {
  places ??= JSON.parse(document.getElementById("places")?.textContent ?? "{}");
  if (!(name in places)) return null;
  if (!coming.has(name)) coming.set(name, fetched(places[name]));
  const bytes = coming.get(name);
  bytes.catch(() => coming.delete(name));
  return bytes;
}

/** Begin to fetch parts that are files. */
export const prefetch = (names) => names.forEach(file);

/** The bytes of a part as they are kept (most are gzip, see `unpacked`); null for a part that this page lacks. */
export async function part(name) {
  const inside = document.getElementById(`part-${name}`);
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
