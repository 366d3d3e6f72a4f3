// The page without a server: the product's page, and what is to be said of its privacy, its proof and its own check.

import "./page.js";
import { lacking } from "./browser.js";
import { computing } from "./computing.js";
import { el, fill, find, mark } from "./dom.js";
import { count, has, number, t, tn } from "./i18n.js";
import { factsOf } from "./parts.js";

// Pixels must be equal; logits differ by rounding alone.
const LOGITS_APART = 1e-3;

let checked = null;
let failed = null;
let newer = false;

/** Programs that test the page ask here what the page itself asks: see docs/how-to/private-page.md. */
globalThis.pellucid = {
  facts: factsOf,
  check: () => computing.ask({ selfCheck: true }),
  ask: (file, query) => computing.ask({ explain: { file, query } }),
  compute: (how) => computing.choose(how),
};

const agrees = ({ pixels, logits, graph }) => pixels === 0 && logits <= LOGITS_APART && graph <= LOGITS_APART;

function checkWords({ pictures, pixels, logits }) {
  const values = { pixels: count(pixels), logits: number(logits) };
  return agrees(checked) ? tn("alone.check-good", pictures, values) : tn("alone.check-bad", pictures, values);
}

/** What export measured of this page against Python, in one sentence. */
function proofWords(proof) {
  if (!proof) return t("alone.unproved");
  const { images, probability, output, correlation, changed } = proof;
  const values = { difference: number(probability ?? output), correlation: correlation === null ? "–" : correlation.toFixed(4) };
  const sentence = probability === null ? tn("alone.proved-output", images, values) : tn("alone.proved", images, values);
  return `${sentence} ${changed ? tn("alone.changed", changed) : t("alone.unchanged")}`;
}

function draftWords(proof) {
  if (!proof?.draft) return null;
  return el("p", {}, tn("alone.draft", proof.draft.images, { difference: number(proof.draft.difference) }));
}

function licences(texts) {
  return Object.entries(texts).map(([name, text]) => el("details", {}, el("summary", {}, name), el("pre", { lang: "en", tabindex: "0" }, text)));
}

/** What answers are computed on, and why. */
function computedOn({ on, tried }) {
  if (!tried) return t("alone.on-processor");
  if (tried.lost) return t("alone.on-processor-lost");
  const values = { card: number(tried.card), processor: number(tried.processor), difference: number(tried.apart) };
  return t(on === "card" ? "alone.on-card" : tried.same ? "alone.on-processor-quicker" : "alone.on-processor-differs", values);
}

/** A mark with the word for it, then the sentence. */
const stated = (level, key, sentence) => el("p", {}, mark(level, t(`${key}-${level}`)), " ", sentence);

async function drawNotes() {
  const { proof, licences: texts, card, bits } = await factsOf();
  fill(
    find("#alone-notes"),
    el("h3", {}, t("alone.privacy")),
    el("p", {}, t("alone.enforced")),
    el("p", {}, t("alone.not-enforced")),
    el("h3", {}, t("alone.proof")),
    stated(proof ? (proof.changed ? "caution" : "good") : "information", "alone.state", proofWords(proof)),
    bits < 32 ? el("p", {}, t("alone.bits", { bits: count(bits) })) : null,
    draftWords(proof),
    checked ? stated(agrees(checked) ? "good" : "problem", "alone.check-state", checkWords(checked)) : null,
    el("p", {}, computedOn(computing.state)),
    card.methods.length ? null : el("p", {}, t("alone.no-evidence")),
    el("h3", {}, t("alone.licences")),
    licences(texts),
  );
}

/** Words for what fails before the dictionaries are there; the page carries these few itself. */
function firstWords({ key, values = {} }) {
  if (has(key)) return t(key, values);
  const words = JSON.parse(find("#first-words").textContent);
  const language = navigator.language.split("-")[0];
  const text = (words[language] ?? words.en)[key];
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

function drawBanner() {
  const line = find("#alone-check");
  const bad = checked && !agrees(checked);
  line.hidden = !failed && !bad && !newer;
  if (newer) fill(line, mark("information", t("alone.newer")), el("button", { type: "button", onclick: () => location.reload() }, t("alone.reload")));
  else if (failed) fill(line, mark("problem", firstWords(failed)));
  else if (bad) fill(line, mark("problem", `${t("alone.check-warning")} ${checkWords(checked)}`));
}

function draw() {
  drawBanner();
  drawNotes().catch(() => null);
}

/** The key of the sentence that says why the page does not work here. */
function reasonOf({ code }) {
  if (code === "no-reading") return "error.no-reading";
  return location.protocol === "file:" && find("#places") ? "alone.from-disk" : "alone.failed";
}

async function start() {
  const lack = lacking();
  try {
    if (lack) throw { key: "alone.old-browser", values: { what: lack } };
    await factsOf();
    checked = await computing.ask({ selfCheck: true });
  } catch (error) {
    failed = error.key ? error : { key: reasonOf(error), values: { detail: error.message } };
  }
  draw();
  document.body.dataset.checked = failed ? "failed" : agrees(checked) ? "good" : "bad";
  if (!failed && agrees(checked)) await computing.choose();
}

/** Whether the service worker keeps another page by now: one of this page's own files is gone. */
async function isOutdated() {
  const named = Object.entries(JSON.parse(find("#places").textContent));
  // Those for graphics cards are kept when they are first wanted.
  const places = named.filter(([name]) => !name.startsWith("graphics-")).map(([, place]) => place);
  const loaded = [...document.querySelectorAll("script[src]"), ...document.querySelectorAll("link[rel=stylesheet]")].map((node) => node.src || node.href);
  const kept = await Promise.all([...places, ...loaded].map((place) => caches.match(new URL(place, document.baseURI))));
  return kept.some((answer) => !answer);
}

async function keepForLater() {
  if (!find("#places") || !navigator.serviceWorker || location.protocol === "file:") return;
  const tell = () => {
    newer = true;
    drawBanner();
  };
  // The new page may come later, or have come before this line.
  if (navigator.serviceWorker.controller) navigator.serviceWorker.addEventListener("controllerchange", tell);
  try {
    const kept = await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    await kept.update();
    if (await isOutdated()) tell();
  } catch {
    return;
  }
}

find("#alone-more").addEventListener("click", () => find("#alone").showModal());
document.addEventListener("languagechange", draw);
computing.addEventListener("change", draw);
start();
keepForLater();
