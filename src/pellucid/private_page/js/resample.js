// Pillow's resampling of 8-bit pictures in its own integers, and pellucid's three ways to fit a picture to a model.
//
// Pillow (src/libImaging/Resample.c): coefficients as doubles, normalised, then rounded to 22 bits; a horizontal pass
// into bytes, then a vertical one. The box is of 32-bit floats, as Pillow's C interface takes it. From Pillow 13 on the
// vertical pass comes first where the height shrinks by more than twice the pixels that the width shrinks by.

import { kernels } from "./kernels.js";
import { inner } from "./place.js";

const BITS = 22;
// Pixels that are read at a time.
const BAND = 2 ** 20;
const FILTERS = {
  bilinear: [1, (x) => (x < 1 ? 1 - x : 0)],
  lanczos: [3, (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0)],
  bicubic: [2, (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0)],
};

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/**
 * For each of `out` places the first source pixel, and `size` weights in 22 bits: as many as the longest has, and a
 * multiple of `unit`. `end` is behind the last source pixel.
 */
export function weights(length, from, to, out, filter, unit = 1) {
  const [reach, value] = FILTERS[filter];
  const scale = Math.fround(to - from) / out;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const rows = Array.from({ length: out }, (_, i) => {
    const centre = from + (i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(length, Math.trunc(centre + support + 0.5)) - low;
    const row = Float64Array.from({ length: count }, (__, k) => value(Math.abs((k + low - centre + 0.5) * (1 / stretch))));
    const sum = row.reduce((a, b) => a + b, 0);
    return { low, row: row.map((share) => rounded((sum === 0 ? share : share / sum) * 2 ** BITS)) };
  });
  const size = Math.ceil(Math.max(...rows.map(({ row }) => row.length)) / unit) * unit;
  const taps = new Int32Array(out * size);
  rows.forEach(({ row }, i) => taps.set(row, i * size));
  const last = rows[out - 1];
  return { first: Int32Array.from(rows, ({ low }) => low), taps, size, end: last.low + last.row.length };
}

const rounded = (share) => Math.trunc(share < 0 ? share - 0.5 : share + 0.5);

// Instances of the two passes that are at rest, and the most memory that one of these keeps.
const resting = [];
const KEPT = 2 ** 26;
const PAGE = 2 ** 16;
let compiled = null;

/** Run `work` with the passes in `bytes` of memory, which no other picture uses meanwhile. */
async function withPasses(bytes, work) {
  compiled ??= new WebAssembly.Module(kernels(BITS));
  const passes = resting.pop() ?? new WebAssembly.Instance(compiled).exports;
  const lacking = bytes - passes.memory.buffer.byteLength;
  if (lacking > 0) passes.memory.grow(Math.ceil(lacking / PAGE));
  const result = await work(passes);
  if (passes.memory.buffer.byteLength <= KEPT) resting.push(passes);
  return result;
}

const aligned = (bytes) => (bytes + 15) & ~15;

/** Places in memory one behind another: `at` has one for each length of `lengths` in bytes, `total` is the whole. */
function laidOut(lengths) {
  let total = 0;
  const at = Object.fromEntries(Object.entries(lengths).map(([name, length]) => [name, (total += aligned(length)) - aligned(length)]));
  return { at, total };
}

/** Put a pass's weights into memory; `unit` bytes lie between source pixels. */
function placed(passes, at, { first, taps }, unit, top = 0) {
  const values = new Int32Array(passes.memory.buffer);
  values.set(first.map((low) => (low - top) * unit), at.first / 4);
  values.set(taps, at.taps / 4);
}

/** Rows of RGBA bytes that are `line` bytes apart as RGB bytes. */
function rgbOf(bytes, line, w, h) {
  const rgb = new Uint8Array(3 * w * h);
  for (let y = 0, to = 0; y < h; y++) {
    for (let from = line * y, end = from + 4 * w; from < end; from += 4) {
      rgb[to++] = bytes[from];
      rgb[to++] = bytes[from + 1];
      rgb[to++] = bytes[from + 2];
    }
  }
  return rgb;
}

/** As `resize`, in Pillow's usual order: across, band by band, then down. */
function acrossThenDown(read, width, [w, h], horizontal, vertical) {
  const top = vertical.first[0];
  const line = aligned(4 * w);
  const band = Math.max(1, Math.floor(BAND / width));
  const { at, total } = laidOut({
    first: 4 * w, taps: 4 * horizontal.taps.length, downFirst: 4 * h, downTaps: 4 * vertical.taps.length,
    middle: line * (vertical.end - top), out: line * h, band: 4 * width * Math.min(band, vertical.end - top),
    // The passes read as many pixels for each sum, where fewer count with a weight of 0.
    beyond: 4 * horizontal.size + line * vertical.size,
  });
  return withPasses(total, async (passes) => {
    placed(passes, { first: at.first, taps: at.taps }, horizontal, 4);
    placed(passes, { first: at.downFirst, taps: at.downTaps }, vertical, line, top);
    const bytes = new Uint8Array(passes.memory.buffer);
    for (let y = top; y < vertical.end; y += band) {
      const rows = Math.min(band, vertical.end - y);
      bytes.set(await read(y, rows), at.band);
      passes.across(at.band, 4 * width, rows, at.first, at.taps, 4 * horizontal.size, w, at.middle + line * (y - top), line);
    }
    passes.down(at.middle, line, at.downFirst, at.downTaps, 4 * vertical.size, h, at.out);
    return rgbOf(bytes.subarray(at.out), line, w, h);
  });
}

/** As `resize`, where Pillow shrinks the height first. */
function downThenAcross(read, width, [w, h], horizontal, vertical) {
  const top = vertical.first[0];
  const rows = vertical.end - top;
  const wide = aligned(4 * width);
  const line = aligned(4 * w);
  const { at, total } = laidOut({
    first: 4 * w, taps: 4 * horizontal.taps.length, downFirst: 4 * h, downTaps: 4 * vertical.taps.length,
    out: line * h, middle: wide * h, band: wide * rows, beyond: 4 * horizontal.size + wide * vertical.size,
  });
  return withPasses(total, async (passes) => {
    placed(passes, { first: at.first, taps: at.taps }, horizontal, 4);
    placed(passes, { first: at.downFirst, taps: at.downTaps }, vertical, wide, top);
    const bytes = new Uint8Array(passes.memory.buffer);
    const given = await read(top, rows);
    for (let y = 0; y < rows; y++) bytes.set(given.subarray(4 * width * y, 4 * width * (y + 1)), at.band + wide * y);
    passes.down(at.band, wide, at.downFirst, at.downTaps, 4 * vertical.size, h, at.middle);
    passes.across(at.middle, wide, h, at.first, at.taps, 4 * horizontal.size, w, at.out, line);
    return rgbOf(bytes.subarray(at.out), line, w, h);
  });
}

/**
 * Resize the part `box` (left, top, right, bottom) of a picture to w x h: RGB bytes. `read(top, rows)` gives RGBA bytes
 * of whole rows, or a promise, and is asked for bands, so that no copy of a large picture is needed. `pillow` is
 * the version to be equal to.
 */
export async function resize(read, [width, height], [w, h], filter, box = [0, 0, width, height], pillow = 13) {
  if (filter === "nearest") return nearest(read, [width, height], [w, h], box);
  const [left, upper, right, lower] = box.map(Math.fround);
  const horizontal = weights(width, left, right, w, filter, 4);
  const vertical = weights(height, upper, lower, h, filter);
  const downFirst = pillow >= 13 && h < height && height - h > 2 * (width - w);
  return (downFirst ? downThenAcross : acrossThenDown)(read, width, [w, h], horizontal, vertical);
}

/** The pixel under each centre, as Pillow's affine transform finds it, whose centres are sums of steps. */
async function nearest(read, [width, height], [w, h], box) {
  const [left, upper, right, lower] = box.map(Math.fround);
  const places = (from, step, count, most) => {
    let at = from + step * 0.5;
    return Array.from({ length: count }, () => {
      const place = at < 0 ? -1 : Math.trunc(at);
      at += step;
      return place < most ? place : -1;
    });
  };
  const across = places(left, (right - left) / w, w, width);
  const rgb = new Uint8Array(3 * w * h);
  for (const [y, from] of places(upper, (lower - upper) / h, h, height).entries()) {
    if (from < 0) continue;
    const row = await read(from, 1);
    across.forEach((at, x) => {
      if (at >= 0) for (let c = 0; c < 3; c++) rgb[3 * (y * w + x) + c] = row[4 * at + c];
    });
  }
  return rgb;
}

/** What a model of `p` (the manifest's preprocessing) sees of a picture: RGB bytes, as Preprocessing.resize has it. */
export async function fit(read, [width, height], p, pillow = 13) {
  const size = [p.width, p.height];
  if (p.fit === "stretch") return resize(read, [width, height], size, p.interpolation, undefined, pillow);
  const { size: [innerH, innerW], corner: [top, left] } = inner([height, width], p);
  if (p.fit === "crop") {
    const [ys, xs] = [height / innerH, width / innerW];
    const box = [-left * xs, -top * ys, (p.width - left) * xs, (p.height - top) * ys];
    return resize(read, [width, height], size, p.interpolation, box, pillow);
  }
  const small = await resize(read, [width, height], [innerW, innerH], p.interpolation, undefined, pillow);
  const canvas = new Uint8Array(3 * p.width * p.height).fill(p.fill);
  for (let y = 0; y < innerH; y++) {
    canvas.set(small.subarray(3 * innerW * y, 3 * innerW * (y + 1)), 3 * (p.width * (top + y) + left));
  }
  return canvas;
}

/** Turn pixels of three bytes around, in place: BGR to RGB. */
export function swapEnds(bytes) {
  for (let i = 0; i < bytes.length; i += 3) [bytes[i], bytes[i + 2]] = [bytes[i + 2], bytes[i]];
}

/** RGB bytes to the tensor (3, height, width), in float32 step by step as NumPy does it. */
export function normalise(rgb, p) {
  const cells = p.width * p.height;
  const tensor = new Float32Array(3 * cells);
  for (let c = 0; c < 3; c++) {
    const factor = Math.fround(p.scale / p.deviation[c]);
    const shift = Math.fround(-p.mean[c] / p.deviation[c]);
    const values = Float32Array.from({ length: 256 }, (_, v) => Math.fround(Math.fround(v * factor) + shift));
    for (let i = 0; i < cells; i++) tensor[c * cells + i] = values[rgb[3 * i + c]];
  }
  return tensor;
}
