// What a hidden pixel becomes: the image under a Gaussian blur of a twentieth of its longer side, as explanation/
// replacement.py has it by scipy: each axis in double precision, each result in float32.

const [SHARE, TRUNCATE] = [1 / 20, 3];

function kernel(deviation) {
  const radius = Math.trunc(TRUNCATE * deviation + 0.5);
  const weights = Float64Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp((-0.5 / deviation ** 2) * (i - radius) ** 2));
  const sum = weights.reduce((a, b) => a + b, 0);
  return { radius, weights: weights.map((weight) => weight / sum) };
}

/** The place of pixel `i` of `length`, mirrored at the borders with the border pixel twice. */
function mirrored(i, length) {
  const period = 2 * length;
  const place = ((i % period) + period) % period;
  return place < length ? place : period - 1 - place;
}

/** One axis of planes: `count` lines of `length` values, `step` apart within a line. */
function along(values, length, step, starts, { radius, weights }) {
  const result = new Float32Array(values.length);
  const places = Int32Array.from({ length: length + 2 * radius }, (_, i) => mirrored(i - radius, length) * step);
  const line = new Float64Array(length + 2 * radius);
  for (const start of starts) {
    places.forEach((place, i) => (line[i] = values[start + place]));
    for (let i = 0; i < length; i++) {
      // In scipy's order: the centre, then pairs.
      let sum = line[i + radius] * weights[radius];
      for (let k = radius; k >= 1; k--) sum += (line[i + radius - k] + line[i + radius + k]) * weights[radius - k];
      result[start + i * step] = sum;
    }
  }
  return result;
}

/** The tensor (3, height, width) blurred. */
export function blurred(tensor, height, width) {
  const made = kernel(SHARE * Math.max(height, width));
  const columns = Array.from({ length: 3 * width }, (_, i) => Math.floor(i / width) * height * width + (i % width));
  const rows = Array.from({ length: 3 * height }, (_, i) => i * width);
  return along(along(tensor, height, width, columns, made), width, 1, rows, made);
}
