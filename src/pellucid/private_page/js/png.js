// PNG files that browsers do not decode as Pillow does: 16 bits of grey, of which they keep the upper byte where
// pellucid rounds 255 v / 65535; and opacity, which is laid on black with a rounding that differs between browsers.

import { inflated } from "./unpacked.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const [GREY, PALETTE, GREY_OPACITY, COLOUR_OPACITY] = [0, 3, 4, 6];
const SAMPLES = { [GREY]: 1, [PALETTE]: 1, [GREY_OPACITY]: 2, [COLOUR_OPACITY]: 4 };

/** Whether a file of this header is read here rather than by the browser. */
function isOurs({ depth, colour, interlaced, transparency }) {
  if (interlaced) return false;
  if (colour === GREY) return depth === 16 && !transparency;
  if (colour === PALETTE) return depth === 8 && transparency !== null;
  return (colour === GREY_OPACITY || colour === COLOUR_OPACITY) && (depth === 8 || depth === 16);
}

/** The header and compressed data of a PNG that is read here; null for anything else. */
export function ownPng(bytes) {
  if (SIGNATURE.some((value, i) => bytes[i] !== value)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 33) return null;
  const [depth, colour, , , interlaced] = bytes.subarray(24, 29);
  const found = { width: view.getUint32(16), height: view.getUint32(20), depth, colour, interlaced, transparency: null, palette: null, data: [] };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    // An orientation, or several pictures.
    if (kind === "eXIf" || kind === "acTL") return null;
    if (kind === "tRNS") found.transparency = body;
    if (kind === "PLTE") found.palette = body;
    if (kind === "IDAT") found.data.push(body);
    at += 12 + length;
  }
  return isOurs(found) ? found : null;
}

function paeth(a, b, c) {
  const p = a + b - c;
  const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/** Undo the filter of a row in place; `above` is the row before it. */
function unfilter(filter, row, above, step) {
  for (let x = 0; filter && x < row.length; x++) {
    const left = x < step ? 0 : row[x - step];
    if (filter === 1) row[x] += left;
    else if (filter === 2) row[x] += above[x];
    else if (filter === 3) row[x] += (left + above[x]) >> 1;
    else row[x] += paeth(left, above[x], x < step ? 0 : above[x - step]);
  }
}

/** A byte under an opacity, on black, as Pillow rounds it. */
export function onBlack(value, opacity) {
  const product = value * opacity + 128;
  return ((product >> 8) + product) >> 8;
}

const ON_BLACK = "Transparent parts of the picture were laid on black.";
const NEARLY_BLACK = "The picture has 16 bits a pixel but uses 12 or fewer, which makes it nearly black.";

/** The most of 16 bits, by their upper bytes, that 12 bits take. */
const DARK = 15;

/**
 * How a row becomes RGBA bytes: a function of the row and the place of a pixel's first sample. It notes in `seen` the least
 * opacity and the greatest byte of the colours.
 */
function pixelOf({ depth, colour, palette, transparency }, seen) {
  const size = depth / 8;
  const opacityOf = (opacity) => {
    if (opacity < seen.opacity) seen.opacity = opacity;
    return opacity;
  };
  const most = (value) => {
    if (value > seen.most) seen.most = value;
    return value;
  };
  if (colour === GREY) {
    return (row, at) => {
      const value = Math.round((most(row[at]) * 256 + row[at + 1]) / 257);
      return [value, value, value];
    };
  }
  if (colour === PALETTE) {
    return (row, at) => {
      const opacity = opacityOf(transparency[row[at]] ?? 255);
      return [0, 1, 2].map((c) => onBlack(palette[3 * row[at] + c], opacity));
    };
  }
  // Of 16 bits the upper byte, as Pillow has it.
  const opaque = (SAMPLES[colour] - 1) * size;
  const places = colour === GREY_OPACITY ? [0, 0, 0] : [0, size, 2 * size];
  return (row, at) => {
    const opacity = opacityOf(row[at + opaque]);
    return places.map((place) => onBlack(most(row[at + place]), opacity));
  };
}

/** {rgba, warnings} of what `ownPng` found: its pixels laid on black, and sentences. */
export async function unpack(found) {
  const { width, height, data } = found;
  const raw = await inflated(data, "deflate");
  const step = (SAMPLES[found.colour] * found.depth) / 8;
  const line = step * width;
  if (raw.length < (line + 1) * height) throw new Error("the data end too early");
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  const seen = { opacity: 255, most: 0 };
  const pixel = pixelOf(found, seen);
  let above = new Uint8Array(line);
  for (let y = 0; y < height; y++) {
    const row = raw.subarray(y * (line + 1) + 1, (y + 1) * (line + 1));
    unfilter(raw[y * (line + 1)], row, above, step);
    for (let x = 0, at = 0, to = 4 * y * width; x < width; x++, at += step, to += 4) rgba.set(pixel(row, at), to);
    above = row;
  }
  const warnings = seen.opacity < 255 ? [ON_BLACK] : [];
  return { rgba, warnings: found.depth === 16 && seen.most <= DARK ? [...warnings, NEARLY_BLACK] : warnings };
}
