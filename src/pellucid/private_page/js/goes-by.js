// In which concepts of the model's audit the evidence for an answer lies: bundle/goes_by.py and known_concepts.py.

import { unpacked } from "./unpacked.js";

const [LEAST, MOST, STRONG] = [0.05, 3, 0.5];
const [FINE, SWEEPS] = [12, 60];

/** The factors of each class, and the concepts with what is known about each; null where the model has none. */
export async function readConcepts(bytes, described) {
  if (!described || !bytes) return null;
  const values = new Float32Array((await unpacked(bytes)).buffer);
  let at = 0;
  const take = (count) => values.subarray(at, (at += count));
  const factors = new Map(
    described.factors.map(({ place, parts, channels }) => [place, { parts: Array.from({ length: parts }, () => take(channels)), usual: take(channels) }]),
  );
  return { concepts: described.concepts, factors };
}

/** What channels contribute beyond the usual, each cell with its neighbours on a fine grid: an array for each cell. */
function contributions({ activations, gradients, dims: [, channels, height, width] }, usual) {
  const cells = height * width;
  const vectors = Array.from({ length: cells }, () => new Float64Array(channels));
  for (let c = 0; c < channels; c++) {
    const own = Float64Array.from({ length: cells }, (_, i) => activations[c * cells + i] * gradients[c * cells + i]);
    const sum = own.reduce((total, value) => total + value, 0);
    const beyond = sum > 0 ? Math.min(1, Math.max(0, 1 - usual[c] / sum)) : 0;
    if (!beyond) continue;
    const joined = Math.min(height, width) < FINE ? own : neighboursToo(own, height, width);
    joined.forEach((value, i) => (vectors[i][c] = Math.max(0, value * beyond)));
  }
  return vectors;
}

/** The sum of each cell and its eight neighbours. */
function neighboursToo(values, height, width) {
  return values.map((_, i) => {
    const [y, x] = [Math.floor(i / width), i % width];
    let sum = 0;
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) sum += values[v * width + u];
    }
    return sum;
  });
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** The amounts of parts, none negative, that come nearest to a vector, by coordinate descent. */
function amountsOf(vector, parts, products) {
  const seen = parts.map((part) => dot(part, vector));
  const norms = products.map((row, k) => Math.max(row[k], 1e-30));
  const amounts = seen.map((value, k) => Math.max(0, value / norms[k]) / parts.length);
  for (let turn = 0; turn < SWEEPS; turn++) {
    for (let k = 0; k < parts.length; k++) amounts[k] = Math.max(0, amounts[k] + (seen[k] - dot(products[k], amounts)) / norms[k]);
  }
  return amounts;
}

/** [{concept, label, share, status, words}], at most three, of the evidence {place, activations, gradients, dims}. */
export function conceptShares(evidence, { concepts, factors }) {
  const known = factors.get(evidence.place);
  if (!known) return [];
  const products = known.parts.map((one) => known.parts.map((other) => dot(one, other)));
  const cells = contributions(evidence, known.usual).map((vector) => amountsOf(vector, known.parts, products));
  const sums = cells.map((amounts) => amounts.reduce((sum, value) => sum + value, 0));
  const most = Math.max(...sums);
  if (!(most > 0)) return [];
  // As in the audit, the places with the strongest evidence count, not the many with a little.
  const strong = cells.filter((_, i) => sums[i] >= STRONG * most);
  const amounts = known.parts.map((_, k) => strong.reduce((sum, cell) => sum + cell[k], 0));
  const whole = amounts.reduce((sum, value) => sum + value, 0);
  const shares = concepts
    .filter(({ place, factor }) => place === evidence.place && amounts[factor] / whole >= LEAST)
    .map(({ concept, label, factor, status, words }) => ({ concept, label, share: amounts[factor] / whole, status, words }));
  return shares.sort((a, b) => b.share - a.share).slice(0, MOST);
}
