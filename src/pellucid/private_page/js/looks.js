// How an image looks, whatever it shows: evaluation/looks.py in double precision.

const QUANTILES = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98];
const LINES = [4, 2, 1, 1];
const [SIDE, SMALL] = [56, 1e-4];

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function deviation(values) {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}

/** A picture of one channel: values in rows. */
const picture = (height, width, value) => {
  const values = new Float64Array(height * width);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) values[y * width + x] = value(y, x);
  return { height, width, values };
};

const halved = ({ height, width, values }) =>
  picture(Math.floor(height / 2), Math.floor(width / 2), (y, x) => {
    const at = 2 * y * width + 2 * x;
    return (values[at] + values[at + 1] + values[at + width] + values[at + width + 1]) / 4;
  });

/** Logarithms of the mean first and second difference along lines that are `step` apart, of values `pace` apart. */
function changes(values, lines, step, length, pace) {
  const sums = [0, 0];
  for (const line of lines) {
    let before = null;
    for (let i = 1; i < length; i++) {
      const change = values[line * step + i * pace] - values[line * step + (i - 1) * pace];
      sums[0] += Math.abs(change);
      if (before !== null) sums[1] += Math.abs(change - before);
      before = change;
    }
  }
  const counts = [lines.length * (length - 1), lines.length * (length - 2)];
  return sums.map((sum, i) => Math.log((counts[i] > 0 ? sum / counts[i] : 0) + SMALL));
}

function detail(grey) {
  const found = [];
  let small = grey;
  LINES.forEach((every, scale) => {
    small = scale ? halved(small) : small;
    const lines = (count) => Array.from({ length: Math.ceil(count / every) }, (_, i) => i * every);
    const { height, width, values } = small;
    found.push(...changes(values, lines(height), width, width, 1), ...changes(values, lines(width), 1, height, width));
  });
  return found;
}

/** The share of sorted values below a level. */
const below = (sorted, level) => sorted.filter((value) => value < level).length / sorted.length;

/** The looks of a tensor (3, height, width) that `p`, the manifest's preprocessing, made. */
export function looksOf(tensor, p) {
  const { height, width } = p;
  const cells = height * width;
  const shifts = [0, 1, 2].map((c) => p.mean[c] / p.deviation[c]);
  const factors = [0, 1, 2].map((c) => (255 * p.scale) / p.deviation[c]);
  const level = (c, i) => (tensor[c * cells + i] + shifts[c]) / factors[c];
  const step = Math.max(1, Math.floor(Math.min(height, width) / SIDE));
  const grey = picture(height, width, (y, x) => {
    const i = y * width + x;
    return (level(0, i) + level(1, i) + level(2, i)) / 3;
  });
  const few = [];
  for (let y = 0; y < height; y += step) for (let x = 0; x < width; x += step) few.push(y * width + x);
  const red = few.map((i) => level(0, i) - level(1, i));
  const blue = few.map((i) => level(2, i) - level(1, i));
  const sorted = Float64Array.from(few, (i) => grey.values[i]).sort();
  const quantiles = QUANTILES.map((q) => sorted[Math.floor(q * (sorted.length - 1) + 0.5)]);
  const ends = [below(sorted, 1 / 128), 1 - below(sorted, 127 / 128)].map(Math.sqrt);
  const colours = [mean(red), mean(blue), mean(red.map(Math.abs)), mean(blue.map(Math.abs))];
  return [...colours, ...quantiles, mean(sorted), deviation(sorted), ...ends, ...detail(grey)];
}
