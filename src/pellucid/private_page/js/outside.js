// How far an image lies from the training images: evaluation/outside.py in double precision.

import { unpacked } from "./unpacked.js";

/** The bundle's description of its training images; null where it has none. */
export async function readReference(bytes, shape) {
  if (!bytes || !shape) return null;
  const values = new Float32Array((await unpacked(bytes)).buffer);
  const { channels, components } = shape;
  let at = 0;
  const take = (count) => values.subarray(at, (at += count));
  return {
    mean: take(channels),
    deviation: take(channels),
    components: Array.from({ length: components }, () => take(channels)),
    variances: take(components),
    rest: take(1)[0],
    threshold: shape.threshold,
  };
}

/** The distance of features over the threshold: above 1 an image is unusual. */
export function outsideScore(features, { mean, deviation, components, variances, rest, threshold }) {
  if (!features.every(Number.isFinite)) return Infinity;
  const standard = Float64Array.from(features, (value, i) => (value - mean[i]) / deviation[i]);
  const whole = standard.reduce((sum, value) => sum + value * value, 0);
  const along = components.map((row) => row.reduce((sum, value, i) => sum + value * standard[i], 0));
  const within = along.reduce((sum, value) => sum + value * value, 0);
  const near = along.reduce((sum, value, i) => sum + (value * value) / variances[i], 0);
  return Math.sqrt(near + (variances.length * Math.max(0, whole - within)) / rest) / threshold;
}
