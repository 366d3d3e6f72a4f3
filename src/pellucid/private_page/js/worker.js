// The worker: decodes, prepares, runs the model and explains, so that the page never stalls.

import { decode } from "./decode.js";
import { base64, explanationOf, predictionOf, previewOf } from "./documents.js";
import { looksOf } from "./looks.js";
import { explained } from "./methods.js";
import { conceptShares, readConcepts } from "./goes-by.js";
import { features, Model } from "./model.js";
import { outsideScore, readReference } from "./outside.js";
import { predictedOf, probabilitiesOf, question } from "./probabilities.js";
import { remarks } from "./remarks.js";
import { fit, normalise, swapEnds } from "./resample.js";
import { selfCheck, trial } from "./self-check.js";
import { storedPng } from "./stored-png.js";
import { compiled } from "./unpacked.js";

let program = null;
let model = null;
let reference = null;
let concepts = null;
let answered = 0;
let busy = 0;
const stopped = new Set();
const wanted = new Map();

/** A part that the worker was not given at the start. */
function fetchPart(name) {
  if (!wanted.has(name)) {
    const given = Promise.withResolvers();
    wanted.set(name, given);
    postMessage({ needs: name });
  }
  return wanted.get(name).promise;
}

/** The tensor of a file, what the model sees of it, the picture's facts, and a `preview` of what no browser shows. */
export async function prepare(blob, { manifest, facts }, preview = false) {
  const picture = await decode(blob, facts.limits);
  try {
    const { width, height, format, warnings } = picture;
    const seen = await fit(picture.read, [width, height], manifest.preprocessing, facts.pillow);
    if (picture.blueFirst) swapEnds(seen);
    const shown = preview && format === "DICOM" ? await previewOf(picture) : null;
    return { tensor: normalise(seen, manifest.preprocessing), seen, shown, width, height, format, warnings };
  } finally {
    picture.close();
  }
}

/** The questions that a page asks: about every class, or one, perhaps against another; null about the one predicted. */
function questionsOf({ all_classes: all, target, against }) {
  const { classes } = model.manifest;
  if (all) return classes.map((_, i) => question(i));
  return target ? [question(classes.indexOf(target), against ? classes.indexOf(against) : null)] : null;
}

/** The evidence of the usual layer about the class predicted, from what a method found or by one pass more. */
async function evidenceOf(found, tensor) {
  const place = predictedOf(found.logits, probabilitiesOf(found.logits, model.manifest), model.manifest);
  const at = found.evidence?.questions.findIndex((asked) => asked.place === place && asked.against === null) ?? -1;
  const evidence = at >= 0 ? found.evidence : await model.evidence(tensor, [question(place)]);
  return { place, activations: evidence.activations, dims: evidence.dims, gradients: evidence.gradients[Math.max(0, at)] };
}

/** How far the image lies outside; null where the model does not know its training images. */
async function distance(found, tensor) {
  if (!reference || !model.manifest.layer) return null;
  const { activations, dims } = found.evidence ?? (await model.evidence(tensor));
  const looks = reference.looks ? looksOf(tensor, model.preprocessing) : [];
  return outsideScore(features(activations, dims), reference, found.logits, looks);
}

async function explain({ file, query }, watch) {
  const began = performance.now();
  const { layer: usual, layers } = model.manifest;
  const method = model.facts.card.methods.find(({ name }) => name === query.method);
  const made = await prepare(file, model, !query.again);
  watch.check();
  const layer = layers.find(({ name }) => name === query.layer) ?? usual;
  const found = await explained(query.method, model, made.tensor, questionsOf(query), layer, watch);
  const outside = await distance(found, made.tensor);
  const shares = concepts && conceptShares(await evidenceOf(found, made.tensor), concepts);
  const seconds = Math.round((performance.now() - began) / 0.1) / 1e4;
  const picture = { ...made, number: query.again ?? `local-${(answered += 1)}` };
  return {
    ...predictionOf(model, found.logits, outside, picture, remarks(made), seconds),
    explanations: found.maps.map(({ question: asked, grid, settings }) => explanationOf(method, asked, grid, [made.height, made.width], model, found.layer, settings)),
    goes_by: shares,
    seen: base64(storedPng(made.seen, model.preprocessing.width, model.preprocessing.height)),
    preview: made.shown,
  };
}

/** Refusals are {code}; anything else is a failure of the runtime, after which the worker is of no use. */
function failure(error) {
  if (error?.code && !(error instanceof DOMException)) return { error: { code: error.code, detail: error.detail } };
  if (error?.name === "NotReadableError") return { error: { code: "no-reading" } };
  const text = String(error?.message ?? error);
  const memory = error instanceof RangeError || /memory|alloc|out of bounds|unreachable|Aborted/i.test(text);
  return { error: { code: memory ? "memory" : "failed", detail: text }, dead: memory };
}

async function start({ facts, model: bytes, reference: described, concepts: factors, provider }) {
  model = await Model.open(globalThis.ort, { facts, model: bytes, program, fetchPart, provider });
  reference = await readReference(described, facts.reference);
  concepts = await readConcepts(factors, facts.concepts);
  postMessage({ ready: true });
}

/** Resolves when no image waits for an answer. */
async function quiet() {
  while (busy) await new Promise((resolve) => setTimeout(resolve, 20));
}

function answerTo(request, watch) {
  if (request.explain) return explain(request.explain, watch);
  return request.trial ? trial(model, request.trial, quiet) : selfCheck(model, prepare, quiet);
}

async function work(id, request) {
  const check = () => {
    if (stopped.delete(id)) throw { code: "cancelled" };
  };
  const progress = (share) => postMessage({ id, share });
  busy += Boolean(request.explain);
  try {
    check();
    const answer = await answerTo(request, { progress, check });
    postMessage({ id, answer });
  } catch (error) {
    postMessage({ id, ...failure(error) });
  } finally {
    busy -= Boolean(request.explain);
  }
}

globalThis.onmessage = ({ data }) => {
  if (data.runtime) (program = compiled(data.runtime)).catch(() => null);
  else if (data.start) start(data.start).catch((error) => postMessage({ broken: String(error?.message ?? error) }));
  else if (data.cancel) stopped.add(data.id);
  else if (data.give) wanted.get(data.give)?.resolve(data.bytes);
  else work(data.id, data);
};
