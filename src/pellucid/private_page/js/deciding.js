// What becomes of an answer: evaluation/answering.py is the same in Python.

const [NONE_OF_THESE, REFER] = ["none of these", "refer to a person"];
const [PENALTY, FREE, UNLIKE] = [0.1, 2, 1];

/** How badly each class fits: evaluation/conformal.py. */
function setScores(probabilities, score) {
  if (score === "lac") return probabilities.map((p) => 1 - p);
  const order = probabilities.map((p, k) => [p, k]).sort(([a, i], [b, j]) => b - a || i - j);
  const scores = [];
  let sum = 0;
  order.forEach(([p, k], rank) => {
    scores[k] = sum + (score === "raps" ? PENALTY * Math.max(rank + 1 - FREE, 0) : 0);
    sum += p;
  });
  return scores;
}

function candidates({ score, thresholds }, probabilities, classes) {
  const scores = setScores(probabilities, score);
  const order = classes.map((_, k) => k).sort((i, j) => probabilities[j] - probabilities[i] || i - j);
  return order.filter((k, at) => at === 0 || scores[k] <= (thresholds[k] ?? Infinity)).map((k) => classes[k]);
}

function isGiven({ wrong, least }, sure, place) {
  if (least === null) return false;
  const bound = wrong === "errors" || place === (wrong === "fn" ? 0 : 1);
  return sure >= least || !bound;
}

function reasonsOf(outcome, { abstention }, sure, outside) {
  const short = (value, digits) => String(Number(value.toPrecision(digits)));
  if (outcome === "none") return [{ code: "unlike", value: outside, limit: UNLIKE, text: `It is ${short(outside, 2)} times as far from the training images as one may be.` }];
  if (outcome === "answer") return [];
  if (abstention.least === null) return [{ code: "unpromised", value: null, limit: abstention.most, text: `No answer is given: an error of at most ${short(100 * abstention.most, 3)} % could not be promised.` }];
  const text = `The answer's confidence is ${short(sure, 3)}, and ${short(abstention.least, 3)} is asked.`;
  return [{ code: "unsure", value: sure, limit: abstention.least, text }];
}

/** Half the width of the interval around a regression's output: evaluation/difficulty.py. */
function halfWidth({ half_width: half, difficulty }, output, outside) {
  if (!difficulty) return half;
  const far = Math.log(Math.min(Math.max(outside ?? 1, 1e-3), 1e3));
  const line = [1, output, output * output, far].reduce((sum, value, i) => sum + value * difficulty.weights[i], 0);
  const expected = Math.exp(Math.min(Math.max(line, -50), 50));
  return half * Math.min(Math.max(expected, difficulty.least), difficulty.most);
}

/** The decision on one image: `probabilities` by place, the predicted `place`, a regression's `output`, else null. */
export function decisionOf({ answering, classes, task, threshold }, probabilities, place, output, outside) {
  const rules = answering ?? { sets: null, interval: null, abstention: null, reject: "none" };
  const sure = output === null ? probabilities[place] : Math.abs(output - threshold);
  let outcome = rules.abstention && !isGiven(rules.abstention, sure, place) ? "refer" : "answer";
  if (rules.reject === "unlike" && outside !== null && outside > UNLIKE) outcome = "none";
  const half = rules.interval && output !== null ? halfWidth(rules.interval, output, outside) : null;
  return {
    outcome,
    label: { answer: classes[place], none: NONE_OF_THESE, refer: REFER }[outcome],
    predicted: classes[place],
    set: rules.sets && output === null ? candidates(rules.sets, [...probabilities], classes) : null,
    interval: half === null ? null : [output - half, output + half],
    coverage: (rules.sets ?? rules.interval)?.coverage ?? null,
    probabilities: output === null ? Object.fromEntries([...probabilities].map((share, i) => [classes[i], share])) : {},
    threshold: task === "multiclass" ? null : threshold,
    reasons: reasonsOf(outcome, rules, sure, outside),
  };
}
