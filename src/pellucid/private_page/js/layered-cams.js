// Maps that combine several layers, as explanation/layered_cams.py has them with their usual settings.

import { CAMS } from "./cams.js";
import { laidOnInput } from "./place.js";

const [LEAST_WEIGHT, QUANTILE] = [0.1, 0.9];

/** Values of at least 0, from their least to their greatest brought to 0..1; where they are all the same, 1 if evidence. */
function stretched(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (high > low) return values.map((value) => (value - low) / (high - low));
  return values.map(() => Number(high > 0));
}

const positive = (map) => Float32Array.from(map, (value) => Math.max(0, value));

/** RefineCAM: the product of the layers' maps, each laid on the input and stretched. */
function refined(layers, preprocessing) {
  return layers.map((layer) => stretched(laidOnInput({ ...layer, values: positive(CAMS["grad-cam++"](layer)) }, preprocessing))).reduce((product, map) => product.map((value, i) => value * map[i]));
}

/** The quantile of ascending values, with what lies between two taken in proportion. */
function quantile(ascending, share) {
  const at = share * (ascending.length - 1);
  const low = Math.floor(at);
  return ascending[low] + (at - low) * ((ascending[low + 1] ?? ascending[low]) - ascending[low]);
}

/** Weights of layers, 0 or 0.1 to 1, from how important each is. */
export function layerWeights(importance) {
  const counted = importance.filter((value) => value > 0).sort((a, b) => a - b);
  if (!counted.length) return importance.map(() => 0);
  const most = quantile(counted, QUANTILE);
  const [low, high] = [Math.min(counted[0], most), Math.min(counted.at(-1), most)];
  const share = (value) => (high > low ? (Math.min(value, most) - low) / (high - low) : 1);
  return importance.map((value) => (value > 0 ? LEAST_WEIGHT + (1 - LEAST_WEIGHT) * share(value) : 0));
}

/** Winsor-CAM: the weighted sum of the layers' Grad-CAM maps, stretched and laid on the input. */
function winsorised(layers, preprocessing) {
  const weights = layerWeights(layers.map(({ g }) => g.reduce((sum, value) => sum + value, 0) / g.length));
  const maps = layers.map((layer) => laidOnInput({ ...layer, values: stretched(positive(CAMS["grad-cam"](layer))) }, preprocessing));
  return maps[0].map((_, i) => maps.reduce((sum, map, k) => sum + weights[k] * map[i], 0));
}

/**
 * Each takes layers from front to back, {a, g, channels, cells, height, width, geometry}, and gives a map on the pixels of
 * the model's input.
 */
export const LAYERED = { "refine-cam": refined, "winsor-cam": winsorised };
