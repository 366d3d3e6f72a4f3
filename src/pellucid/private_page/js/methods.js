// The methods that this page explains by: each gives maps on a grid for some classes of one tensor.

import { CAMS } from "./cams.js";
import { GRADIENTS } from "./gradients.js";
import { features } from "./model.js";
import { occlusion } from "./occlusion.js";
import { rise } from "./rise.js";
import { SLOW_CAMS } from "./slow-cams.js";

/** Maps of a CAM method, for classes by their places or the one predicted. */
async function byEvidence(name, model, tensor, places, watch) {
  const found = await model.evidence(tensor, places);
  const [, channels, height, width] = found.dims;
  const cells = height * width;
  const { stride, offset } = model.manifest.layer;
  const geometry = { stride, offset };
  const a = found.activations;
  const channel = (c) => a.subarray(c * cells, (c + 1) * cells);
  const values = SLOW_CAMS[name]
    ? await SLOW_CAMS[name](model, tensor, found, { channel, channels, cells, height, width, geometry }, watch)
    : found.gradients.map((g) => CAMS[name]({ a, g, channels, cells }));
  const maps = values.map((map, t) => ({ place: found.places[t], grid: { values: Float32Array.from(map), height, width, geometry } }));
  return { logits: found.logits, features: features(found.activations, found.dims), layer: model.manifest.layer.name, maps };
}

// One value for each pixel of the model's input.
const PIXELS = { stride: [1, 1], offset: [0.5, 0.5] };
const BY_PIXELS = { ...GRADIENTS, occlusion, rise };

async function byPixels(name, model, tensor, places, watch) {
  const { height, width } = model.preprocessing;
  const asked = places ?? [model.target((await model.logits(tensor))[0])];
  const found = await BY_PIXELS[name](model, tensor, asked, watch);
  const maps = found.maps.map(({ place, values, settings }) => ({
    place,
    grid: { values, height, width, geometry: PIXELS },
    settings: settings ?? found.settings,
  }));
  return { logits: found.logits, features: null, layer: null, maps };
}

/**
 * What a method answers: {logits, features or null, layer or null, maps: [{place, grid, settings}]}; without a method
 * the answer alone. `watch` has `check()`, which throws when the work is no longer wanted, and `progress(share)`.
 */
export async function explained(name, model, tensor, places, watch) {
  if (name in CAMS || name in SLOW_CAMS) return byEvidence(name, model, tensor, places, watch);
  if (name in BY_PIXELS) return byPixels(name, model, tensor, places, watch);
  return { logits: (await model.logits(tensor))[0], features: null, layer: null, maps: [] };
}
