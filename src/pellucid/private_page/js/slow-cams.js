// Score-CAM and Ablation-CAM: channels weighted by many passes, as explanation/score_cam.py and ablation_cam.py do.

import { laidOnInput } from "./place.js";
import { scoreOf } from "./probabilities.js";

const [CHANNELS, AT_ONCE, TAIL_AT_ONCE, MOST_VALUES] = [128, 4, 128, 2 ** 24];

function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** Places of the channels that vary most, in ascending order. */
function mostVaried(channel, channels) {
  const deviation = Array.from({ length: channels }, (_, c) => Math.fround(spread(channel(c))));
  const order = deviation.map((_, c) => c).sort((a, b) => deviation[b] - deviation[a] || a - b);
  return order.slice(0, CHANNELS).sort((a, b) => a - b);
}

/** A channel laid on the model's input and stretched to 0..1. */
function inputMask(values, shape, preprocessing) {
  const mask = laidOnInput({ ...shape, values }, preprocessing);
  let [low, high] = [Infinity, -Infinity];
  for (const value of mask) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const range = Math.max(high - low, 1.1754944e-38);
  return mask.map((value) => (value - low) / range);
}

/** The sum over channels of weight times activation. */
function weighted(channel, chosen, weights, cells) {
  const map = new Float64Array(cells);
  chosen.forEach((c, k) => channel(c).forEach((value, i) => (map[i] += weights[k] * value)));
  return map;
}

async function scoreCam(model, tensor, found, shape, { check, progress }) {
  const { channel, channels, cells } = shape;
  const chosen = mostVaried(channel, channels);
  const shown = chosen.filter((c) => channel(c).some((value) => value !== channel(c)[0]));
  const exponents = found.questions.map(() => new Map());
  const pixels = tensor.length / 3;
  for (let start = 0; start < shown.length; start += AT_ONCE) {
    const chunk = shown.slice(start, start + AT_ONCE);
    const batch = new Float32Array(chunk.length * tensor.length);
    chunk.forEach((c, n) => {
      const mask = inputMask(channel(c), shape, model.preprocessing);
      for (let i = 0; i < tensor.length; i++) batch[n * tensor.length + i] = tensor[i] * mask[i % pixels];
    });
    const logits = await model.logits(batch);
    logits.forEach((z, n) => found.questions.forEach((question, t) => exponents[t].set(chunk[n], scoreOf(z, question))));
    check();
    progress(Math.min(1, (start + chunk.length) / shown.length));
  }
  return exponents.map((scores) => {
    const most = Math.max(...scores.values());
    const powers = chosen.map((c) => (scores.has(c) ? Math.exp(scores.get(c) - most) : 0));
    const sum = Math.max(powers.reduce((a, b) => a + b, 0), 1.1754944e-38);
    return weighted(channel, chosen, powers.map((power) => power / sum), cells).map((value) => Math.max(0, value));
  });
}

async function ablationCam(model, tensor, found, shape, { check, progress }) {
  const { channel, channels, cells } = shape;
  const active = Array.from({ length: channels }, (_, c) => c).filter((c) => channel(c).some((value) => value !== 0));
  const drops = found.questions.map(() => []);
  const step = Math.max(1, Math.min(TAIL_AT_ONCE, Math.floor(MOST_VALUES / found.activations.length)));
  for (let start = 0; start < active.length; start += step) {
    const chunk = active.slice(start, start + step);
    const batch = new Float32Array(chunk.length * found.activations.length);
    chunk.forEach((c, n) => {
      const own = batch.subarray(n * found.activations.length, (n + 1) * found.activations.length);
      own.set(found.activations);
      own.fill(0, c * cells, (c + 1) * cells);
    });
    const logits = await model.tail(batch, [chunk.length, ...found.dims.slice(1)], shape.layer);
    logits.forEach((z) => found.questions.forEach((question, t) => drops[t].push(scoreOf(found.logits, question) - scoreOf(z, question))));
    check();
    progress(Math.min(1, (start + chunk.length) / active.length));
  }
  return drops.map((weights) => weighted(channel, active, weights, cells));
}

/** Each gives a map for every question of what `evidence` found. */
export const SLOW_CAMS = { "score-cam": scoreCam, "ablation-cam": ablationCam };
