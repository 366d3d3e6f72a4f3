// What the stored values of a grey DICOM picture are shown as: images/dicom_values.py is the same in Python.
// Reference: DICOM PS3.3, C.7.6.16 (functional groups), C.11.1 (modality), C.11.2 (window), C.11.6 (presentation).

import { textOf } from "./dicom-elements.js";
import { round } from "./place.js";

export const NO_WINDOW = "The DICOM file states no window; the full range of its bits was used.";

const damaged = () => ({ code: "damaged" });
const TAGS = {
  photometric: 0x00280004, stored: 0x00280101, signed: 0x00280103, centre: 0x00281050, width: 0x00281051,
  intercept: 0x00281052, slope: 0x00281053, shape: 0x00281056, modality: 0x00283000, descriptor: 0x00283002,
  entries: 0x00283006, table: 0x00283010, presentation: 0x20500010, presented: 0x20500020,
  shared: 0x52009229, frames: 0x52009230, window: 0x00289132, values: 0x00289145,
};
const OF_FRAME = ["centre", "width", "intercept", "slope", "shape", "table"].map((name) => TAGS[name]);

/** The sequences that hold what decides how values are shown. */
export const SEQUENCES = new Set(["modality", "table", "presentation", "shared", "frames", "window", "values"].map((name) => TAGS[name]));

/** Unsigned numbers of 16 bits. */
export function shorts({ bytes, coding }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 1 }, (_, i) => view.getUint16(2 * i, coding.little));
}

/** The elements, with rescaling and window of the one frame, which enhanced objects keep apart. */
export function flattened(elements) {
  const found = new Map(elements);
  for (const name of ["shared", "frames"]) {
    const [group] = elements.get(TAGS[name])?.items ?? [];
    for (const inner of ["values", "window"]) {
      const [item] = group?.get(TAGS[inner])?.items ?? [];
      for (const tag of OF_FRAME) if (item?.has(tag)) found.set(tag, item.get(tag));
    }
  }
  return found;
}

/** The first number of an element of decimals; `usual` where it is absent or empty. */
function decimal(elements, name, usual) {
  const text = textOf(elements.get(TAGS[name])).split("\\")[0].trim();
  if (!text) return usual;
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value)) throw damaged();
  return value;
}

/** Values through a table, and the greatest that an entry can be. */
function looked(item, values, signed) {
  const descriptor = item.get(TAGS.descriptor);
  const content = item.get(TAGS.entries);
  if (!descriptor?.bytes || !content?.bytes) throw damaged();
  const [stated, from, bits] = shorts(descriptor);
  if (!(bits >= 1 && bits <= 16)) throw damaged();
  const count = stated || 65536;
  const isSigned = descriptor.vr === "SS" || (!descriptor.vr && signed);
  const first = isSigned && from > 32767 ? from - 65536 : from;
  // Entries of 8 bits may be packed two to a word.
  const packed = content.vr !== "US" && content.bytes.length < 2 * count;
  const table = (packed ? Array.from(content.bytes) : shorts(content)).slice(0, count);
  if (!table.length) throw damaged();
  const place = (value) => Math.min(Math.max(round(value) - first, 0), table.length - 1);
  return { values: values.map((value) => table[place(value)]), most: 2 ** bits - 1 };
}

/** Brightness 0..1 through a window. Reference: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3. */
function windowed(values, centre, width, shape) {
  if (shape === "SIGMOID") return values.map((value) => 1 / (1 + Math.exp(Math.min(Math.max((-4 * (value - centre)) / width, -700), 700))));
  const [middle, range] = shape === "LINEAR" ? [centre - 0.5, width - 1] : [centre, width];
  return values.map((value) => (range === 0 ? Number(value > middle) : (value - middle) / range + 0.5));
}

/** Stored values as the modality means them, with their least and greatest. */
function rescaled(elements, stored, signed) {
  const [table] = elements.get(TAGS.modality)?.items ?? [];
  if (table) {
    const { values, most } = looked(table, stored, signed);
    return { values, low: 0, high: most };
  }
  const [slope, intercept] = [decimal(elements, "slope", 1), decimal(elements, "intercept", 0)];
  const values = stored.map((value) => value * slope + intercept);
  const [begin, end] = [values[0], values.at(-1)];
  return { values, low: Math.min(begin, end), high: Math.max(begin, end) };
}

/** Brightness of each value, and sentences. */
function brightness(elements, { values, low, high }, bits, signed) {
  const [table] = elements.get(TAGS.table)?.items ?? [];
  if (table) {
    const shown = looked(table, values, signed);
    return { shown: shown.values.map((value) => value / shown.most), warnings: [] };
  }
  const [centre, width] = [decimal(elements, "centre", NaN), decimal(elements, "width", NaN)];
  const shape = textOf(elements.get(TAGS.shape)).toUpperCase() || "LINEAR";
  if (!Number.isNaN(centre) && width >= (shape === "LINEAR" ? 1 : 1e-9)) return { shown: windowed(values, centre, width, shape), warnings: [] };
  const range = high - low || 1;
  return { shown: values.map((value) => (value - low) / range), warnings: bits > 8 ? [NO_WINDOW] : [] };
}

/** As it is presented: through a table, or inverted. */
function presented(elements, shown, signed) {
  const [table] = elements.get(TAGS.presentation)?.items ?? [];
  const within = (value) => Math.min(1, Math.max(0, value));
  if (table) {
    const count = table.get(TAGS.descriptor) ? shorts(table.get(TAGS.descriptor))[0] || 65536 : 0;
    const { values, most } = looked(table, shown.map((value) => within(value) * (count - 1)), signed);
    return values.map((value) => value / most);
  }
  const shape = textOf(elements.get(TAGS.presented)).toUpperCase();
  const inverted = ["IDENTITY", "INVERSE"].includes(shape) ? shape === "INVERSE" : textOf(elements.get(TAGS.photometric)) === "MONOCHROME1";
  return inverted ? shown.map((value) => 1 - value) : shown;
}

/** {first, bytes, warnings}: what each stored value of `bits` is shown as, from the value `first` on. */
export function greyTable(elements, bits, signed) {
  const first = signed ? -(2 ** (bits - 1)) : 0;
  const stored = Float64Array.from({ length: 2 ** bits }, (_, i) => first + i);
  const { shown, warnings } = brightness(elements, rescaled(elements, stored, signed), bits, signed);
  const bytes = Uint8Array.from(presented(elements, shown, signed), (value) => round(Math.min(1, Math.max(0, value)) * 255));
  return { first, bytes, warnings };
}
