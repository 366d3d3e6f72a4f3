// Whether this browser gives the pixels and answers that Python gave for three tiny pictures.

import { normalise } from "./resample.js";
import { decode } from "./decode.js";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** How far the pixels of one picture are from those expected: the largest difference of 255. */
async function pixelsApart(blob, expected, limits) {
  const picture = await decode(blob, limits);
  const { width, height } = picture;
  const rgba = picture.read(0, height);
  picture.close();
  if (3 * width * height !== expected.length) return 255;
  let most = 0;
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) most = Math.max(most, Math.abs(rgba[4 * i + c] - expected[3 * i + c]));
  }
  return most;
}

/**
 * {pictures, pixels, logits, graph}: the largest differences, `graph` for a pattern that no decoder has touched. The
 * user's images come first: each step waits for `quiet()`.
 */
export async function selfCheck(model, prepare, quiet) {
  const { facts, preprocessing } = model;
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
  const { side, seen, logits } = facts.check.graph;
  const small = bytesOf(seen);
  const { width, height } = preprocessing;
  const rgb = Uint8Array.from({ length: 3 * width * height }, (_, i) => small[3 * (Math.floor(i / 3 / width) % side) * side + 3 * (Math.floor(i / 3) % width % side) + (i % 3)]);
  found.graph = apart((await model.logits(normalise(rgb, preprocessing)))[0], logits);
  return found;
}
