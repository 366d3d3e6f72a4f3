// The answer: class, probability, trust; then evidence and export.

import { el, fill, find, icon, mark } from "./dom.js";
import { saveHeat, saveJson, saveOverlay } from "./downloads.js";
import { feedbackForm } from "./feedback.js";
import { number, percent, t } from "./i18n.js";
import { answerWords, isNone, isWithheld, predictedOf, reasonWords, trust, verdictWords } from "./words.js";

export const CLASS_COLOURS = 8;
const CONCEPT_LEVELS = { accepted: "good", rejected: "problem", shortcut: "problem", question: "caution", unproven: "information" };

/** One class: its name, a bar with the operating point on it, its probability; a click explains it. */
function bar(session, item, name, i) {
  const { card, settings } = session;
  const share = item.answer.probabilities[name];
  const inner = el("i", { class: `class-${i % CLASS_COLOURS}` });
  inner.style.width = `${100 * share}%`;
  const parts = [inner];
  if (card.task === "binary" && name === card.positive && card.threshold !== null) {
    const tick = el("u", { title: t("result.operating-point", { value: number(card.threshold) }) });
    tick.style.left = `${100 * card.threshold}%`;
    parts.push(tick);
  }
  const explained = session.targetOf(item) === name;
  return el(
    "li",
    {},
    el(
      "button",
      {
        type: "button",
        class: "class-bar",
        "aria-pressed": String(explained),
        title: t("result.explain-class", { label: name }),
        onclick: () => settings.set({ target: name === predictedOf(item.answer) ? null : name }),
      },
      el("span", { class: "class-name" }, i < 9 ? el("kbd", { "aria-hidden": "true" }, i + 1) : null, name),
      el("span", { class: "class-share" }, percent(share)),
      el("span", { class: "bar", "aria-hidden": "true" }, parts),
    ),
  );
}

function bars(session, item) {
  const { classes } = session.card;
  const order = classes.map((name, i) => [name, i]);
  if (classes.length > 4) order.sort(([a], [b]) => item.answer.probabilities[b] - item.answer.probabilities[a]);
  const rows = order.map(([name, i]) => bar(session, item, name, i));
  if (rows.length <= 6) return el("ol", { class: "bars" }, rows);
  const rest = el("details", { class: "more" }, el("summary", {}, t("result.all-classes")), el("ol", { class: "bars" }, rows.slice(5)));
  return el("div", {}, el("ol", { class: "bars" }, rows.slice(0, 5)), rest);
}

function headline({ card }, { answer }) {
  const { level, key } = trust(answer, card);
  const calibrated = card.calibration ? "result.calibrated" : "result.uncalibrated";
  const sure =
    answer.confidence === null
      ? el("p", { class: "sure" }, el("b", {}, number(answer.output)), el("span", {}, t("result.score")))
      : el("p", { class: "sure" }, el("b", {}, percent(answer.confidence)), el("span", {}, t(calibrated)));
  // The box says already, in the reader's language, that the image is unlike all others.
  const said = isNone(answer) || key === "trust.outside" ? answer.outside?.sentence : null;
  const warnings = answer.warnings.filter((text) => text !== said);
  const why = answer.answer?.reasons.map((reason) => el("p", {}, reasonWords(reason))) ?? [];
  return [
    el("p", { class: isWithheld(answer) ? `label withheld ${level}` : "label" }, answerWords(answer)),
    isWithheld(answer) ? null : sure,
    chips(answer),
    el("div", { class: `trust ${level}` }, mark(level, t(`${key}.short`)), el("p", {}, t(key)), why),
    warnings.length ? el("ul", { class: "warnings" }, warnings.map((text) => el("li", { lang: "en" }, text))) : null,
  ];
}

/** The prediction set as chips, or the interval of a score: what holds the truth in the share promised. */
export function chips(answer) {
  const decided = answer.answer;
  // Of an image outside all classes no set holds the truth.
  if ((!decided?.set && !decided?.interval) || isNone(answer)) return null;
  const names = decided.set ?? [decided.interval.map(number).join(" – ")];
  const share = percent(decided.coverage);
  return el(
    "div",
    { class: "set" },
    el("p", { class: "fine" }, t(decided.set ? "result.set" : "result.interval", { share })),
    el("ul", { class: "chips" }, names.map((name) => el("li", {}, name))),
  );
}

