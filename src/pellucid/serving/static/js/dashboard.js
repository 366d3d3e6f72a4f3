// The dashboard: statistics of recent days, one question per chart.

import { ask, askJson } from "./api.js";
import { cells, chart, level, line, roundUp, stackedBars } from "./charts.js";
import { startChrome, startModels } from "./chrome.js";
import { el, fill, find, mark, save } from "./dom.js";
import { count, day, fixed, number, percent, t, tn } from "./i18n.js";
import { problemWords } from "./words.js";

const CLASSES = 7;
// A distribution with this population stability index or more counts as shifted.
const SHIFTED = 0.25;
const MANY_OUTSIDE = 0.1;
const DAY = 86400000;

const sum = (values) => values.reduce((whole, value) => whole + value, 0);
const known = (values) => values.filter((value) => value !== null && value !== undefined);
const milliseconds = (value) => (value === null ? "–" : t("chart.ms", { value: number(value) }));

function median(values) {
  const sorted = known(values).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
}

/** A mean over days in which each counts by its number of requests. */
function weighted(rows, of) {
  const used = rows.filter((row) => of(row) !== null && row.requests);
  const weight = sum(used.map((row) => row.requests));
  return weight ? sum(used.map((row) => of(row) * row.requests)) / weight : null;
}

/** Every day from the first to the last, so that gaps show as gaps. */
function withGaps(rows) {
  const by = new Map(rows.map((row) => [row.day, row]));
  const dates = rows.map((row) => Date.parse(`${row.day}T00:00:00Z`));
  const all = [];
  for (let at = Math.min(...dates); at <= Math.max(...dates); at += DAY) {
    const date = new Date(at).toISOString().slice(0, 10);
    all.push(by.get(date) ?? emptyDay(date));
  }
  return all;
}

const emptyDay = (date) => ({
  day: date,
  requests: 0,
  errors: 0,
  latency_ms: { p50: null, p95: null },
  classes: {},
  confidence: { mean: null, bins: [] },
  outside_share: null,
  feedback: { correct: 0, incorrect: 0 },
  distance: { median: null, reference_median: null, psi: null },
  none: 0,
  referred: 0,
  sets: { holding: 0, lacking: 0 },
});

const dates = (rows) => rows.map((row) => row.day);
const column = (name, values, show) => ({ name: t(name), show: (i) => (values[i] === null ? "–" : show(values[i])) });

function requestsChart(rows) {
  const [requests, errors] = [rows.map((row) => row.requests), rows.map((row) => row.errors)];
  const good = requests.map((n, i) => Math.max(0, n - errors[i]));
  const busiest = rows[requests.indexOf(Math.max(...requests))];
  return chart({
    topic: t("dash.requests"),
    title: t("dash.requests-finding", { n: tn("dash.n-requests", sum(requests)), day: day(busiest.day), most: count(busiest.requests) }),
    days: dates(rows),
    layers: [stackedBars([{ values: good, class: "accent" }, { values: errors, class: "bad" }])],
    top: roundUp(Math.max(...requests, ...errors)),
    format: number,
    columns: [column("dash.requests", requests, count), column("dash.errors", errors, count)],
    key: sum(errors) ? [{ name: t("dash.answered"), class: "accent" }, { name: t("dash.errors"), class: "bad" }] : [],
  });
}

function latencyChart(rows) {
  const [p50, p95] = ["p50", "p95"].map((name) => rows.map((row) => row.latency_ms[name] ?? null));
  return chart({
    topic: t("dash.latency"),
    title: t("dash.latency-finding", { half: milliseconds(median(p50)), most: milliseconds(median(p95)) }),
    days: dates(rows),
    layers: [line(p95, "light"), line(p50, "accent")],
    top: roundUp(Math.max(...known(p95), ...known(p50), 1)),
    format: number,
    columns: [column("dash.p50", p50, milliseconds), column("dash.p95", p95, milliseconds)],
    key: [{ name: t("dash.p50"), class: "accent" }, { name: t("dash.p95"), class: "light" }],
  });
}

/** What is answered in place of a class, in the reader's language. */
const labelWords = (name) => ({ "none of these": t("withheld.none"), "refer to a person": t("withheld.refer") })[name] ?? name;

