// The canvas: image and heat map as two layers, in one pane or two linked panes.

import { isDiverging } from "./colours.js";
import { el, fill, find } from "./dom.js";
import { displayLimit, paint } from "./heat.js";
import { legend } from "./legend.js";

const MAX_ZOOM = 32;
// Images with more pixels than this are adjusted at a reduced size.
const ADJUSTED_PIXELS = 3e6;
const CLICK_DISTANCE = 4;
const MARGIN = 8;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The image with contrast window and inversion applied; the image itself where there is nothing to do. */
export function adjusted(picture, { window, level, invert }) {
  if (window >= 255 && level === 128 && !invert) return picture;
  const share = Math.min(1, Math.sqrt(ADJUSTED_PIXELS / (picture.width * picture.height)));
  const canvas = el("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * share));
  canvas.height = Math.max(1, Math.round(picture.height * share));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const steps = new Uint8ClampedArray(256);
  for (let i = 0; i < 256; i++) {
    const value = ((i - (level - window / 2)) / window) * 255;
    steps[i] = invert ? 255 - value : value;
  }
  const { data } = pixels;
  for (let i = 0; i < data.length; i += 4) {
    data[i] = steps[data[i]];
    data[i + 1] = steps[data[i + 1]];
    data[i + 2] = steps[data[i + 2]];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** The coloured heat map at the grid's own size. */
export function heatLayer(explanation, settings, opaque = false) {
  const { map, opacity, threshold, scale } = settings;
  const limit = displayLimit(explanation, scale, isDiverging(map));
  const { grid } = explanation;
  const canvas = el("canvas");
  canvas.width = grid.width;
  canvas.height = grid.height;
  const bytes = paint(grid, { map, limit, opacity, threshold, opaque });
  canvas.getContext("2d").putImageData(new ImageData(bytes, grid.width, grid.height), 0, 0);
  return canvas;
}

class Pane {
  constructor() {
    this.canvas = el("canvas", { tabindex: "0", role: "img" });
    this.caption = el("figcaption");
    this.legend = el("div", { class: "legend" });
    this.figure = el("figure", { class: "pane" }, this.caption, this.canvas, this.legend);
    this.content = null;
    this.layers = {};
  }

  /** content: {picture, explanation (or null), label}. */
  show(content) {
    this.content = content;
    this.canvas.setAttribute("aria-label", content?.label ?? "");
  }

  /** The colour bar of this pane's own map, where two are compared. */
  drawLegend(settings, comparing) {
    const explanation = comparing ? this.content?.explanation : null;
    fill(this.legend, explanation ? legend(explanation, settings) : []);
  }

  #layer(name, key, make) {
    const [from, tag] = key;
    const kept = this.layers[name];
    if (!kept || kept.from !== from || kept.tag !== tag) this.layers[name] = { from, tag, made: make() };
    return this.layers[name].made;
  }

  /** Pixels on the canvas per pixel of the image when it fits. */
  fit() {
    const { picture } = this.content;
    const room = 2 * MARGIN * (globalThis.devicePixelRatio || 1);
    const [width, height] = [this.canvas.width - room, this.canvas.height - room];
    return Math.max(1e-3, Math.min(width / picture.width, height / picture.height));
  }

  draw(settings, view) {
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) => Math.round(side * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!this.content || !width || !height) return;
    const { picture, explanation } = this.content;
    const { window, level, invert, map, opacity, threshold, scale } = settings;
    const scaleTo = this.fit() * view.zoom;
    const [w, h] = [picture.width * scaleTo, picture.height * scaleTo];
    const place = [width / 2 - w / 2 + view.x * w, height / 2 - h / 2 + view.y * h, w, h];
    const image = this.#layer("image", [picture, `${window} ${level} ${invert}`], () => adjusted(picture, settings));
    context.imageSmoothingEnabled = scaleTo < 4 * ratio;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, ...place);
    if (!explanation || opacity === 0) return;
    const tag = `${map} ${opacity} ${threshold} ${scale}`;
    const heat = this.#layer("heat", [explanation, tag], () => heatLayer(explanation, settings));
    context.imageSmoothingEnabled = true;
    context.drawImage(heat, ...place);
  }
}

