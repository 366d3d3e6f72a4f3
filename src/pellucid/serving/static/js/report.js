// One answer as a page to print or save as PDF.

import { metricRows } from "./card.js";
import { el, fill, find, icon, mark } from "./dom.js";
import { overlayCanvas } from "./downloads.js";
import { count, language, number, percent, t } from "./i18n.js";
import { legend } from "./legend.js";
import { adjusted } from "./stage.js";
import { answerWords, methodTitle, subjectWords, trust, verdictWords } from "./words.js";
import { chips, goesBy } from "./result.js";

const row = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

async function pictures(session, item) {
  const picture = await session.picture(item);
  const plain = el("canvas");
  Object.assign(plain, { width: picture.width, height: picture.height });
  plain.getContext("2d").drawImage(adjusted(picture, session.settings), 0, 0, plain.width, plain.height);
  const over = await overlayCanvas(session, item);
  const figure = (canvas, words, ...rest) => {
    const image = el("img", { src: canvas.toDataURL("image/png"), alt: words });
    return el("figure", {}, image, el("figcaption", {}, words), rest);
  };
  const explanation = session.explanation(item);
  const title = explanation ? t("report.map-of", { method: methodTitle(explanation.method), target: subjectWords(explanation) }) : t("report.overlay");
  return el("div", { class: "report-pictures" }, figure(plain, t("report.image")), figure(over, title, explanation && el("div", { class: "legend" }, legend(explanation, session.settings))));
}

function answerFacts({ card }, { answer }) {
  const shares = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  return el(
    "dl",
    { class: "facts" },
    answer.output === null ? null : row(t("result.score"), number(answer.output)),
    shares.slice(0, 10).map(([name, share]) => row(name, percent(share))),
    card.threshold !== null && card.task === "binary" ? row(t("card.operating-point"), number(card.threshold)) : null,
    row(t("report.size"), `${count(answer.image.width)} × ${count(answer.image.height)}, ${answer.image.format}`),
    row(t("report.number"), el("code", {}, answer.id)),
  );
}

function modelFacts({ card }) {
  const rows = metricRows(card);
  return [
    rows.length ? el("table", {}, el("caption", {}, card.n ? t("card.measured", { n: count(card.n) }) : t("card.metrics")), el("tbody", {}, rows)) : null,
    el(
      "dl",
      { class: "facts" },
      row(t("card.version"), el("code", {}, card.checksum.slice(0, 16)), ` · pellucid ${card.version}`),
      row(t("card.calibration"), card.calibration ? el("span", { lang: "en" }, card.calibration.sentence) : t("card.uncalibrated")),
    ),
  ];
}

function limitations({ card }) {
  if (!card.limitations.length) return null;
  return [el("h2", {}, t("card.limitations")), el("ul", { lang: "en" }, card.limitations.map((text) => el("li", {}, text)))];
}

function concepts({ answer }) {
  return answer.goes_by ? [el("h2", {}, t("result.goes-by")), goesBy(answer)] : null;
}

function sureness({ card }, { answer }) {
  if (answer.confidence === null) return [el("b", {}, number(answer.output)), el("span", {}, t("result.score"))];
  const words = t(card.calibration ? "result.calibrated" : "result.uncalibrated");
  return [el("b", {}, percent(answer.confidence)), el("span", {}, words)];
}

/** Show the report instead of the page; its own buttons print it or go back. */
export async function openReport(session, item) {
  const { card } = session;
  const { answer } = item;
  const place = find("#report");
  const explanation = session.explanation(item);
  const { level, key } = trust(answer, card);
  const written = new Intl.DateTimeFormat(language(), { dateStyle: "long", timeStyle: "short" }).format(new Date());
  const close = () => {
    place.hidden = true;
    document.body.classList.remove("has-report");
    find("#stage canvas")?.focus({ preventScroll: true });
  };
  const back = el("button", { type: "button", onclick: close }, t("report.back"));
  fill(
    place,
    el("div", { class: "report-tools" }, back, el("button", { type: "button", class: "main", onclick: () => print() }, icon("print"), t("report.print"))),
    el("header", {}, el("p", { class: "soft" }, `${card.title} · ${written}`), el("h1", {}, item.name)),
    card.medical ? el("p", { class: "banner caution" }, mark("caution", t("medical"))) : null,
    el(
      "div",
      { class: "report-head" },
      el("p", { class: "label" }, answerWords(answer)),
      el("p", { class: "sure" }, sureness(session, item)),
    ),
    el("div", { class: `trust ${level}` }, mark(level, t(`${key}.short`)), el("p", {}, t(key))),
    await pictures(session, item),
    chips(answer),
    explanation ? el("p", { class: "verdict" }, verdictWords(explanation, answer)) : null,
    el("div", { class: "report-columns" }, el("section", {}, el("h2", {}, t("report.answer")), answerFacts(session, item), concepts(item), limitations(session)), el("section", {}, el("h2", {}, t("card.title")), modelFacts(session))),
  );
  place.hidden = false;
  document.body.classList.add("has-report");
  back.focus();
  scrollTo(0, 0);
}
