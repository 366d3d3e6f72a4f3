// From a grid of the model to the picture, as Preprocessing.placement and to_original have it.

/** Python's round: halves go to the even neighbour. */
export const round = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** Size of the whole resized picture and where its corner lies on the input; as [y, x]. */
export function inner([height, width], p) {
  const ratios = [p.height / height, p.width / width];
  const ratio = p.fit === "crop" ? Math.max(...ratios) / p.crop_share : Math.min(...ratios);
  const size = [Math.max(1, round(height * ratio)), Math.max(1, round(width * ratio))];
  return { size, corner: [Math.floor((p.height - size[0]) / 2), Math.floor((p.width - size[1]) / 2)] };
}

/** input = scale * original + shift, as [y, x]. */
export function placement([height, width], p) {
  if (p.fit === "stretch") return { scale: [p.height / height, p.width / width], shift: [0, 0] };
  const { size, corner } = inner([height, width], p);
  return { scale: [size[0] / height, size[1] / width], shift: corner };
}

/** (height, width) of a picture whose longer side is brought down to `longest`. */
export function fitted([height, width], longest) {
  const ratio = Math.min(1, longest / Math.max(height, width));
  return [Math.max(1, round(height * ratio)), Math.max(1, round(width * ratio))];
}

/** Along one axis, for each pixel the lower of two cells and the share of the upper one; null where nothing was seen. */
function shares(length, cells, scale, shift, { stride, offset }, axis, inputLength) {
  return Array.from({ length }, (_, i) => {
    const seen = (i + 0.5) * scale + shift;
    if (seen < 0 || seen > inputLength) return null;
    const position = Math.min(cells - 1, Math.max(0, (seen - offset[axis]) / stride[axis]));
    const lower = Math.min(Math.trunc(position), Math.max(cells - 2, 0));
    return [lower, Math.min(lower + 1, cells - 1), position - lower];
  });
}

/** A grid {values, height, width} on a picture of `size` [height, width]: Float32Array. */
export function toOriginal(grid, geometry, size, p) {
  const { scale, shift } = placement(size, p);
  const down = shares(size[0], grid.height, scale[0], shift[0], geometry, 0, p.height);
  const across = shares(size[1], grid.width, scale[1], shift[1], geometry, 1, p.width);
  const placed = new Float32Array(size[0] * size[1]);
  const row = new Float64Array(grid.width);
  down.forEach((y, i) => {
    if (y === null) return;
    for (let x = 0; x < grid.width; x++) {
      row[x] = (1 - y[2]) * grid.values[y[0] * grid.width + x] + y[2] * grid.values[y[1] * grid.width + x];
    }
    across.forEach((x, j) => {
      if (x !== null) placed[i * size[1] + j] = (1 - x[2]) * row[x[0]] + x[2] * row[x[1]];
    });
  });
  return placed;
}

/** A grid on the pixels of the model's input. */
export function laidOnInput({ values, height, width, geometry }, preprocessing) {
  const whole = { ...preprocessing, fit: "stretch" };
  return toOriginal({ values, height, width }, geometry, [whole.height, whole.width], whole);
}
