// Small charts over days as SVG: bars, lines, cells and a level to compare with, in the colours of the style sheet.

import { el, fill, svg } from "./dom.js";
import { day, t } from "./i18n.js";

const HEIGHT = 176;
const EDGE = { left: 44, right: 8, top: 8, bottom: 24 };
const TICKS = 4;
const LABEL_WIDTH = 84;

/** The next round number above: 1, 2, 2.5 or 5 times a power of ten. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

/** Where things lie: `x(i)` is the middle of day i, `y(v)` the height of a value from 0 to `top`. */
function frame(width, days, top) {
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const step = inner.width / days;
  return {
    step,
    x: (i) => EDGE.left + (i + 0.5) * step,
    y: (value) => EDGE.top + inner.height * (1 - Math.min(1, value / top)),
    index: (x) => Math.max(0, Math.min(days - 1, Math.floor((x - EDGE.left) / step))),
  };
}

function axes(place, width, days, top, format) {
  const parts = [];
  for (let i = 0; i <= TICKS; i++) {
    const value = (top * i) / TICKS;
    const y = place.y(value);
    parts.push(svg("line", { class: i ? "grid" : "base", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }));
    if (i % 2 === 0) parts.push(svg("text", { class: "axis end", x: EDGE.left - 8, y: y + 4 }, format(value)));
  }
  const every = Math.max(1, Math.ceil(LABEL_WIDTH / place.step));
  for (let i = days.length - 1; i >= 0; i -= every) {
    const inside = Math.min(place.x(i), width - 36);
    parts.push(svg("text", { class: "axis middle", x: inside, y: HEIGHT - 4 }, day(days[i])));
  }
  return parts;
}

/** Bars of several parts on top of one another: series [{values, class}]. */
export function stackedBars(series) {
  return (place, count) => {
    const width = Math.max(1, Math.min(28, place.step * 0.7));
    const parts = [];
    for (let i = 0; i < count; i++) {
      let below = 0;
      for (const { values, class: name } of series) {
        const value = values[i] ?? 0;
        if (!value) continue;
        const [low, high] = [place.y(below), place.y(below + value)];
        parts.push(svg("rect", { class: name, x: place.x(i) - width / 2, y: high, width, height: Math.max(0.5, low - high) }));
        below += value;
      }
    }
    return parts;
  };
}

/** A line that breaks where a day has no value, with a dot on days that stand alone. */
export function line(values, name) {
  return (place) => {
    const parts = [];
    let path = "";
    values.forEach((value, i) => {
      if (value === null) return;
      const before = values[i - 1] ?? null;
      path += `${before === null ? "M" : "L"}${place.x(i).toFixed(1)} ${place.y(value).toFixed(1)}`;
      if (before === null && (values[i + 1] ?? null) === null) parts.push(svg("circle", { class: `dot ${name}`, cx: place.x(i), cy: place.y(value), r: 2.5 }));
    });
    return [svg("path", { class: `line ${name}`, d: path }), ...parts];
  };
}

/** A level to compare with, named at its right end. */
export function level(value, words) {
  return (place, count) => {
    const [x1, x2, y] = [place.x(0) - place.step / 2, place.x(count - 1) + place.step / 2, place.y(value)];
    return [
      svg("line", { class: "level", x1, x2, y1: y, y2: y }),
      svg("text", { class: "axis end", x: x2, y: y + 14 }, words),
    ];
  };
}

/** One column of cells a day, darker where more of that day's answers fall: rows[i] are counts from low to high. */
export function cells(rows, top) {
  return (place) =>
    rows.flatMap((counts, i) => {
      const most = Math.max(...counts, 0);
      if (!most) return [];
      const width = Math.max(1, place.step - 1);
      return counts.map((count, bin) => {
        const [low, high] = [place.y((bin * top) / counts.length), place.y(((bin + 1) * top) / counts.length)];
        return svg("rect", { class: "cell", x: place.x(i) - width / 2, y: high + 0.5, width, height: low - high - 1, "fill-opacity": (0.6 * count) / most });
      });
    });
}

/** The numbers of a chart as a table, for those who do not see it and those who want them exactly. */
function figures(days, columns) {
  const head = [t("chart.day"), ...columns.map(({ name }) => name)].map((name) => el("th", { scope: "col" }, name));
  const rows = days.map((date, i) => el("tr", {}, el("th", { scope: "row" }, day(date)), columns.map(({ show }) => el("td", {}, show(i)))));
  const table = el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
  const words = t("chart.figures");
  const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": words }, table);
  return el("details", { class: "figures" }, el("summary", {}, words), scroll);
}

function startPointer(picture, tip, place, days, columns) {
  const guide = svg("line", { class: "guide", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
  picture.append(guide);
  picture.addEventListener("pointermove", ({ clientX }) => {
    const box = picture.getBoundingClientRect();
    const i = place.index(clientX - box.left);
    const x = place.x(i);
    for (const [key, value] of Object.entries({ x1: x, x2: x, visibility: "visible" })) guide.setAttribute(key, value);
    fill(tip, el("b", {}, day(days[i])), columns.map(({ name, show }) => el("span", {}, `${name} ${show(i)}`)));
    tip.hidden = false;
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.max(half, Math.min(box.width - half, x))}px`;
  });
  picture.addEventListener("pointerleave", () => {
    tip.hidden = true;
    guide.setAttribute("visibility", "hidden");
  });
}

/**
 * A chart: `title` is its finding, `days` dates, `layers` what is drawn, `top` the value at the top, `format` writes
 * values of the axis, `columns` [{name, show(i)}] are its figures, `key` [{name, class}] what the colours mean.
 */
export function chart({ title, topic, days, layers, top, format, columns, key = [] }) {
  const canvas = el("div", { class: "plot" });
  const tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  const legend = key.length ? el("ul", { class: "key" }, key.map(({ name, class: look }) => el("li", {}, el("i", { class: look }), name))) : null;
  const draw = () => {
    const width = Math.max(240, canvas.clientWidth);
    const place = frame(width, days.length, top);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": title });
    picture.append(...axes(place, width, days, top, format), ...layers.flatMap((layer) => layer(place, days.length)));
    fill(canvas, picture, tip);
    startPointer(picture, tip, place, days, columns);
  };
  new ResizeObserver(draw).observe(canvas);
  return el("section", { class: "chart" }, el("p", { class: "topic" }, topic), el("h3", {}, title), legend, canvas, figures(days, columns));
}
