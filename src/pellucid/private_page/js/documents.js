// What the server replies to a question, made here: serving/answers.py is the same in Python.

import { decisionOf } from "./deciding.js";
import { fitted, toOriginal } from "./place.js";
import { givesScore, predictedOf, probabilitiesOf } from "./probabilities.js";

const PREVIEW_SIDE = 4096;
const [COARSE_SIDE, GRID_SIDE, FINE_GRID_SIDE, CELLS_PER_CELL] = [64, 128, 256, 8];

/** The longer side of a method's map in an answer. */
function mapSide(method, { height, width }) {
  if (!method.looks_at_layer) return FINE_GRID_SIDE;
  return Math.min(GRID_SIDE, Math.max(COARSE_SIDE, CELLS_PER_CELL * Math.max(height, width)));
}

export function base64(bytes) {
  if (bytes.toBase64) return bytes.toBase64();
  let letters = "";
  for (let i = 0; i < bytes.length; i += 32768) letters += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(letters);
}

/** A picture that the page itself cannot decode, as a JPEG in base64 of no more than a canvas of the page takes. */
export async function previewOf({ width, height, read }) {
  const share = Math.min(1, PREVIEW_SIDE / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * share)), Math.max(1, Math.round(height * share)));
  const whole = await createImageBitmap(new ImageData(await read(0, height), width, height));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, canvas.width, canvas.height);
  whole.close();
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  return base64(new Uint8Array(await blob.arrayBuffer()));
}

/** One map on the picture: `grid` {values, height, width, geometry} as the method gave it. */
export function explanationOf(method, { place, against }, grid, size, model, layer, settings = {}) {
  const { manifest, facts, preprocessing } = model;
  const side = method.looks_at_layer ? mapSide(method, grid) : FINE_GRID_SIDE;
  const [height, width] = fitted(size, side);
  const values = toOriginal(grid, grid.geometry, [height, width], preprocessing);
  const score = givesScore(manifest) ? "output" : "log-odds";
  const top = layer === null || layer === manifest.layer?.name ? facts.scales[method.name] : null;
  return {
    method: method.name,
    target: manifest.classes[place],
    against: against === null ? null : manifest.classes[against],
    layer,
    score,
    unit: method.unit.replace("{score}", score),
    signed: method.signed,
    grid: { width, height, values: base64(new Uint8Array(values.buffer)) },
    quantiles: { model: top && top > 0 && layer !== null ? [0, top] : null },
    settings,
  };
}

function decision({ classes, task, threshold }, { label, output, confidence }, decided) {
  if (decided.outcome !== "answer") return [`${label[0].toUpperCase()}${label.slice(1)}.`, ...decided.reasons.map(({ text }) => text)].join(" ");
  const short = (value) => String(Number(value.toPrecision(3)));
  if (output !== null) return `The score is ${short(output)}, ${label === classes[1] ? "at least" : "below"} ${short(threshold)}: ${label}.`;
  const sure = `${label}, with a probability of ${(100 * confidence).toFixed(1)} %`;
  return task === "multiclass" ? `${sure}.` : `${sure}; ${classes[1]} is answered from ${short(100 * threshold)} % on.`;
}

/** The answer to one image, without maps. `outside` is null where the bundle does not know its training images. */
export function predictionOf(model, logits, outside, picture, warnings, seconds) {
  const { manifest, facts } = model;
  const probabilities = probabilitiesOf(logits, manifest);
  const place = predictedOf(logits, probabilities, manifest);
  const scored = givesScore(manifest);
  const decided = decisionOf(manifest, probabilities, place, scored ? logits[0] : null, outside);
  const answer = {
    label: decided.label,
    confidence: scored ? null : probabilities[place],
    probabilities: Object.fromEntries(probabilities.map((share, i) => [manifest.classes[i], share])),
    output: scored ? logits[0] : null,
  };
  const flagged = outside !== null && outside > 1;
  return {
    id: picture.number,
    stored: false,
    model: facts.card.name,
    ...answer,
    decision: decision(manifest, answer, decided),
    answer: decided,
    outside: outside === null ? null : { score: Number.isFinite(outside) ? outside : null, flagged, sentence: flagged ? facts.outside : facts.inside },
    warnings: flagged ? [facts.outside, ...warnings] : warnings,
    image: { width: picture.width, height: picture.height, format: picture.format },
    seconds,
  };
}
