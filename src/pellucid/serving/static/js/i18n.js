// Words in the reader's language, from one dictionary per language beside this folder. To add one: copy i18n/en.json,
// translate its values, and name it in i18n/languages.json.

import { dictionary } from "./api.js";
import { findAll } from "./dom.js";
import { recall, remember } from "./memory.js";

let english = {};
let words = {};
let plural = new Intl.PluralRules("en");
let spoken = "en";
export const languages = {};

/** The code of the language that the page is in. */
export const language = () => spoken;

/** Load the dictionaries and put the page into the remembered language, or the browser's, or English. */
export async function startLanguage() {
  const [first, named] = await Promise.all([dictionary("en"), dictionary("languages")]);
  english = first;
  Object.assign(languages, named);
  const wanted = [recall("language"), ...(navigator.languages ?? [])].filter(Boolean);
  const known = wanted.map((tag) => tag.toLowerCase().split("-")[0]).find((tag) => tag in languages);
  await setLanguage(known ?? "en", false);
}

/** Change the language of everything; listeners of "languagechange" on the document redraw what they made. */
export async function setLanguage(code, keep = true) {
  words = code === "en" ? english : await dictionary(code);
  spoken = code;
  plural = new Intl.PluralRules(code);
  document.documentElement.lang = code;
  if (keep) remember("language", code);
  applyWords(document);
  document.dispatchEvent(new Event("languagechange"));
}

/** Words for a key; {name} is replaced. A key missing in a language is read in English. */
export function t(key, values = {}) {
  const text = words[key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

/** Words for a count: key.one or key.other, as the language has it; {n} is the count. */
export function tn(key, n, values = {}) {
  const form = `${key}.${plural.select(n)}`;
  return t(form in words || form in english ? form : `${key}.other`, { n: count(n), ...values });
}

export const has = (key) => key in english;

/** Fill in every element that names its words: data-t for text, data-t-label for a name, data-t-hint for a placeholder. */
export function applyWords(root) {
  for (const node of findAll("[data-t]", root)) node.textContent = t(node.dataset.t);
  for (const node of findAll("[data-t-hint]", root)) node.placeholder = t(node.dataset.tHint);
  for (const node of findAll("[data-t-label]", root)) {
    node.setAttribute("aria-label", t(node.dataset.tLabel));
    if (node.matches("button, a")) node.title = t(node.dataset.tLabel);
  }
}

export const count = (n) => new Intl.NumberFormat(language()).format(n);

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** At most three significant digits; very small ones as 2.9 × 10⁻⁴. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  const written = (part, maximumSignificantDigits) => new Intl.NumberFormat(language(), { maximumSignificantDigits }).format(part);
  if (size === 0 || size >= 1e-4) return sign + written(size, size < 1e-2 ? 2 : 3);
  const [digits, power] = size.toExponential(1).split("e-");
  return `${sign}${written(Number(digits), 2)}\u00a0×\u00a010⁻${[...power].map((digit) => RAISED[digit]).join("")}`;
}

/** A measure and its interval keep their three decimals: 0.914 [0.886, 0.937]. */
export function fixed(value, digits = 3) {
  const shape = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(language(), shape).format(value).replace("-", "−");
}

/** A share in whole per cent, never rounded to a certainty that it is not. */
export function percent(share) {
  const shown = share > 0 && share < 0.005 ? 0.005 : share < 1 && share > 0.995 ? 0.995 : share;
  const text = new Intl.NumberFormat(language(), { style: "percent", maximumFractionDigits: 0 });
  if (shown === share) return text.format(share);
  return share < 0.5 ? `<\u00a0${text.format(0.01)}` : `>\u00a0${text.format(0.99)}`;
}

export function bytes(size) {
  const [amount, unit] = size >= 2 ** 20 ? [size / 2 ** 20, "megabyte"] : [size / 2 ** 10, "kilobyte"];
  return new Intl.NumberFormat(language(), { style: "unit", unit, maximumFractionDigits: 0 }).format(amount);
}

export function day(text) {
  const date = new Date(`${text}T00:00:00`);
  return new Intl.DateTimeFormat(language(), { day: "numeric", month: "short" }).format(date);
}
