// From logits to what is answered, as bundle/manifest.py and classifier.py have it: in float32 wherever they are.

const { fround } = Math;

function softmax(values) {
  const most = Math.max(...values);
  const powers = values.map((value) => fround(Math.exp(fround(value - most))));
  const sum = powers.reduce((a, b) => fround(a + b), 0);
  return powers.map((power) => fround(power / sum));
}

/** Whether a model answers with a score and no probabilities. */
export const givesScore = ({ task }) => task === "regression" || task === "anomaly";

/** Class probabilities of the logits of one image; empty where there is a score instead. */
export function probabilitiesOf(logits, { task, calibration }) {
  if (givesScore({ task })) return [];
  const [scale, shift] = [fround(calibration?.scale ?? 1), fround(calibration?.shift ?? 0)];
  const z = calibration ? logits.map((logit) => fround(fround(logit * scale) + shift)) : logits;
  return softmax(z.length === 1 ? [0, z[0]] : z);
}

/** The index of the class that logits are answered with, at the operating point. */
export function predictedOf(logits, probabilities, { task, threshold }) {
  if (task === "multiclass") return logits.indexOf(Math.max(...logits));
  const score = givesScore({ task }) ? logits[0] : probabilities[1];
  return Number(score >= threshold);
}

/** What is asked of a map: what speaks for the class at `place`, or for it and not the one at `against`. */
export const question = (place, against = null) => ({ place, against });

/**
 * The score that a question is about: the log-odds of a class against the others, or against another one; a single
 * logit's own; or a regression's output.
 */
export function scoreOf(logits, { place, against }) {
  if (logits.length === 1) return place === 1 ? logits[0] : fround(-logits[0]);
  if (against !== null) return fround(logits[place] - logits[against]);
  const others = logits.filter((_, i) => i !== place);
  const most = Math.max(...others);
  return fround(logits[place] - (most + Math.log(others.reduce((sum, z) => sum + Math.exp(z - most), 0))));
}
