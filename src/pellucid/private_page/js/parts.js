// The parts of a page that are not markup: packed into the page itself, or files beside it. Both ways lead here.

import { unpacked } from "./unpacked.js";

/** How a single file writes bytes: see packing.py. */
function unwritten(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

let places = null;

/** The bytes of a part as they are kept (most are gzip, see `unpacked`); null for a part that this page lacks. */
export async function part(name) {
  const inside = document.getElementById(`part-${name}`);
  if (inside) {
    const bytes = unwritten(inside.textContent);
    inside.remove();
    return bytes;
  }
  places ??= JSON.parse(document.getElementById("places")?.textContent ?? "{}");
  if (!(name in places)) return null;
  const answer = await fetch(new URL(places[name], document.baseURI));
  if (!answer.ok) throw new Error(`${places[name]}: HTTP ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** A part as the text that it is. */
export const textOf = async (name) => new TextDecoder().decode(await unpacked(await part(name)));

let facts = null;

/** What the page knows of its model, of its own check, and its words; read once. */
export const factsOf = () => (facts ??= textOf("facts").then(JSON.parse));
