// The methods that this page explains by: each gives maps on a grid for some questions about one tensor.

import { CAMS } from "./cams.js";
import { GRADIENTS } from "./gradients.js";
import { LAYERED } from "./layered-cams.js";
import { occlusion } from "./occlusion.js";
import { rise } from "./rise.js";
import { SLOW_CAMS } from "./slow-cams.js";

/** What a CAM method reads of a layer: its sizes, where its cells lie, and its activations `a`. */
function shapeOf(layer, { activations, dims }) {
  const [, channels, height, width] = dims;
  const { stride, offset } = layer;
  return { layer, a: activations, channels, height, width, cells: height * width, geometry: { stride, offset } };
}

/** Maps of a CAM method at a layer. */
async function byEvidence(name, model, tensor, questions, layer, watch) {
  const found = await model.evidence(tensor, questions, layer.part);
  const shape = shapeOf(layer, found);
  const { cells, height, width, geometry } = shape;
  const channel = (c) => shape.a.subarray(c * cells, (c + 1) * cells);
  const values = SLOW_CAMS[name]
    ? await SLOW_CAMS[name](model, tensor, found, { ...shape, channel }, watch)
    : found.gradients.map((g) => CAMS[name]({ ...shape, g }));
  const maps = values.map((map, t) => ({ question: found.questions[t], grid: { values: Float32Array.from(map), height, width, geometry } }));
  return { logits: found.logits, evidence: layer.part === null ? found : null, layer: layer.name, maps };
}

// One value for each pixel of the model's input.
const PIXELS = { stride: [1, 1], offset: [0.5, 0.5] };
const BY_PIXELS = { ...GRADIENTS, occlusion, rise };

/** Maps that join several layers. */
async function byLayers(name, model, tensor, questions) {
  const { height, width } = model.preprocessing;
  const { logits, questions: asked, layers } = await model.layered(tensor, questions);
  const shapes = layers.map((found, i) => shapeOf(model.manifest.layered[i], found));
  const maps = asked.map((question, t) => {
    const values = LAYERED[name](shapes.map((shape, i) => ({ ...shape, g: layers[i].gradients[t] })), model.preprocessing);
    return { question, grid: { values, height, width, geometry: PIXELS } };
  });
  return { logits, evidence: { ...layers.at(-1), questions: asked }, layer: shapes.at(-1).layer.name, maps };
}

async function byPixels(name, model, tensor, questions, watch) {
  const { height, width } = model.preprocessing;
  const asked = questions ?? [model.usual((await model.logits(tensor))[0])];
  const found = await BY_PIXELS[name](model, tensor, asked, watch);
  const maps = found.maps.map(({ question, values, settings }) => ({
    question,
    grid: { values, height, width, geometry: PIXELS },
    settings: settings ?? found.settings,
  }));
  return { logits: found.logits, evidence: null, layer: null, maps };
}

/**
 * What a method answers: {logits, evidence or null, layer or null, maps: [{question, grid, settings}]}; without a method
 * the answer alone. `evidence` is that of the usual layer, as `Model.evidence` gives it, where the method had it; `layer`
 * is the one to explain. `watch` has `check()`, which throws when the work is no longer wanted, and `progress(share)`.
 */
export async function explained(name, model, tensor, questions, layer, watch) {
  if (name in CAMS || name in SLOW_CAMS) return byEvidence(name, model, tensor, questions, layer, watch);
  if (name in LAYERED) return byLayers(name, model, tensor, questions);
  if (name in BY_PIXELS) return byPixels(name, model, tensor, questions, watch);
  return { logits: (await model.logits(tensor))[0], evidence: null, layer: null, maps: [] };
}
