// Colour maps as lookup tables.

import { TABLES } from "./colour-tables.js";

export const SEQUENTIAL = ["inferno", "viridis", "magma", "turbo", "jet", "hot"];
export const DIVERGING = ["RdBu_r"];
export const MAPS = [...SEQUENTIAL, ...DIVERGING];
export const COLOURS = 257;

const decoded = new Map();

/** The 257 colours of a map, low to high: 771 bytes of red, green and blue. */
export function table(name) {
  if (!decoded.has(name)) decoded.set(name, Uint8Array.from(atob(TABLES[name]), (letter) => letter.charCodeAt(0)));
  return decoded.get(name);
}

export const isDiverging = (name) => DIVERGING.includes(name);

/** Draw a map as a strip of colours over the whole of a canvas, low on the left. */
export function drawStrip(canvas, name) {
  canvas.width = COLOURS;
  canvas.height = 1;
  const colours = table(name);
  const picture = new ImageData(COLOURS, 1);
  for (let i = 0; i < COLOURS; i++) {
    picture.data.set(colours.subarray(3 * i, 3 * i + 3), 4 * i);
    picture.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}
