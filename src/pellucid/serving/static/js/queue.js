// The list of images with mini heat maps, answers and warnings.

import { el, fill, find, icon, mark, save } from "./dom.js";
import { heatLayer } from "./stage.js";
import { count, number, percent, t, tn } from "./i18n.js";
import { answerWords, isWithheld, predictedOf, problemWords } from "./words.js";

/** The small picture with the first heat map that came, in the colours of the stage. */
function miniature(item, session) {
  const explanation = item.answer ? session.anyExplanation(item) : null;
  const from = [item.thumb, explanation, session.settings.map];
  // Drawn once: a long queue is redrawn whenever one of its images is answered.
  if (item.mini?.from.every((part, i) => part === from[i])) return item.mini.canvas;
  const canvas = el("canvas", { class: "mini", "aria-hidden": "true" });
  canvas.width = canvas.height = 96;
  item.mini = { from, canvas };
  if (!item.thumb) return canvas;
  const context = canvas.getContext("2d");
  context.drawImage(item.thumb, 0, 0);
  if (explanation) context.drawImage(heatLayer(explanation, session.settings), ...item.thumb.place);
  return canvas;
}

function said(item) {
  if (item.status === "refused") return mark("problem", t("queue.refused"));
  if (!item.answer) return el("span", { class: "soft" }, t(`queue.${item.status}`));
  const { confidence, output } = item.answer;
  const sure = isWithheld(item.answer) ? "" : ` ${confidence === null ? number(output) : percent(confidence)}`;
  return el("span", {}, el("b", {}, answerWords(item.answer)), sure);
}

function row(item, session) {
  const current = item === session.current;
  const warned = item.answer?.outside?.flagged ? mark("caution", t("queue.outside")) : null;
  const title = item.error && item.status === "refused" ? problemWords(item.error, session.card) : item.name;
  return el(
    "li",
    { class: `queue-row ${item.status}${current ? " current" : ""}` },
    el(
      "button",
      { type: "button", class: "queue-pick", "aria-current": current ? "true" : null, title, onclick: () => session.select(item) },
      miniature(item, session),
      el("span", { class: "queue-words" }, el("span", { class: "queue-name" }, item.name), said(item), warned),
    ),
    el(
      "button",
      { type: "button", class: "quiet square", "aria-label": t("queue.remove", { name: item.name }), onclick: () => session.remove(item) },
      icon("close"),
    ),
  );
}

/** A text field for a CSV; a leading sign is defused, so that no spreadsheet takes it for a formula. */
function field(value) {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function queueCsv(items, classes) {
  const head = ["image", "label", "confidence", "output", ...classes, "outside", "problem", "outcome", "predicted", "set"];
  const rows = items.map(({ name, answer, error }) => [
    name,
    answer?.label,
    answer?.confidence,
    answer?.output,
    ...classes.map((label) => answer?.probabilities[label]),
    answer?.outside?.flagged,
    answer ? "" : error?.code,
    answer?.answer?.outcome,
    predictedOf(answer),
    answer?.answer?.set?.join(";"),
  ]);
  return [head, ...rows].map((cells) => cells.map(field).join(",")).join("\r\n") + "\r\n";
}

function draw(session) {
  const { items } = session;
  const list = find("#queue-list");
  const focused = [...list.children].findIndex((child) => child.contains(document.activeElement));
  find("#queue").hidden = items.length === 0;
  find("#queue-title").textContent = tn("queue.images", items.length);
  const done = items.filter(({ status }) => status === "done" || status === "refused").length;
  find("#queue-meter").hidden = done === items.length || items.length < 3;
  find("#queue-meter i").style.width = `${(100 * done) / Math.max(1, items.length)}%`;
  find("#queue-csv").hidden = !items.some(({ answer }) => answer);
  document.title = done < items.length ? `${count(done)}/${count(items.length)} · pellucid` : "pellucid";
  fill(list, items.map((item) => row(item, session)));
  const current = list.querySelector(".current");
  if (focused >= 0) (list.children[focused]?.querySelector("button") ?? find("#choose")).focus({ preventScroll: true });
  if (current && session.current !== draw.last) current.scrollIntoView({ block: "nearest", inline: "nearest" });
  draw.last = session.current;
}

export function startQueue(session) {
  let wanted = null;
  const soon = () => (wanted ??= requestAnimationFrame(() => ((wanted = null), draw(session))));
  session.addEventListener("items", soon);
  session.settings.addEventListener("change", ({ detail }) => "map" in detail && soon());
  document.addEventListener("languagechange", soon);
  find("#queue-clear").addEventListener("click", () => session.clear());
  find("#queue-csv").addEventListener("click", () => {
    const text = queueCsv(session.items, session.card.classes);
    save(new Blob(["﻿", text], { type: "text/csv" }), "pellucid.csv");
  });
}
