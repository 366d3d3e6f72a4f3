// Methods of the gradient by the pixels: explanation/saliency.py and integrated_gradients.py with their usual settings.

import { blurred } from "./hidden.js";
import { scoreOf } from "./probabilities.js";

const [STEPS, ERROR] = [256, 0.01];

/** One map from one gradient and the tensor. */
function once(mapOf) {
  return async (model, tensor, questions) => {
    const { logits, gradients } = await model.inputGradients(tensor, questions);
    const maps = gradients.map((slopes, t) => ({ question: questions[t], values: mapOf(slopes, tensor, model.preprocessing) }));
    return { logits, maps, settings: {} };
  };
}

function saliency(gradients, tensor, { width, height, scale, deviation }) {
  const pixels = width * height;
  const factors = deviation.map((value) => Math.fround(scale / value));
  return Float32Array.from({ length: pixels }, (_, i) => Math.max(...factors.map((factor, c) => Math.abs(gradients[c * pixels + i] * factor))));
}

function summed(gradients, way, pixels) {
  return Float32Array.from({ length: pixels }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < 3; c++) sum += gradients[c * pixels + i] * way[c * pixels + i];
    return sum;
  });
}

/** Numbers of steps to try, each twice the one before. */
function ladder(steps) {
  let first = steps;
  while (first > 16) first = Math.floor(first / 2);
  const found = [first];
  while (2 * found.at(-1) <= steps) found.push(2 * found.at(-1));
  return found;
}

/** One class on its way from the baseline: the sum of gradients so far, of which those at the two ends count half. */
class Share {
  constructor(question, begin, end, t) {
    Object.assign(this, { question, found: null, settings: {} });
    this.difference = scoreOf(end.logits, question) - scoreOf(begin.logits, question);
    this.sums = end.gradients[t].map((value, i) => (value + begin.gradients[t][i]) / 2);
  }

  add(gradients) {
    for (let i = 0; i < gradients.length; i++) this.sums[i] += gradients[i];
  }

  /** Look at the map after a number of steps; whether its sum is the difference in score within the error allowed. */
  settle(steps, way) {
    this.found = summed(this.sums.map((value) => value / steps), way, way.length / 3);
    const gap = Math.abs(this.found.reduce((sum, value) => sum + value, 0) - this.difference);
    const error = gap / Math.max(Math.abs(this.difference), 1.1754944e-38);
    const complete = error <= ERROR;
    this.settings = { steps_used: steps, completeness_error: Number(error.toPrecision(3)), stopped_by: complete ? "complete" : "budget" };
    return complete;
  }
}

async function integrated(model, tensor, questions, { check, progress }) {
  const baseline = blurred(tensor, model.preprocessing.height, model.preprocessing.width);
  const way = tensor.map((value, i) => value - baseline[i]);
  const begin = await model.inputGradients(baseline, questions);
  const end = await model.inputGradients(tensor, questions);
  const shares = questions.map((question, t) => new Share(question, begin, end, t));
  let open = shares;
  let known = 1;
  for (const steps of ladder(STEPS)) {
    for (let k = 1; k < steps; k++) {
      if ((k * known) % steps === 0) continue;
      const share = Math.fround(k / steps);
      const asked = open.map(({ question }) => question);
      const { gradients } = await model.inputGradients(way.map((value, i) => baseline[i] + share * value), asked);
      open.forEach((one, t) => one.add(gradients[t]));
      check();
      progress(k / steps);
    }
    known = steps;
    open = open.filter((one) => !one.settle(steps, way));
    if (!open.length) break;
  }
  return { logits: end.logits, maps: shares.map(({ question, found, settings }) => ({ question, values: found, settings })), settings: {} };
}

export const GRADIENTS = {
  saliency: once(saliency),
  "gradient-x-input": once((gradients, tensor, { width, height }) => summed(gradients, tensor, width * height)),
  "integrated-gradients": integrated,
};