function classChart(rows) {
  const totals = {};
  for (const row of rows) for (const [name, n] of Object.entries(row.classes)) totals[name] = (totals[name] ?? 0) + n;
  const names = Object.keys(totals).sort((a, b) => totals[b] - totals[a]);
  const shown = names.slice(0, CLASSES);
  const share = (row, of) => {
    const whole = sum(Object.values(row.classes));
    return whole ? of / whole : 0;
  };
  const series = shown.map((name, i) => ({ name: labelWords(name), class: `class-${i}`, values: rows.map((row) => share(row, row.classes[name] ?? 0)) }));
  if (names.length > shown.length) {
    const rest = names.slice(CLASSES);
    series.push({ name: t("dash.other-classes"), class: "class-7", values: rows.map((row) => share(row, sum(rest.map((name) => row.classes[name] ?? 0)))) });
  }
  return chart({
    topic: t("dash.classes"),
    title: t("dash.classes-finding", { label: labelWords(names[0]), share: percent(totals[names[0]] / sum(Object.values(totals))) }),
    days: dates(rows),
    layers: [stackedBars(series)],
    top: 1,
    format: percent,
    columns: series.map(({ name, values }) => ({ name, show: (i) => percent(values[i]) })),
    key: series,
  });
}

function confidenceChart(rows) {
  const means = rows.map((row) => row.confidence.mean ?? null);
  return chart({
    topic: t("dash.confidence"),
    title: t("dash.confidence-finding", { mean: percent(weighted(rows, (row) => row.confidence.mean ?? null)) }),
    days: dates(rows),
    layers: [cells(rows.map((row) => row.confidence.bins), 1), line(means, "accent")],
    top: 1,
    format: percent,
    columns: [column("dash.mean", means, percent)],
    key: [{ name: t("dash.mean"), class: "accent" }, { name: t("dash.spread"), class: "cell" }],
  });
}

function outsideChart(rows) {
  const shares = rows.map((row) => row.outside_share ?? null);
  return chart({
    topic: t("dash.outside"),
    title: t("dash.outside-finding", { share: percent(weighted(rows, (row) => row.outside_share ?? null)) }),
    days: dates(rows),
    layers: [stackedBars([{ values: shares, class: "warn" }])],
    top: Math.min(1, roundUp(Math.max(0.1, ...known(shares)))),
    format: percent,
    columns: [column("dash.outside", shares, percent)],
  });
}

function givenChart(rows) {
  const [none, referred] = ["none", "referred"].map((name) => rows.map((row) => row[name]));
  const given = rows.map((row, i) => Math.max(0, sum(Object.values(row.classes)) - none[i] - referred[i]));
  const whole = sum(given) + sum(none) + sum(referred);
  const series = [
    { name: t("dash.given"), class: "accent", values: given },
    { name: t("dash.referred"), class: "warn", values: referred },
    { name: t("dash.none"), class: "bad", values: none },
  ];
  return chart({
    topic: t("dash.given"),
    title: t("dash.given-finding", { share: percent(sum(given) / whole) }),
    days: dates(rows),
    layers: [stackedBars(series)],
    top: roundUp(Math.max(...given.map((n, i) => n + none[i] + referred[i]))),
    format: number,
    columns: series.map(({ name, values }) => ({ name, show: (i) => count(values[i]) })),
    key: series,
  });
}

function coverageChart(rows, coverage) {
  const [holding, lacking] = ["holding", "lacking"].map((name) => rows.map((row) => row.sets[name]));
  const [share, low, high, promised] = ["value", "low", "high", "promised"].map((name) => percent(coverage[name]));
  return chart({
    topic: t("dash.coverage"),
    title: t("dash.coverage-finding", { n: count(coverage.judged), share, low, high, promised }),
    days: dates(rows),
    layers: [stackedBars([{ values: holding, class: "accent" }, { values: lacking, class: "bad" }])],
    top: roundUp(Math.max(...holding.map((n, i) => n + lacking[i]))),
    format: number,
    columns: [column("dash.set-holds", holding, count), column("dash.set-lacks", lacking, count)],
    key: [{ name: t("dash.set-holds"), class: "accent" }, { name: t("dash.set-lacks"), class: "bad" }],
  });
}

