// The elements of a DICOM file, by their tags. Reference: DICOM PS3.5, chapter 7, and PS3.10, chapter 7.

const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const [UNDEFINED, DEEPEST] = [0xffffffff, 32];
const [ITEM, ITEM_END, SEQUENCE_END, SYNTAX, PIXELS] = [0xfffee000, 0xfffee00d, 0xfffee0dd, 0x00020010, 0x7fe00010];
const [IMPLICIT, EXPLICIT, BIG_ENDIAN] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"];

const damaged = () => ({ code: "damaged" });

/** Text of an element without what pads it. */
export const textOf = (element) => (element ? String.fromCharCode(...element.bytes).replace(/[\0 ]+$/, "").trimStart() : "");

function headerOf(view, at, { little, explicit }) {
  const tag = view.getUint16(at, little) * 65536 + view.getUint16(at + 2, little);
  // Items and their ends have no representation.
  if (!explicit || tag >= 0xfffe0000) return { tag, vr: "", start: at + 8, length: view.getUint32(at + 4, little) };
  const vr = String.fromCharCode(view.getUint8(at + 4), view.getUint8(at + 5));
  if (LONG.has(vr)) return { tag, vr, start: at + 12, length: view.getUint32(at + 8, little) };
  return { tag, vr, start: at + 8, length: view.getUint16(at + 6, little) };
}

/** Elements one after another, until `end`, an end of items, or an element that `stops`. */
class Walk {
  constructor(bytes, coding, sequences) {
    Object.assign(this, { bytes, coding, sequences, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) });
  }

  /** {found, at}: elements by tag, and where the walk ended. */
  elements(at, end, depth, stops = () => false) {
    const found = new Map();
    while (at + 8 <= end) {
      const head = headerOf(this.view, at, this.coding);
      if (head.tag === ITEM_END) return { found, at: head.start };
      if (stops(head.tag)) break;
      const { element, next } = this.#element(head, end, depth);
      found.set(head.tag, { ...element, vr: head.vr, coding: this.coding });
      if (head.tag === PIXELS) break;
      at = next;
    }
    return { found, at };
  }

  #element({ tag, vr, start, length }, end, depth) {
    if (tag === PIXELS && length === UNDEFINED) return { element: { fragments: this.#fragments(start, end) } };
    if (length === UNDEFINED || vr === "SQ" || (!vr && this.sequences.has(tag))) return this.#sequence(vr, start, length, end, depth);
    if (tag !== PIXELS && start + length > end) throw damaged();
    return { element: { bytes: this.bytes.subarray(start, Math.min(end, start + length)) }, next: start + length };
  }

  #sequence(vr, at, length, end, depth) {
    if (depth >= DEEPEST) throw damaged();
    // Of unknown kind and length: coded without representations, whatever is around it.
    const inner = vr === "UN" ? new Walk(this.bytes, { little: true, explicit: false }, this.sequences) : this;
    const last = length === UNDEFINED ? end : at + length;
    if (last > end) throw damaged();
    const items = [];
    while (at + 8 <= last) {
      const head = headerOf(inner.view, at, inner.coding);
      at = head.start;
      if (head.tag === SEQUENCE_END) break;
      if (head.tag !== ITEM) throw damaged();
      const known = head.length !== UNDEFINED;
      const { found, at: next } = inner.elements(at, known ? Math.min(last, at + head.length) : last, depth + 1);
      at = known ? at + head.length : next;
      items.push(found);
    }
    return { element: { items }, next: at };
  }

  /** The pieces of a compressed picture; the first item, a table of places, is left out. */
  #fragments(at, end) {
    const pieces = [];
    while (at + 8 <= end) {
      const { tag, start, length } = headerOf(this.view, at, this.coding);
      if (tag !== ITEM) break;
      pieces.push(this.bytes.subarray(start, Math.min(end, start + length)));
      at = start + length;
    }
    return pieces.slice(1);
  }
}

/** How a file is coded that does not say so, by its first element. */
function guessed(bytes, at) {
  const little = bytes[at + 1] === 0;
  return { little, explicit: /^[A-Z]{2}$/.test(String.fromCharCode(bytes[at + 4], bytes[at + 5])) };
}

/**
 * {syntax, elements} of a file with its preamble or without; `sequences` are the tags of those that are looked into.
 * `syntax` is "" where none is stated. Of a compressed file the picture is `fragments`.
 */
export function readElements(bytes, sequences) {
  const meta = { little: true, explicit: true };
  let at = String.fromCharCode(...bytes.subarray(128, 132)) === "DICM" ? 132 : 0;
  let syntax = "";
  if (bytes[at] === 2 && bytes[at + 1] === 0) {
    const head = new Walk(bytes, meta, sequences).elements(at, bytes.length, 0, (tag) => tag >= 0x00030000);
    syntax = textOf(head.found.get(SYNTAX));
    at = head.at;
  }
  const plain = { [IMPLICIT]: { little: true, explicit: false }, [BIG_ENDIAN]: { little: false, explicit: true } };
  const coding = syntax ? (plain[syntax] ?? meta) : guessed(bytes, at);
  return { syntax: syntax || EXPLICIT, elements: new Walk(bytes, coding, sequences).elements(at, bytes.length, 0).found };
}
