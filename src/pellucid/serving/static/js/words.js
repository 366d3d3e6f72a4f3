// Sentences from facts, in the reader's language.

import { bytes, has, number, percent, t } from "./i18n.js";
import { locate } from "./heat.js";

const TITLES = {
  "grad-cam": "Grad-CAM",
  "grad-cam++": "Grad-CAM++",
  hirescam: "HiResCAM",
  "xgrad-cam": "XGrad-CAM",
  layercam: "LayerCAM",
  "eigen-cam": "Eigen-CAM",
  "refine-cam": "RefineCAM",
  "winsor-cam": "Winsor-CAM",
  "score-cam": "Score-CAM",
  "ablation-cam": "Ablation-CAM",
  lime: "LIME",
  "kernel-shap": "Kernel SHAP",
  rise: "RISE",
};

/** A method's usual name in print. */
export function methodTitle(name) {
  if (!name) return "";
  const plain = name.replace(/[-_]/g, " ");
  return TITLES[name] ?? (has(`method.${name}`) ? t(`method.${name}`) : plain[0].toUpperCase() + plain.slice(1));
}

/** Why something was refused and what to do about it. */
export function problemWords(error, card) {
  const key = `error.${error.code}`;
  const limits = card?.limits;
  const values = limits ? { size: bytes(limits.max_upload_bytes), formats: limits.formats.join(", ") } : {};
  if (has(key)) return t(key, values);
  return error.status >= 500 || !error.message ? t("error.unknown") : error.message;
}

/** The class at the operating point, also where no class is answered. */
export const predictedOf = (answer) => answer?.answer?.predicted ?? answer?.label;

/** Whether no class is answered: the image is outside all classes, or a case for a person. */
export const isWithheld = (answer) => Boolean(answer?.answer) && answer.answer.outcome !== "answer";

/** Whether the image is outside all classes. */
export const isNone = (answer) => answer?.answer?.outcome === "none";

/** What is answered, in the reader's language. */
export function answerWords(answer) {
  return isWithheld(answer) ? t(`withheld.${answer.answer.outcome}`) : answer.label;
}

/** Why no class is answered. */
export function reasonWords({ code, value, limit }) {
  return t(`reason.${code}`, { value: number(value), limit: code === "unpromised" ? percent(limit) : number(limit) });
}

/** What the values of a map are, in the reader's language where the page knows the method. */
export function unitWords({ method, score, unit }) {
  return has(`unit.${method}`) && has(`score.${score}`) ? t(`unit.${method}`, { score: t(`score.${score}`) }) : unit;
}

/** Whether maps are of the second class unless another is asked for: what an output or a score rises with. */
export const hasOneTarget = ({ task }) => task === "regression" || task === "anomaly";

/** What a map is evidence for: a class, or one class and not another. */
export function subjectWords({ target, against }) {
  return against ? t("view.not", { target, against }) : target;
}

/** Where the evidence lies, in one sentence. */
export function verdictWords(explanation, answer) {
  const found = locate(explanation.grid);
  const target = subjectWords(explanation);
  const values = { target, share: percent(found.share ?? 0), place: found.place ? t(`place.${found.place}`) : "" };
  const sentence = t(`verdict.${found.kind}`, values);
  const label = predictedOf(answer);
  return label === explanation.target ? sentence : `${sentence} ${t("verdict.other", { label })}`;
}

/** Whether to believe an answer: a level and a short sentence. */
export function trust(answer, card) {
  if (isWithheld(answer)) return { level: answer.answer.outcome === "none" ? "problem" : "caution", key: `trust.${answer.answer.outcome}` };
  if (card.task === "anomaly") return { level: "information", key: "trust.detector" };
  if (answer.outside?.flagged) return { level: "problem", key: "trust.outside" };
  if (lacksAnswer(answer)) return { level: "caution", key: "trust.lacking" };
  if (answer.confidence !== null && isClose(answer, card)) return { level: "caution", key: closeKey(card) };
  if (!answer.outside) return { level: "information", key: "trust.unknown" };
  return { level: "good", key: "trust.good" };
}

/** Whether the threshold answers a class that is so much less likely than the other that the set does not hold it. */
const lacksAnswer = ({ answer: decided }) => Boolean(decided?.set) && !decided.set.includes(decided.predicted);

// Log-odds: from 0.4 to 0.6 around a threshold of 0.5.
const CLOSE = Math.log(0.6 / 0.4);

/** Whether another answer is near: a second class, or for two classes the threshold, measured in log-odds. */
function isClose(answer, card) {
  const ranked = Object.values(answer.probabilities).sort((a, b) => b - a);
  if (card.classes.length > 2) return ranked[0] - (ranked[1] ?? 0) < 0.2;
  const logOdds = (share) => Math.log(Math.max(share, 1e-9) / Math.max(1 - share, 1e-9));
  return Math.abs(logOdds(answer.probabilities[card.classes[1]]) - logOdds(card.threshold ?? 0.5)) < CLOSE;
}

/** What is close: the other class, or a threshold elsewhere than in the middle, at which it is less likely or more. */
const closeKey = ({ classes, threshold }) =>
  classes.length > 2 || Math.abs((threshold ?? 0.5) - 0.5) < 0.05 ? "trust.close" : "trust.threshold";