function agreementChart(rows) {
  const [right, wrong] = ["correct", "incorrect"].map((name) => rows.map((row) => row.feedback[name]));
  const n = sum(right) + sum(wrong);
  return chart({
    topic: t("dash.agreement"),
    title: t("dash.agreement-finding", { share: percent(sum(right) / n), n: tn("dash.n-judged", n) }),
    days: dates(rows),
    layers: [stackedBars([{ values: right, class: "accent" }, { values: wrong, class: "bad" }])],
    top: roundUp(Math.max(...right.map((value, i) => value + wrong[i]))),
    format: number,
    columns: [column("feedback.correct", right, count), column("feedback.incorrect", wrong, count)],
    key: [{ name: t("feedback.correct"), class: "accent" }, { name: t("feedback.incorrect"), class: "bad" }],
  });
}

function driftChart(rows) {
  const distances = rows.map((row) => row.distance.median ?? null);
  const shifts = rows.map((row) => row.distance.psi ?? null);
  const reference = known(rows.map((row) => row.distance.reference_median)).pop() ?? null;
  const now = number(known(distances).pop());
  return chart({
    topic: t("dash.drift"),
    title: reference === null ? t("dash.drift-alone", { now }) : t("dash.drift-finding", { now, reference: number(reference) }),
    days: dates(rows),
    layers: [line(distances, "accent"), ...(reference === null ? [] : [level(reference, t("dash.validation"))])],
    top: roundUp(1.1 * Math.max(...known(distances), reference ?? 0)),
    format: number,
    columns: [column("dash.distance", distances, number), column("dash.psi", shifts, number)],
  });
}

/** The charts for which there is something to draw. */
function charts(rows, answering) {
  const some = (of) => rows.some((row) => of(row) !== null && of(row) !== undefined);
  return [
    requestsChart(rows),
    some((row) => row.latency_ms.p50) && latencyChart(rows),
    rows.some((row) => sum(Object.values(row.classes))) && classChart(rows),
    some((row) => row.confidence.mean) && confidenceChart(rows),
    some((row) => row.outside_share) && outsideChart(rows),
    rows.some((row) => row.none + row.referred) && givenChart(rows),
    rows.some((row) => row.feedback.correct + row.feedback.incorrect) && agreementChart(rows),
    answering?.coverage && coverageChart(rows, answering.coverage),
    some((row) => row.distance.median) && driftChart(rows),
  ].filter(Boolean);
}

const bracketed = ({ value, low, high }) => `${fixed(value)} [${fixed(low)}, ${fixed(high)}]`;

/** Week by week, what can be said without labels; nothing where no week has enough images. */
function weeksTable(weeks) {
  const known = weeks.filter((week) => week.verdict);
  if (!known.length) return null;
  const heads = ["dash.week", "dash.images", "dash.estimate", "dash.mix", "dash.outside", "dash.moved", "dash.verdict"];
  const rows = known.map((week) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, day(week.week)),
      el("td", {}, count(week.images)),
      el("td", {}, week.estimate ? bracketed(week.estimate) : t("dash.not-estimated")),
      el("td", {}, week.mix.map((share) => `${share.name} ${percent(share.value)}`).join(", ")),
      el("td", {}, week.outside === null ? "–" : percent(week.outside)),
      el("td", {}, t(week.moved ? "dash.yes" : "dash.no")),
      el("td", {}, t(`dash.verdict-${week.verdict.replaceAll(" ", "-")}`)),
    ),
  );
  return el(
    "section",
    { class: "chart weeks" },
    el("p", { class: "topic" }, t("dash.weeks")),
    el("h3", {}, t("dash.weeks-finding")),
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, t(head))))), el("tbody", {}, rows))),
  );
}

function tile(topic, value, under, warning = null) {
  return el("div", {}, el("dt", {}, t(topic)), el("dd", {}, el("span", { class: "value" }, value), el("span", { class: "under" }, warning ? mark("caution", warning) : under)));
}

function answeringTiles({ given, coverage }) {
  const all = given.answered + given.none + given.referred;
  const under = `${t("dash.referred")} ${percent(given.referred / all)}, ${t("dash.none").toLocaleLowerCase()} ${percent(given.none / all)}`;
  return [
    given.none + given.referred ? tile("dash.given", percent(given.answered / all), under) : null,
    coverage && tile("dash.coverage", percent(coverage.value), t("dash.coverage-under", { promised: percent(coverage.promised) }), coverage.broken ? t("dash.coverage-broken") : null),
  ].filter(Boolean);
}

