// Facts about the model.

import { el, fill, find } from "./dom.js";
import { count, fixed, t } from "./i18n.js";

const ORDER = ["accuracy", "roc_auc", "sensitivity", "specificity", "ppv", "npv", "f1", "ece", "mae"];
const SHOWN = 6;

export function metricRows(card) {
  const names = Object.keys(card.metrics).filter((name) => ORDER.includes(name));
  names.sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
  return names.slice(0, SHOWN).map((name) => {
    const { value, low, high } = card.metrics[name];
    const bounds = Number.isFinite(low) && Number.isFinite(high) ? ` [${fixed(low)}, ${fixed(high)}]` : "";
    return el("tr", {}, el("th", { scope: "row" }, t(`metric.${name}`)), el("td", {}, fixed(value), el("span", { class: "soft" }, bounds)));
  });
}

const row = (name, ...value) => el("div", {}, el("dt", {}, t(name)), el("dd", {}, value));
const sentence = (name, text) =>
  text ? el("div", { class: "long" }, el("dt", {}, t(name)), el("dd", { lang: "en" }, text)) : null;

function facts(card) {
  return el(
    "dl",
    { class: "facts" },
    row("card.classes", card.classes.join(", ")),
    sentence("card.operating-point", card.operating_point?.sentence),
    card.calibration
      ? sentence("card.calibration", card.calibration.sentence)
      : el("div", { class: "long" }, el("dt", {}, t("card.calibration")), el("dd", {}, t("card.uncalibrated"))),
    sentence("card.outside", card.outside.sentence),
    sentence("card.answering", (card.answering ?? []).map((rule) => rule.sentence).join(" ")),
    row("card.input", `${card.input.width} × ${card.input.height}`),
    row("card.version", el("code", {}, card.checksum.slice(0, 12))),
  );
}

function limitations(card) {
  if (!card.limitations.length) return null;
  return [el("h3", {}, t("card.limitations")), el("ul", { lang: "en" }, card.limitations.map((text) => el("li", {}, text)))];
}

/** The card: open while there is no answer, folded beneath one. */
export function drawCard(session) {
  const { card, current } = session;
  if (!card) return;
  const rows = metricRows(card);
  const caption = card.n ? t("card.measured", { n: count(card.n) }) : t("card.metrics");
  const before = find("#card details");
  const open = current?.answer ? (before?.open && before.dataset.chosen) || false : true;
  const details = el(
    "details",
    { open },
    el("summary", {}, t("card.title")),
    el("p", { class: "card-name" }, card.title),
    card.abroad ? el("p", { class: "card-abroad", lang: "en" }, card.abroad.sentence) : null,
    rows.length ? el("table", {}, el("caption", {}, caption), el("tbody", {}, rows)) : null,
    facts(card),
    limitations(card),
  );
  details.querySelector("summary").addEventListener("click", () => (details.dataset.chosen = "yes"));
  if (before?.dataset.chosen) details.dataset.chosen = "yes";
  fill(find("#card"), details);
}
