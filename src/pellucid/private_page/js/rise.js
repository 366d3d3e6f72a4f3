// RISE: where visibility goes with a higher score, as explanation/rise.py has it with its usual settings and masks.

import { blurred } from "./hidden.js";
import { scoreOf } from "./probabilities.js";
import { Random } from "./random.js";

const [SAMPLES, CELLS, VISIBLE, STABLE, AT_ONCE] = [2000, 7, 0.5, 0.9, 4];
const POINTS = CELLS + 2;

/** Soft masks by their number: the same as Python's, which draws all lattices, then all shifts. */
export function masks(height, width) {
  const random = new Random(0);
  const lattices = Uint8Array.from({ length: SAMPLES * POINTS * POINTS }, () => Number(random.double() < VISIBLE));
  const shifts = Float32Array.from({ length: 2 * SAMPLES }, () => random.single());
  const axis = (side, shift) =>
    Array.from({ length: side }, (_, i) => {
      const place = shift + ((i + 0.5) * CELLS) / side;
      const low = Math.floor(place);
      return [low, place - low];
    });
  return (number) => {
    const lattice = lattices.subarray(number * POINTS * POINTS, (number + 1) * POINTS * POINTS);
    const [down, across] = [axis(height, shifts[2 * number]), axis(width, shifts[2 * number + 1])];
    const mask = new Float32Array(height * width);
    const row = new Float64Array(POINTS);
    down.forEach(([low, share], y) => {
      for (let x = 0; x < POINTS; x++) row[x] = (1 - share) * lattice[low * POINTS + x] + (share && share * lattice[(low + 1) * POINTS + x]);
      across.forEach(([left, part], x) => (mask[y * width + x] = (1 - part) * row[left] + (part && part * row[left + 1])));
    });
    return mask;
  };
}

/** Sums over samples from which the map and its two halves follow. */
class Covariance {
  constructor(targets, pixels) {
    this.count = 0;
    this.centre = null;
    this.totals = [0, 1].map(() => new Float64Array(targets + 1));
    this.products = [0, 1].map(() => Array.from({ length: targets + 1 }, () => new Float32Array(pixels)));
  }

  add(mask, scores) {
    this.centre ??= scores;
    const half = this.count % 2;
    [...scores.map((score, t) => score - this.centre[t]), 1].forEach((rest, t) => {
      this.totals[half][t] += rest;
      const sums = this.products[half][t];
      for (let i = 0; i < sums.length; i++) sums[i] += rest * (mask[i] - VISIBLE);
    });
    this.count += 1;
  }

  #map(totals, products) {
    const last = totals.length - 1;
    return Array.from({ length: last }, (_, t) => {
      const mean = totals[t] / totals[last];
      return products[t].map((sum, i) => (sum - mean * products[last][i]) / (totals[last] - 1) / VISIBLE);
    });
  }

  values() {
    const totals = this.totals[0].map((sum, t) => sum + this.totals[1][t]);
    return this.#map(totals, this.products[0].map((sums, t) => sums.map((sum, i) => sum + this.products[1][t][i])));
  }

  agreement() {
    const [one, other] = [0, 1].map((half) => this.#map(this.totals[half], this.products[half]));
    return Math.min(...one.map((map, t) => correlation(map, other[t])));
  }
}

function correlation(one, other) {
  const mean = (map) => map.reduce((sum, value) => sum + value, 0) / map.length;
  const [a, b] = [mean(one), mean(other)];
  let [joint, first, second] = [0, 0, 0];
  one.forEach((value, i) => {
    joint += (value - a) * (other[i] - b);
    first += (value - a) ** 2;
    second += (other[i] - b) ** 2;
  });
  return first * second > 0 ? joint / Math.sqrt(first * second) : 1;
}

/** Maps for questions about classes: [{question, values}], and the remark on how they were made. */
export async function rise(model, tensor, questions, { progress, check }) {
  const { height, width } = model.preprocessing;
  const pixels = height * width;
  const mask = masks(height, width);
  const hidden = blurred(tensor, height, width);
  const whole = (await model.logits(tensor))[0];
  const sums = new Covariance(questions.length, pixels);
  let agreement = 0;
  for (const stop of [SAMPLES / 4, SAMPLES / 2, SAMPLES]) {
    while (sums.count < stop) {
      const drawn = Array.from({ length: AT_ONCE }, (_, i) => mask(sums.count + i));
      const batch = new Float32Array(AT_ONCE * tensor.length);
      drawn.forEach((visible, n) => {
        for (let i = 0; i < tensor.length; i++) batch[n * tensor.length + i] = visible[i % pixels] * (tensor[i] - hidden[i]) + hidden[i];
      });
      const found = await model.logits(batch);
      found.forEach((logits, n) => sums.add(drawn[n], questions.map((question) => scoreOf(logits, question))));
      check();
      progress(sums.count / SAMPLES);
    }
    agreement = sums.agreement();
    if (agreement >= STABLE) break;
  }
  const maps = sums.values().map((values, t) => ({ question: questions[t], values }));
  const settings = { samples: sums.count, stable: agreement >= STABLE, correlation_of_halves: Number(agreement.toFixed(4)) };
  return { logits: whole, maps, settings };
}
