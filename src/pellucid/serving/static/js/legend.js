// The colour bar: what the ends of the scale mean, and in what unit.

import { drawStrip, isDiverging } from "./colours.js";
import { el } from "./dom.js";
import { displayLimit, reading } from "./heat.js";
import { number, t } from "./i18n.js";
import { unitWords } from "./words.js";

/** The bar of one heat map under the settings it is drawn with; in words where the picture shows nothing. */
export function legend(explanation, settings) {
  const signed = isDiverging(settings.map);
  const limit = displayLimit(explanation, settings.scale, signed);
  const strip = el("canvas", { "aria-hidden": "true" });
  drawStrip(strip, settings.map);
  const hidden = el("i");
  hidden.style.left = signed ? `${50 - 50 * settings.threshold}%` : "0";
  hidden.style.width = `${100 * settings.threshold}%`;
  const ticks = signed ? [-limit, 0, limit] : [0, limit / 2, limit];
  const nothing = reading(explanation.grid, limit, signed);
  return [
    el("div", { class: "strip" }, strip, hidden),
    el("div", { class: "ticks" }, ticks.map((value) => el("span", {}, number(value)))),
    el("p", { class: nothing ? "unit nothing" : "unit" }, nothing ? t(`reading.${nothing}`) : unitWords(explanation)),
  ];
}
