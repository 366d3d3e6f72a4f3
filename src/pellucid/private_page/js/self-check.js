// Whether this browser gives the pixels and answers that Python gave for four tiny pictures.

import { CAMS } from "./cams.js";
import { decode } from "./decode.js";
import { normalise } from "./resample.js";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** How far the pixels of one picture are from those expected: the largest difference of 255. */
async function pixelsApart(blob, expected, limits) {
  const picture = await decode(blob, limits);
  const { width, height, blueFirst } = picture;
  const pixels = await picture.read(0, height);
  picture.close();
  if (3 * width * height !== expected.length) return 255;
  let most = 0;
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) most = Math.max(most, Math.abs(pixels[4 * i + (blueFirst ? 2 - c : c)] - expected[3 * i + c]));
  }
  return most;
}

/**
 * {pictures, pixels, logits, graph}: the largest differences, `graph` for a pattern that no decoder has touched. The
 * user's images come first: each step waits for `quiet()`.
 */
export async function selfCheck(model, prepare, quiet) {
  const { facts } = model;
  const found = { pictures: facts.check.pictures.length, pixels: 0, logits: 0, graph: 0 };
  // Of outputs and distances above 1 as a share: their last places are coarser.
  const apart = (logits, expected) => Math.max(...logits.map((z, i) => Math.abs(z - expected[i]) / Math.max(1, Math.abs(expected[i]))));
  for (const { kind, file, pixels, logits } of facts.check.pictures) {
    await quiet();
    const blob = new Blob([bytesOf(file)], { type: kind });
    found.pixels = Math.max(found.pixels, await pixelsApart(blob, bytesOf(pixels), facts.limits));
    const { tensor } = await prepare(blob, model);
    found.logits = Math.max(found.logits, apart((await model.logits(tensor))[0], logits));
  }
  found.graph = apart((await model.logits(patternOf(model)))[0], facts.check.graph.logits);
  return found;
}

/** The tensor of a pattern that no decoder has touched. */
function patternOf({ facts, preprocessing }) {
  const { side, seen } = facts.check.graph;
  const small = bytesOf(seen);
  const { width, height } = preprocessing;
  const rgb = Uint8Array.from({ length: 3 * width * height }, (_, i) => small[3 * (Math.floor(i / 3 / width) % side) * side + 3 * (Math.floor(i / 3) % width % side) + (i % 3)]);
  return normalise(rgb, preprocessing);
}

const [WARMING, MEASURED] = [2, 5];

/**
 * {logits, map, milliseconds}: what a model answers to the pattern, its Grad-CAM map, and how long a pass takes. After the
 * first pass, which prepares much, one of more than `enough` milliseconds is the last.
 */
export async function trial(model, { enough }, quiet) {
  const tensor = patternOf(model);
  const times = [];
  let found = null;
  while (times.length < WARMING + MEASURED && !(times.slice(1).at(-1) > enough)) {
    await quiet();
    const began = performance.now();
    found = model.manifest.layer ? await model.evidence(tensor) : { logits: (await model.logits(tensor))[0] };
    times.push(performance.now() - began);
  }
  const measured = times.slice(Math.min(WARMING, times.length - 1)).sort((a, b) => a - b);
  return { logits: found.logits, map: model.manifest.layer ? mapOf(found) : [], milliseconds: measured[measured.length >> 1] };
}

function mapOf({ activations: a, dims: [, channels, height, width], gradients: [g] }) {
  return [...CAMS["grad-cam"]({ a, g, channels, cells: height * width })];
}