function decision({ card }, { answer }) {
  if (!["binary", "anomaly"].includes(card.task) || card.threshold === null || isNone(answer)) return null;
  const value = number(card.threshold);
  const above = predictedOf(answer) === card.positive;
  const ofScore = above ? "result.above-score" : "result.below-score";
  const side = card.task === "anomaly" ? ofScore : above ? "result.above" : "result.below";
  return el("p", { class: "fine" }, t(side, { label: card.positive, value }));
}

function saveButtons(session, item, actions) {
  const button = (name, sign, act) =>
    el("button", { type: "button", onclick: act }, icon(sign), t(`save.${name}`));
  return el(
    "div",
    { class: "saves" },
    button("overlay", "save", () => saveOverlay(session, item)),
    button("heat", "save", () => saveHeat(session, item)),
    button("json", "save", () => saveJson(session, item)),
    button("report", "print", () => actions.report(item)),
  );
}

function block(title, ...children) {
  return el("section", { class: "block" }, el("h3", {}, title), children);
}

/** Which concepts of the model's audit the evidence lies in, with what is known about each. */
export function goesBy({ goes_by: shares }) {
  if (!shares) return null;
  if (!shares.length) return el("p", { class: "fine" }, t("goes-by.none"));
  const rows = shares.map(({ concept, share, status, words }) => {
    const inner = el("i", {});
    inner.style.width = `${100 * share}%`;
    const name = words || concept;
    return el(
      "li",
      { class: `goes-by ${CONCEPT_LEVELS[status]}` },
      el("span", { class: "class-name" }, name, words ? el("span", { class: "soft" }, ` ${concept}`) : null),
      el("span", { class: "class-share" }, percent(share)),
      el("span", { class: "bar", "aria-hidden": "true" }, inner),
      el("span", { class: "fine" }, mark(CONCEPT_LEVELS[status], t(`goes-by.${status}`))),
    );
  });
  const of = el("p", { class: "fine" }, t("goes-by.of", { label: shares[0].label }));
  return el("div", {}, of, el("ol", { class: "bars" }, rows));
}

function evidence(session, item, actions) {
  const explanation = session.explanation(item);
  const seen = item.seen
    ? el(
        "figure",
        { class: "seen" },
        el("img", { src: `data:image/png;base64,${item.seen}`, alt: t("result.seen-alt") }),
        el("figcaption", { class: "fine" }, t("result.seen", { width: session.card.input.width, height: session.card.input.height })),
      )
    : null;
  return [
    item.answer.confidence === null ? null : block(t("result.classes"), bars(session, item), decision(session, item)),
    session.card.methods.length === 0 ? null : block(t("result.where"), el("p", { class: "verdict" }, explanation ? verdictWords(explanation, item.answer) : "…")),
    item.answer.goes_by ? block(t("result.goes-by"), goesBy(item.answer)) : null,
    seen && block(t("result.what-seen"), seen),
    session.card.alone ? null : block(t("feedback.title"), feedbackForm(session, item)),
    block(t("save.title"), saveButtons(session, item, actions)),
  ];
}

function waiting(item) {
  if (!item || item.status === "refused") return [];
  return el("p", { class: "soft" }, t(`queue.${item.status}`));
}

export function startResult(session, actions) {
  let shown = null;
  const draw = () => {
    const item = session.current;
    const place = find("#evidence");
    if (!item?.answer) {
      fill(find("#answer"), waiting(item));
      fill(place);
      shown = null;
      return;
    }
    const state = `${item.number} ${document.documentElement.lang} ${session.card.name}`;
    // The live region changes only when there is news.
    if (state !== shown || !find("#answer .label")) fill(find("#answer"), headline(session, item));
    shown = state;
    const held = holdFocus(place);
    const open = place.querySelector("details.more")?.open;
    fill(place, evidence(session, item, actions));
    if (open && place.querySelector("details.more")) place.querySelector("details.more").open = true;
    held();
  };
  session.addEventListener("current", draw);
  document.addEventListener("languagechange", () => session.card && draw());
}

/** Remember which control of a redrawn part has the focus; the function given back returns it. */
function holdFocus(place) {
  const controls = () => [...place.querySelectorAll("button, input, select, textarea, summary")];
  const at = controls().indexOf(document.activeElement);
  return () => at >= 0 && controls()[at]?.focus({ preventScroll: true });
}