/** One or two panes. Events: "view" when zoom or place changed, "enlarge" when the picture was clicked. */
export class Stage extends EventTarget {
  constructor(root, settings) {
    super();
    this.root = root;
    this.settings = settings;
    this.panes = [new Pane(), new Pane()];
    this.view = { zoom: 1, x: 0, y: 0 };
    this.pointers = new Map();
    find("#panes", root).append(...this.panes.map((pane) => pane.figure));
    this.panes.forEach((pane) => this.#listen(pane));
    settings.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(root);
    this.show([]);
  }

  /** Up to two contents; a pane without one is hidden. */
  show(contents) {
    this.panes.forEach((pane, i) => {
      pane.show(contents[i] ?? null);
      pane.figure.hidden = !contents[i];
    });
    this.draw();
  }

  /** Draw before the next frame, once however many changes there were. */
  draw() {
    this.wanted ??= requestAnimationFrame(() => {
      this.wanted = null;
      const comparing = !this.panes[1].figure.hidden;
      this.panes.forEach((pane) => {
        if (pane.figure.hidden) return;
        pane.drawLegend(this.settings, comparing);
        pane.draw(this.settings, this.view);
      });
    });
  }

  /** Zoom by a factor about a point of a pane's canvas (its centre when none is given). */
  zoomBy(factor, pane = this.panes[0], point = null) {
    if (!pane.content) return;
    const zoom = clamp(this.view.zoom * factor, 1, MAX_ZOOM);
    const { picture } = pane.content;
    const [w, h] = [picture.width * pane.fit(), picture.height * pane.fit()];
    const [px, py] = point ? [point[0] - pane.canvas.width / 2, point[1] - pane.canvas.height / 2] : [0, 0];
    const held = (offset, at, side) => offset + (at / side) * (1 / zoom - 1 / this.view.zoom);
    this.#move(zoom, held(this.view.x, px, w), held(this.view.y, py, h));
  }

  /** Move by pixels of a pane's canvas. */
  panBy(dx, dy, pane = this.panes[0]) {
    if (!pane.content) return;
    const side = pane.fit() * this.view.zoom;
    const { picture } = pane.content;
    this.#move(this.view.zoom, this.view.x + dx / (picture.width * side), this.view.y + dy / (picture.height * side));
  }

  fit() {
    this.#move(1, 0, 0);
  }

  #move(zoom, x, y) {
    // The middle of the stage never leaves the picture.
    const most = zoom === 1 ? 0 : 0.5;
    this.view = { zoom, x: clamp(x, -most, most), y: clamp(y, -most, most) };
    this.root.classList.toggle("zoomed", zoom > 1);
    this.draw();
    this.dispatchEvent(new Event("view"));
  }

  #point(pane, event) {
    const box = pane.canvas.getBoundingClientRect();
    const ratio = pane.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  #listen(pane) {
    const { canvas } = pane;
    canvas.addEventListener("wheel", (event) => this.#wheel(pane, event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, this.#point(pane, event));
      this.travelled = this.pointers.size > 1 ? Infinity : 0;
    });
    canvas.addEventListener("pointermove", (event) => this.#drag(pane, event));
    const end = (event) => {
      if (!this.pointers.delete(event.pointerId) || event.type === "pointercancel") return;
      if (this.travelled < CLICK_DISTANCE) this.dispatchEvent(new Event("enlarge"));
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("keydown", (event) => event.key === "Enter" && this.dispatchEvent(new Event("enlarge")));
  }

  #wheel(pane, event) {
    // If the page can scroll, the plain wheel keeps scrolling it.
    const scrolls = document.documentElement.scrollHeight > globalThis.innerHeight + 1;
    if (scrolls && !event.ctrlKey && !this.root.classList.contains("enlarged")) return;
    event.preventDefault();
    this.zoomBy(Math.exp(-clamp(event.deltaY, -200, 200) / 400), pane, this.#point(pane, event));
  }

  #drag(pane, event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#point(pane, event);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    if (others.length) {
      const [, still] = others[0];
      const gap = (point) => Math.hypot(point[0] - still[0], point[1] - still[1]) || 1;
      this.zoomBy(gap(now) / gap(before), pane, [(now[0] + still[0]) / 2, (now[1] + still[1]) / 2]);
    } else {
      this.travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (this.travelled >= CLICK_DISTANCE) this.panBy(now[0] - before[0], now[1] - before[1], pane);
    }
    this.pointers.set(event.pointerId, now);
  }
}
