// The methods that this page explains by: each gives maps on a grid for some classes of one tensor.

import { CAMS } from "./cams.js";
import { features } from "./model.js";

/** Maps of a CAM method, for classes by their places or the one predicted. */
async function byEvidence(name, model, tensor, places) {
  const found = await model.evidence(tensor, places);
  const [, channels, height, width] = found.dims;
  const cells = height * width;
  const { stride, offset } = model.manifest.layer;
  const maps = found.gradients.map((g, t) => ({
    place: found.places[t],
    grid: { values: Float32Array.from(CAMS[name]({ a: found.activations, g, channels, cells })), height, width, geometry: { stride, offset } },
  }));
  return { logits: found.logits, features: features(found.activations, found.dims), layer: model.manifest.layer.name, maps };
}

/** What a method answers: {logits, features or null, layer or null, maps: [{place, grid, settings}]}. */
export async function explained(name, model, tensor, places, { progress, check }) {
  if (name in CAMS) return byEvidence(name, model, tensor, places);
  throw { code: "method", detail: name };
}
