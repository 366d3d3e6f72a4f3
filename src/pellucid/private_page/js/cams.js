// Class activation maps, as explanation/cam.py states them: from activations and the gradients of one class to a map.
// Sums are kept in double precision; only what is given back is float32.

/** `a` and `g` hold channels x cells values. Every function gives one value for each cell. */
function weighted(a, weights, cells) {
  const map = new Float64Array(cells);
  weights.forEach((weight, c) => {
    if (weight !== 0) for (let i = 0, at = c * cells; i < cells; i++) map[i] += weight * a[at + i];
  });
  return map;
}

const perChannel = (channels, value) => Float64Array.from({ length: channels }, (_, c) => value(c));

function total(values, c, cells) {
  let sum = 0;
  for (let i = c * cells; i < (c + 1) * cells; i++) sum += values[i];
  return sum;
}

const positive = (map) => map.map((value) => Math.max(0, value));

const gradCam = ({ a, g, channels, cells }) => weighted(a, perChannel(channels, (c) => total(g, c, cells) / cells), cells);

function gradCamPlusPlus({ a, g, channels, cells }) {
  const weights = perChannel(channels, (c) => {
    const sum = total(a, c, cells);
    let weight = 0;
    for (let i = c * cells; i < (c + 1) * cells; i++) {
      const up = Math.max(0, g[i]);
      const below = 2 + sum * up;
      if (below > 0) weight += up / below;
    }
    return weight;
  });
  return positive(weighted(a, weights, cells));
}

function cellByCell({ a, g, channels, cells }, slope) {
  const map = new Float64Array(cells);
  for (let c = 0; c < channels; c++) for (let i = 0, at = c * cells; i < cells; i++) map[i] += a[at + i] * slope(g[at + i]);
  return map;
}

function xGradCam({ a, g, channels, cells }) {
  const weights = perChannel(channels, (c) => {
    let [joint, sum, size] = [0, 0, 0];
    for (let i = c * cells; i < (c + 1) * cells; i++) {
      joint += a[i] * g[i];
      sum += a[i];
      size += Math.abs(a[i]);
    }
    return Math.abs(sum) > 1e-6 * size ? joint / sum : 0;
  });
  return weighted(a, weights, cells);
}

/** The Gram matrix of the smaller side of `a`, and its first eigenvector by the power method. */
function principal(a, channels, cells) {
  const byCell = cells <= channels;
  const n = byCell ? cells : channels;
  const gram = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let sum = 0;
      if (byCell) for (let c = 0; c < channels; c++) sum += a[c * cells + i] * a[c * cells + j];
      else for (let k = 0; k < cells; k++) sum += a[i * cells + k] * a[j * cells + k];
      gram[i * n + j] = gram[j * n + i] = sum;
    }
  }
  let vector = new Float64Array(n).fill(1 / Math.sqrt(n));
  let value = 0;
  for (let turn = 0; turn < 3000; turn++) {
    const next = new Float64Array(n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) next[i] += gram[i * n + j] * vector[j];
    value = Math.hypot(...next);
    if (!(value > 0)) break;
    let moved = 0;
    for (let i = 0; i < n; i++) {
      next[i] /= value;
      moved = Math.max(moved, Math.abs(next[i] - vector[i]));
    }
    vector = next;
    if (moved < 1e-12) break;
  }
  return { byCell, vector, value };
}

function eigenCam({ a, channels, cells }) {
  const { byCell, vector, value } = principal(a, channels, cells);
  const map = byCell ? vector.map((part) => part * Math.sqrt(Math.max(0, value))) : weighted(a, vector, cells);
  const sum = map.reduce((x, y) => x + y, 0);
  return positive(sum < 0 ? map.map((part) => -part) : map);
}

/** Of an anomaly detector: the distances that its score is made of, which are its one channel. */
const anomalyMap = ({ a, cells }) => positive(Float64Array.from(a.subarray(0, cells)));

export const CAMS = {
  "anomaly-map": anomalyMap,
  "grad-cam": gradCam,
  "grad-cam++": gradCamPlusPlus,
  hirescam: (given) => cellByCell(given, (slope) => slope),
  "xgrad-cam": xGradCam,
  layercam: (given) => positive(cellByCell(given, (slope) => Math.max(0, slope))),
  "eigen-cam": eigenCam,
};
