// Controls of the picture: class, method, comparison, colours, zoom.

import { isDiverging, MAPS } from "./colours.js";
import { el, fill, find, findAll } from "./dom.js";
import { count, percent, t } from "./i18n.js";
import { legend } from "./legend.js";
import { hasOneTarget, methodTitle, predictedOf } from "./words.js";

const SLIDERS = {
  opacity: { read: (n) => n / 100, show: (value) => Math.round(100 * value), words: percent },
  threshold: { read: (n) => n / 100, show: (value) => Math.round(100 * value), words: percent },
  window: { read: Number, show: Number, words: count },
  level: { read: Number, show: Number, words: count },
};

function optionTitle(name, cost) {
  return cost.slow ? t("view.slow-method", { method: methodTitle(name) }) : methodTitle(name);
}

/** The options of a list of methods, in their families. */
export function methodOptions(methods) {
  const families = [...new Set(methods.map(({ family }) => family))];
  return families.map((family) =>
    el(
      "optgroup",
      { label: t(`family.${family}`) },
      methods
        .filter((method) => method.family === family)
        .map(({ name, summary, cost }) => el("option", { value: name, title: summary }, optionTitle(name, cost))),
    ),
  );
}

const isSigned = (session) => session.methodFacts(session.settings.method)?.signed ?? false;

function drawLists(session) {
  const { card, settings, current } = session;
  const label = predictedOf(current?.answer);
  const first = hasOneTarget(card) ? null : el("option", { value: "" }, label ? t("view.predicted-is", { label }) : t("view.predicted"));
  fill(find("#target"), first, card.classes.map((name) => el("option", { value: name }, name)));
  find("#target").value = settings.target ?? (first ? "" : card.classes[1]);
  // A model that explains nothing leaves nothing to choose.
  const explains = card.methods.length > 0;
  for (const name of ["#target", "#method"]) find(name).closest("label").hidden = !explains;
  find("#compare").hidden = !explains;
  fill(find("#method"), methodOptions(card.methods));
  find("#method").value = settings.method;
  drawAgainst(session);
  find("#layer-choice").hidden = card.layers.length < 2 || !session.methodFacts(settings.method)?.looks_at_layer;
  fill(find("#layer"), card.layers.map((name) => el("option", { value: name }, name)));
  find("#layer").value = settings.layer ?? card.layers[0];
  fill(find("#map"), MAPS.map((map) => el("option", { value: map, disabled: isDiverging(map) && !isSigned(session) }, t(`map.${map}`))));
}

/** The class that another one is explained against: offered from three classes on, as two have one score. */
function drawAgainst({ card, settings, current }) {
  find("#against-choice").hidden = !card.against;
  const explained = settings.target ?? current?.answer?.label;
  const others = card.classes.filter((name) => name !== explained);
  fill(find("#against"), el("option", { value: "" }, t("view.against-none")), others.map((name) => el("option", { value: name }, name)));
  find("#against").value = others.includes(settings.against) ? settings.against : "";
}

function drawSettings(session) {
  const { settings } = session;
  for (const [name, { show, words }] of Object.entries(SLIDERS)) {
    find(`#${name}`).value = show(settings[name]);
    find(`output[for=${name}]`).textContent = words(settings[name]);
  }
  find("#map").value = settings.map;
  find("#scale").value = settings.scale;
  find("#invert").checked = settings.invert;
  for (const radio of findAll("#compare input")) radio.checked = radio.value === settings.compare;
  drawLegend(session);
}

/** The colour bar under the picture; two pictures have one each. */
function drawLegend(session) {
  const { settings, current } = session;
  const explanation = current?.answer ? session.explanation(current) : null;
  find("#legend").hidden = !explanation || session.shown().length > 1;
  if (!explanation) return;
  fill(find("#legend"), legend(explanation, settings));
  find("#scale option[value=model]").disabled = !explanation.quantiles?.model;
}

/** Keep the choices possible: a one-sided method has no blue-white-red, a model without a scale no such scale. */
function keepPossible(session) {
  const { settings, current } = session;
  if (isDiverging(settings.map) && !isSigned(session)) settings.set({ map: "inferno" });
  const explanation = current?.answer && session.explanation(current);
  if (explanation && settings.scale === "model" && !explanation.quantiles?.model) settings.set({ scale: "image" });
}

export function startControls(session, stage) {
  const { settings } = session;
  for (const [name, { read }] of Object.entries(SLIDERS)) {
    find(`#${name}`).addEventListener("input", ({ target }) => settings.set({ [name]: read(Number(target.value)) }));
  }
  for (const name of ["method", "map", "scale"]) {
    find(`#${name}`).addEventListener("change", ({ target }) => settings.set({ [name]: target.value }));
  }
  find("#target").addEventListener("change", ({ target }) => settings.set({ target: target.value || null }));
  find("#against").addEventListener("change", ({ target }) => settings.set({ against: target.value || null }));
  find("#layer").addEventListener("change", ({ target }) => {
    settings.set({ layer: target.value === session.card.layers[0] ? null : target.value });
  });
  find("#invert").addEventListener("change", ({ target }) => settings.set({ invert: target.checked }));
  find("#reset").addEventListener("click", () => settings.reset(session.card.map_scale));
  find("#compare").addEventListener("change", ({ target }) => startComparing(session, target.value));
  find("#zoom-in").addEventListener("click", () => stage.zoomBy(1.5));
  find("#zoom-out").addEventListener("click", () => stage.zoomBy(1 / 1.5));
  find("#zoom-fit").addEventListener("click", () => stage.fit());
  stage.addEventListener("view", () => (find("#zoom-value").textContent = percent(stage.view.zoom)));
  settings.addEventListener("change", () => {
    keepPossible(session);
    drawSettings(session);
  });
  const whole = () => {
    if (!session.card) return;
    keepPossible(session);
    drawLists(session);
    drawSettings(session);
  };
  session.addEventListener("current", whole);
  document.addEventListener("languagechange", whole);
}

/** Something to compare with is chosen at once: the next method, or the next image. */
export function startComparing(session, compare) {
  const { settings, items, current } = session;
  const changes = { compare };
  if (compare === "methods" && (!settings.otherMethod || settings.otherMethod === settings.method)) {
    const others = session.card.methods.filter(({ name }) => name !== settings.method);
    changes.otherMethod = (others.find(({ cost }) => !cost.slow) ?? others[0] ?? session.card.methods[0]).name;
  }
  if (compare === "images" && (!settings.otherItem || settings.otherItem === current)) {
    const answered = items.filter((item) => item !== current && item.status !== "refused");
    changes.otherItem = answered[0] ?? null;
  }
  settings.set(changes);
}