function tiles(rows, answering) {
  const outside = weighted(rows, (row) => row.outside_share ?? null);
  const [right, wrong] = ["correct", "incorrect"].map((name) => sum(rows.map((row) => row.feedback[name])));
  const shift = known(rows.map((row) => row.distance.psi)).pop() ?? null;
  const errors = sum(rows.map((row) => row.errors));
  const share = (value) => (value === null ? "–" : percent(value));
  return [
    tile("dash.requests", count(sum(rows.map((row) => row.requests))), tn("dash.n-errors", errors)),
    tile("dash.latency", milliseconds(median(rows.map((row) => row.latency_ms.p50))), t("dash.median-day")),
    tile("dash.confidence", share(weighted(rows, (row) => row.confidence.mean ?? null)), t("dash.mean")),
    tile("dash.outside", share(outside), t("dash.of-images"), outside > MANY_OUTSIDE ? t("dash.many-outside") : null),
    tile("dash.agreement", right + wrong ? percent(right / (right + wrong)) : "–", t("dash.judged", { n: count(right + wrong) })),
    tile("dash.drift", shift === null ? "–" : number(shift), t("dash.psi"), shift > SHIFTED ? t("dash.shifted") : null),
    ...(answering ? answeringTiles(answering) : []),
  ];
}

const chosenDays = () => Number(find("#days input:checked").value);

class Dashboard {
  constructor() {
    this.model = null;
    this.rows = null;
    this.answering = null;
    this.weeks = [];
  }

  draw() {
    if (!this.rows) return;
    const any = this.rows.some((row) => row.requests || row.feedback.correct || row.feedback.incorrect);
    find("#message").hidden = any;
    find("#tiles").hidden = !any;
    fill(find("#charts"));
    if (!any) {
      fill(find("#message"), el("h2", {}, t("dash.empty")), el("p", {}, t("dash.empty-how")), el("p", {}, el("a", { href: "./" }, t("dash.to-page"))));
      return;
    }
    const rows = withGaps(this.rows);
    fill(find("#tiles"), tiles(this.rows, this.answering));
    fill(find("#charts"), [...charts(rows, this.answering), weeksTable(this.weeks)].filter(Boolean));
    const changed = this.answering?.stream?.changed;
    find("#alarm").hidden = !changed;
    fill(find("#alarm"), changed ? mark("caution", t("dash.stream", { day: day(changed) })) : null);
  }

  async load() {
    document.body.dataset.loading = "yes";
    try {
      const query = { days: chosenDays(), model: this.model };
      const found = await askJson("v1/stats", { query });
      [this.rows, this.answering] = [found.days, found.answering ?? null];
      this.weeks = [];
      this.draw();
      document.body.dataset.ready = "yes";
      this.loadWeeks(query.model);
    } catch (error) {
      this.rows = null;
      fill(find("#charts"));
      find("#tiles").hidden = true;
      find("#message").hidden = false;
      const words = error.status === undefined ? t("server.gone") : problemWords(error, null);
      const again = el("button", { type: "button", onclick: () => this.load() }, t("view.again"));
      fill(find("#message"), mark("problem", words), el("p", {}, again));
    }
    delete document.body.dataset.loading;
  }

  /** The weeks take longer and may fail: the days do not wait for them. */
  async loadWeeks(model) {
    const last = Math.max(1, Math.ceil(chosenDays() / 7));
    const found = await askJson("v1/stats/weeks", { query: { last, model } }).catch(() => ({ weeks: [] }));
    if (model !== this.model || !this.rows) return;
    this.weeks = found.weeks;
    this.draw();
  }

  async saveCsv(path, name) {
    const answer = await ask(path, { query: { days: chosenDays(), model: this.model } });
    save(await answer.blob(), name);
  }
}

async function start() {
  await startChrome();
  const dashboard = new Dashboard();
  document.addEventListener("languagechange", () => dashboard.draw());
  find("#days").addEventListener("change", () => dashboard.load());
  find("#save-stats").addEventListener("click", () => dashboard.saveCsv("v1/stats.csv", "pellucid-days.csv"));
  find("#save-feedback").addEventListener("click", () => dashboard.saveCsv("v1/feedback.csv", "pellucid-feedback.csv"));
  try {
    const { models } = await askJson("v1/models");
    const asked = new URLSearchParams(location.search).get("model");
    const chosen = models.find(({ name }) => name === asked) ?? models.find((model) => model.default) ?? models[0];
    dashboard.model = chosen.name;
    find("#model-title").textContent = chosen.title;
    startModels(models, chosen.name, (name) => {
      dashboard.model = name;
      dashboard.load();
    });
  } catch {
    dashboard.model = null;
  }
  await dashboard.load();
}

start();
