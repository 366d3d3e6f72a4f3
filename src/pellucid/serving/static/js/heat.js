// From raw evidence to colours, as in reporting/overlay.py: pure functions without the page.

import { COLOURS, isDiverging, table } from "./colours.js";

// An overlay is fully opaque from this share of the maximum.
const OPAQUE_FROM = 0.7;
const VISIBLE_SHARE = 0.05;
const SPREAD_SHARE = 0.3;
const PLACES = ["upper-left", "top", "upper-right", "left", "centre", "right", "lower-left", "bottom", "lower-right"];

/** The raw map of an explanation: {width, height, values: Float32Array, high, size}. */
export function decodeGrid({ width, height, values }) {
  const raw = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0));
  const floats = new Float32Array(raw.buffer);
  let high = 0;
  let size = 0;
  for (const value of floats) {
    if (value > high) high = value;
    if (Math.abs(value) > size) size = Math.abs(value);
  }
  return { width, height, values: floats, high, size };
}

/** The value drawn at the top of the scale: of this image, or one for every image of the model. */
export function displayLimit(explanation, scale, signed) {
  if (scale === "model" && explanation.quantiles?.model) {
    const [low, high] = explanation.quantiles.model;
    return signed ? Math.max(Math.abs(low), Math.abs(high)) : high;
  }
  return signed ? explanation.grid.size : explanation.grid.high;
}

/** How opaque a share of the scale's top is: 0 at 0, 1 from 0.7 on, smooth between. */
export function rise(share) {
  const u = Math.min(Math.abs(share) / OPAQUE_FROM, 1);
  return u * u * (3 - 2 * u);
}

/** For each of 257 steps of the scale its colour and opacity, as bytes of RGBA. */
function palette(map, opacity, threshold, opaque) {
  const colours = table(map);
  const steps = new Uint8ClampedArray(4 * COLOURS);
  for (let i = 0; i < COLOURS; i++) {
    const position = i / (COLOURS - 1);
    const share = isDiverging(map) ? 2 * position - 1 : position;
    steps.set(colours.subarray(3 * i, 3 * i + 3), 4 * i);
    const visible = Math.abs(share) >= threshold;
    steps[4 * i + 3] = opaque ? 255 : visible ? Math.round(255 * opacity * rise(share)) : 0;
  }
  return steps;
}

/**
 * Colour a grid: RGBA bytes, row by row. `limit` is the value at the top of the scale, `threshold` the share of it below
 * which nothing is drawn. With a diverging map values against the target count too. `opaque` paints every pixel.
 */
export function paint(grid, { map, limit, opacity, threshold = 0, opaque = false }) {
  const steps = new Uint32Array(palette(map, opacity, threshold, opaque).buffer);
  const pixels = new Uint32Array(grid.values.length);
  const signed = isDiverging(map);
  const top = COLOURS - 1;
  for (let i = 0; i < pixels.length; i++) {
    let share = limit > 0 ? grid.values[i] / limit : 0;
    share = Math.max(signed ? -1 : 0, Math.min(1, share));
    pixels[i] = steps[Math.round((signed ? (share + 1) / 2 : share) * top)];
  }
  return new Uint8ClampedArray(pixels.buffer);
}

/** What a picture must say in words because it shows nothing; null when it shows something. */
export function reading(grid, limit, signed) {
  const largest = signed ? grid.size : grid.high;
  if (largest === 0) return "none";
  return largest < VISIBLE_SHARE * limit ? "little" : null;
}

/** The smallest share of pixels that together hold half of the positive evidence. */
function halfShare(values) {
  const positive = values.filter((value) => value > 0).sort();
  let whole = 0;
  for (const value of positive) whole += value;
  let held = 0;
  let taken = 0;
  while (held < whole / 2) {
    taken += 1;
    held += positive[positive.length - taken];
  }
  return taken / values.length;
}

/** Where the positive evidence lies: {kind: "none" | "spread" | "strongest", share, place}. */
export function locate({ width, height, values, high }) {
  if (high <= 0) return { kind: "none" };
  const share = halfShare(values);
  if (share > SPREAD_SHARE) return { kind: "spread", share };
  let [row, column, found] = [0, 0, 0];
  values.forEach((value, i) => {
    if (value !== high) return;
    row += Math.floor(i / width) + 0.5;
    column += (i % width) + 0.5;
    found += 1;
  });
  const third = (sum, length) => Math.min(2, Math.floor((3 * sum) / found / length));
  return { kind: "strongest", share, place: PLACES[3 * third(row, height) + third(column, width)] };
}
