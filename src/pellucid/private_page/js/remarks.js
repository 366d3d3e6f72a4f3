// What is to be said of a picture beside its answer, as images/pictures.py says it.

export function remarks({ width, height, warnings }) {
  const found = [];
  if (Math.min(width, height) < 16) found.push(`The picture is only ${width} x ${height} pixels, too few to show much.`);
  if (Math.max(width, height) > 10 * Math.min(width, height)) {
    found.push(`The picture is very thin, ${width} x ${height} pixels, and is distorted or cut to fit a model.`);
  }
  return [...found, ...warnings];
}
