// The stage: pictures with their maps, or a message without pictures.

import { el, fill, find, mark } from "./dom.js";
import { exampleButtons } from "./intake.js";
import { bytes, percent, t } from "./i18n.js";
import { methodOptions } from "./controls.js";
import { answerWords, isWithheld, methodTitle, problemWords } from "./words.js";

/** The caption of a pane; when comparing, the second one is where the other method or image is chosen. */
function caption(session, { item, method }, place) {
  const { settings } = session;
  if (settings.compare === "one") return [];
  const target = session.targetOf(item);
  const said = item.answer ? `${answerWords(item.answer)} ${item.answer.confidence === null || isWithheld(item.answer) ? "" : percent(item.answer.confidence)}` : "";
  if (settings.compare === "methods") {
    if (place === 0) return [el("b", {}, methodTitle(method)), el("span", {}, target ?? "")];
    const select = el("select", { "aria-label": t("view.other-method") }, methodOptions(session.card.methods));
    select.value = method;
    select.addEventListener("change", () => settings.set({ otherMethod: select.value }));
    return [select, el("span", {}, target ?? "")];
  }
  if (place === 0) return [el("b", { class: "queue-name" }, item.name), el("span", {}, said)];
  const choices = session.items.filter((other) => other.status !== "refused");
  const options = choices.map((other) => el("option", { value: other.number }, other.name));
  const select = el("select", { "aria-label": t("view.other-image") }, options);
  select.value = item.number;
  select.addEventListener("change", () => {
    settings.set({ otherItem: choices.find(({ number }) => number === Number(select.value)) });
  });
  return [select, el("span", {}, said)];
}

function emptyMessage(session) {
  const { card } = session;
  const formats = t("intake.formats", { formats: card.limits.formats.join(", "), size: bytes(card.limits.max_upload_bytes) });
  return [
    el("h2", {}, t("view.empty")),
    el("p", {}, t(card.examples.length ? "view.empty-how-examples" : "view.empty-how")),
    card.examples.length ? el("div", { class: "example-list" }, exampleButtons(session).slice(0, 4)) : null,
    el("p", { class: "fine" }, formats),
  ];
}

function refusedMessage(session, item) {
  return [
    mark("problem", t(item.error.code === "cancelled" ? "view.cancelled" : "view.refused")),
    el("h2", {}, item.name),
    el("p", {}, problemWords(item.error, session.card)),
    el("p", {}, el("button", { type: "button", onclick: () => session.retry(item) }, t("view.again"))),
  ];
}

function message(session) {
  const { current, settings } = session;
  if (!current) return emptyMessage(session);
  if (current.status === "refused") return refusedMessage(session, current);
  if (settings.compare === "images" && !settings.otherItem) return [el("p", { class: "hint" }, t("view.need-another"))];
  if (current.error) return [el("p", { class: "hint" }, mark("problem", problemWords(current.error, session.card)))];
  return [];
}

/** The bar appears after 300 ms (style sheet); with a known duration it fills. */
class Working {
  constructor(session) {
    this.session = session;
    this.since = 0;
    find("#cancel").addEventListener("click", () => this.item && session.cancel(this.item));
    setInterval(() => this.tick(), 200);
  }

  show() {
    const { session } = this;
    const busy = session.shown().find(({ item }) => item.status === "waiting" || item.status === "working" || item.wanted.size);
    const key = busy ? `${busy.item.number} ${busy.method}` : null;
    if (key !== this.key) this.since = performance.now();
    this.key = key;
    this.item = busy?.item ?? null;
    find("#working").hidden = !busy;
    if (!busy) return;
    const method = [...busy.item.wanted.values()][0] ?? busy.method;
    this.hint = session.methodFacts(method)?.seconds_hint ?? null;
    find("#working-words").textContent = t(`view.${busy.item.status === "waiting" ? "waiting" : "working-on"}`, { method: methodTitle(method) });
    this.tick();
  }

  tick() {
    if (!this.item) return;
    const bar = find("#working-bar");
    const passed = (performance.now() - this.since) / 1000;
    // The duration is an estimate: the bar approaches its end but does not reach it.
    if (this.item.progress !== null) bar.value = this.item.progress;
    else if (this.hint > 1) bar.value = 1 - Math.exp(-1.5 * (passed / this.hint));
    else bar.removeAttribute("value");
  }
}

export function startViewing(session, stage) {
  const working = new Working(session);
  let turn = 0;
  const draw = async () => {
    if (!session.card) return;
    turn += 1;
    const mine = turn;
    working.show();
    const shown = session.shown().filter(({ item }) => item.status !== "refused");
    document.body.dataset.state = session.current ? (session.current.answer ? "result" : session.current.status) : "empty";
    fill(find("#stage-message"), message(session));
    const pictures = await Promise.all(shown.map(({ item }) => session.picture(item).catch(() => null)));
    if (mine !== turn) return;
    const contents = shown.map((pane, i) => ({ ...pane, picture: pictures[i], explanation: pane.item.answer && session.explanation(pane.item, pane.method) }));
    const visible = contents.filter(({ picture }) => picture);
    stage.show(visible.map(({ picture, explanation, item }) => ({ picture, explanation, label: t("view.picture-of", { name: item.name }) })));
    visible.forEach((pane, i) => fill(stage.panes[i].caption, caption(session, pane, i)));
    find("#panes").dataset.count = visible.length;
    find("#stage-foot").hidden = visible.length === 0;
    session.tell("drawn");
  };
  let last = null;
  session.addEventListener("current", () => {
    if (session.current !== last) stage.fit();
    last = session.current;
    draw();
  });
  session.settings.addEventListener("change", ({ detail }) => "compare" in detail && draw());
  document.addEventListener("languagechange", draw);
  startEnlarging(stage);
}

/** A click on the picture fills the window with it; a click, Escape or the button goes back. */
function startEnlarging(stage) {
  const { root } = stage;
  const turn = (on = !root.classList.contains("enlarged")) => {
    root.classList.toggle("enlarged", on);
    document.body.classList.toggle("has-enlarged", on);
    find("#enlarge").setAttribute("aria-pressed", on);
    stage.draw();
  };
  stage.addEventListener("enlarge", () => turn());
  find("#enlarge").addEventListener("click", () => turn());
  document.addEventListener("keydown", (event) => event.key === "Escape" && turn(false));
}
