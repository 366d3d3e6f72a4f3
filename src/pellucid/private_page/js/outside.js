// How far an image lies from the training images: evaluation/outside.py, detectors.py and joint.py in double precision.

import { unpacked } from "./unpacked.js";

const [NEAREST, OTHERS_WEIGHT, FAR] = [5, 2, 50];

/** The bundle's description of its training images; null where it has none. */
export async function readReference(bytes, shape) {
  if (!shape || (!bytes && shape.method !== "energy")) return null;
  const values = bytes ? new Float32Array((await unpacked(bytes)).buffer) : new Float32Array();
  let at = 0;
  return described(shape, (count) => values.subarray(at, (at += count)));
}

/** A detector of this shape from the values that follow. */
function described(shape, take) {
  const { method, channels } = shape;
  if (method === "energy") return shape;
  if (method === "joint") return { ...shape, parts: shape.parts.map((part) => described(part, take)) };
  const rows = (count, length = channels) => Array.from({ length: count }, () => take(length));
  const plane = () => ({ mean: take(channels), deviation: take(channels), components: rows(shape.components), variances: take(shape.components), rest: take(1)[0] });
  if (method === "mahalanobis") return { ...shape, ...plane() };
  const mean = take(channels);
  if (method === "class") return { ...shape, mean, deviation: take(channels), centres: rows(shape.classes), within: plane() };
  const near = shape.components;
  return { ...shape, mean, components: rows(near), rows: rows(shape.rows, near), others: rows(shape.others, near) };
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

const standardised = (features, { mean, deviation }) => Float64Array.from(features, (value, i) => (value - mean[i]) / deviation[i]);

function mahalanobis(features, plane) {
  const { components, variances, rest } = plane;
  const standard = standardised(features, plane);
  const along = components.map((row) => dot(row, standard));
  const near = along.reduce((sum, value, i) => sum + (value * value) / variances[i], 0);
  return Math.sqrt(near + (variances.length * Math.max(0, dot(standard, standard) - dot(along, along))) / rest);
}

/** The distance to the row of this rank by nearness; all are directions. */
function nearest(direction, rows, rank) {
  const cosines = rows.map((row) => dot(row, direction)).sort((a, b) => b - a);
  return Math.sqrt(Math.max(0, 2 - 2 * cosines[Math.min(rank, cosines.length) - 1]));
}

function neighbours(features, reference) {
  const centred = Float64Array.from(features, (value, i) => value - reference.mean[i]);
  const length = Math.max(Math.sqrt(dot(centred, centred)), 1e-12);
  const direction = reference.components.map((row) => dot(row, centred) / length);
  const own = nearest(direction, reference.rows, NEAREST);
  return reference.others.length ? own + OTHERS_WEIGHT * Math.max(own - nearest(direction, reference.others, 1), 0) : own;
}

function byClass(features, reference) {
  const standard = standardised(features, reference);
  return Math.min(...reference.centres.map((centre) => mahalanobis(standard.map((value, i) => value - centre[i]), reference.within)));
}

function energy(logits, { offset }) {
  const both = logits.length === 1 ? [logits[0] / 2, -logits[0] / 2] : [...logits];
  const top = Math.max(...both);
  return Math.max(offset - top - Math.log(both.reduce((sum, z) => sum + Math.exp(z - top), 0)), 1e-9);
}

/** The weighted root mean square of the scaled distances of several detectors: evaluation/joint.py. */
function joint(features, reference, logits, looks) {
  const squares = reference.parts.map((part, i) => {
    const far = distance(part.name === "looks" ? looks : features, part, logits, looks);
    const surprise = (Math.log(far) - reference.usual[i]) / reference.spread[i];
    return surprise === Infinity ? Infinity : Math.exp(2 * Math.min(Math.max(surprise, -FAR), FAR));
  });
  const whole = reference.weights.reduce((sum, one) => sum + one, 0);
  return Math.sqrt(dot(squares, reference.weights) / whole);
}

function distance(features, reference, logits, looks) {
  const far = { mahalanobis, neighbours, class: byClass, energy: () => energy(logits, reference), joint }[reference.method];
  return far(features, reference, logits, looks);
}

/** The distance of an image over the threshold: above 1 it is unusual. `looks` are wanted where the reference has some. */
export function outsideScore(features, reference, logits, looks = []) {
  if (!features.every(Number.isFinite)) return Infinity;
  return distance(features, reference, logits, looks) / reference.threshold;
}
