// The images of this visit: requests, their order, and answers.

import { ask, askJson, contents } from "./api.js";
import { decodeGrid } from "./heat.js";
import { pause, Problem, Unreachable } from "./problems.js";
import { hasOneTarget, predictedOf } from "./words.js";

const AT_ONCE = 2;
// Up to this many classes are explained in one request, so that changing the class is immediate.
const CLASSES_AT_ONCE = 10;
const THUMB = 96;
const KEPT_PICTURES = 4;
const BUSY_ATTEMPTS = 20;
const BROKEN_ATTEMPTS = 3;
// Larger pictures are kept at a reduced size, because the browser's canvas has limits.
const LARGEST_SIDE = 4096;

let made = 0;

/** One image. `status`: waiting, working, done, refused. `maps` holds explanations by method and class. */
class Item {
  constructor({ file = null, url = null, name }) {
    made += 1;
    Object.assign(this, { number: made, file, url, name, status: "waiting", answer: null, error: null, seen: null });
    this.maps = new Map();
    this.wanted = new Map();
    this.running = new Set();
    this.progress = null;
    this.thumb = null;
    this.mini = null;
    this.preview = null;
    this.unshowable = Boolean(url);
    this.feedback = null;
  }

  abort() {
    for (const controller of this.running) controller.abort();
  }
}

const keyOf = (method, target, layer, against) => `${method}|${target}|${layer ?? ""}|${against ?? ""}`;

async function decode(blob) {
  const bitmap = await createImageBitmap(blob);
  const longest = Math.max(bitmap.width, bitmap.height);
  if (longest <= LARGEST_SIDE) return bitmap;
  const share = LARGEST_SIDE / longest;
  const size = { resizeWidth: Math.round(bitmap.width * share), resizeHeight: Math.round(bitmap.height * share) };
  return createImageBitmap(bitmap, { ...size, resizeQuality: "high" });
}

const blobOf = (base64) => new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))]);

/** A small square copy of a picture, for the queue. */
function small(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMB;
  const share = Math.min(THUMB / picture.width, THUMB / picture.height);
  const [w, h] = [picture.width * share, picture.height * share];
  canvas.place = [(THUMB - w) / 2, (THUMB - h) / 2, w, h];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, ...canvas.place);
  return canvas;
}

/** Events: "items" (the queue changed), "current" (the image shown or what is known of it), "server". */
export class Session extends EventTarget {
  constructor(settings) {
    super();
    this.settings = settings;
    this.items = [];
    this.current = null;
    this.card = null;
    this.gone = null;
    this.pictures = new Map();
    settings.addEventListener("change", ({ detail }) => {
      if (["method", "target", "against", "layer", "compare", "otherMethod", "otherItem"].some((name) => name in detail)) this.refresh();
    });
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  changed(item) {
    this.tell("items");
    if (item === this.current || item === this.settings.otherItem) this.tell("current");
  }

  /** Put images at the end of the queue; the first new image is shown. */
  add(sources) {
    const items = sources.map((source) => new Item(source));
    if (!items.length) return;
    this.items.push(...items);
    const { max_upload_bytes: most } = this.card.limits;
    for (const item of items) {
      if (item.file && item.file.size > most) this.#refuse(item, new Problem(413, { code: "too-many-bytes" }));
    }
    this.select(items[0]);
    this.#pump();
  }

  select(item) {
    this.current = item;
    this.tell("items");
    this.refresh();
  }

  /** The neighbour of the current image in the queue becomes current. */
  step(by) {
    const place = this.items.indexOf(this.current) + by;
    if (this.current && this.items[place]) this.select(this.items[place]);
  }

  remove(item) {
    item.abort();
    const place = this.items.indexOf(item);
    this.items.splice(place, 1);
    this.#release(item);
    if (this.settings.otherItem === item) this.settings.set({ otherItem: null });
    if (this.current === item) this.current = this.items[Math.min(place, this.items.length - 1)] ?? null;
    this.tell("items");
    this.refresh();
  }

  clear() {
    for (const item of this.items) item.abort();
    [...this.pictures.keys()].forEach((item) => this.#release(item));
    this.items = [];
    this.current = null;
    this.settings.set({ otherItem: null, compare: "one", target: null, against: null });
    this.tell("items");
    this.tell("current");
  }

  /** Give up on an image; one that was answered before keeps its answer. */
  cancel(item) {
    item.abort();
    if (!item.answer) this.#refuse(item, new Problem(0, { code: "cancelled" }));
  }

  retry(item) {
    Object.assign(item, { status: "waiting", error: null });
    this.changed(item);
    this.#pump();
  }

  /** Ask every image again, of another model for example. */
  restart() {
    for (const item of this.items) {
      item.abort();
      Object.assign(item, { status: "waiting", answer: null, error: null, thumb: null, feedback: null });
      item.maps.clear();
    }
    this.tell("items");
    this.tell("current");
    this.#pump();
  }

  /** The class that is explained for an image. */
  targetOf(item) {
    const { target } = this.settings;
    return target ?? (hasOneTarget(this.card) ? this.card.classes[1] : predictedOf(item.answer));
  }

  /** The class that it is explained against; none for the class itself. */
  againstOf(item) {
    const { against } = this.settings;
    return against && against !== this.targetOf(item) ? against : null;
  }

  /** What the server says of a method: its cost, whether it looks at a layer, whether it is signed. */
  methodFacts(method) {
    return this.card.methods.find(({ name }) => name === method) ?? null;
  }

  /** The layer that a method is to explain: a choice only where the model offers several and the method reads one. */
  layerOf(method) {
    return this.card.layers.length > 1 && this.methodFacts(method)?.looks_at_layer ? this.settings.layer : null;
  }

  explanation(item, method = this.settings.method) {
    return item.maps.get(keyOf(method, this.targetOf(item), this.layerOf(method), this.againstOf(item))) ?? null;
  }

  /** Any map of an image for the class that is shown, the chosen one first. */
  anyExplanation(item) {
    const [target, against] = [this.targetOf(item), this.againstOf(item)];
    const same = (map) => map.target === target && map.against === against;
    return this.explanation(item) ?? [...item.maps.values()].find(same) ?? null;
  }

  /** What the stage shows: one or two of {item, method}. */
  shown() {
    const { compare, method, otherMethod, otherItem } = this.settings;
    if (!this.current) return [];
    const first = { item: this.current, method };
    if (compare === "methods") return [first, { item: this.current, method: otherMethod ?? method }];
    if (compare === "images" && otherItem) return [first, { item: otherItem, method }];
    return [first];
  }

  /** Fetch the maps that the stage needs and are not there yet. */
  refresh() {
    this.tell("current");
    if (!this.card?.methods.length) return;
    for (const { item, method } of this.shown()) {
      if (item.status === "done" && !this.explanation(item, method)) this.#another(item, method);
    }
  }

  async #another(item, method) {
    const key = keyOf(method, this.targetOf(item), this.layerOf(method), this.againstOf(item));
    if (item.wanted.has(key)) return;
    item.wanted.set(key, method);
    item.error = null;
    this.changed(item);
    try {
      await this.#explain(item, method, this.targetOf(item), this.againstOf(item));
    } catch (error) {
      if (error.name !== "AbortError") item.error = error;
      else if (item === this.current) this.#goBack(item, method);
    }
    item.wanted.delete(key);
    this.changed(item);
  }

  /** After a cancelled method the last one that has a map is chosen again. */
  #goBack(item, method) {
    const last = [...item.maps.keys()].pop()?.split("|")[0];
    if (this.settings.method === method && last) this.settings.set({ method: last });
    else if (this.settings.otherMethod === method) this.settings.set({ otherMethod: null });
  }

  /** What each image of the queue is explained by at first: the method chosen, unless it is a slow one. */
  #quickMethod() {
    const chosen = this.methodFacts(this.settings.method);
    if (chosen && !chosen.cost.slow) return chosen.name;
    const quick = this.card.methods.find(({ cost }) => !cost.slow);
    return (quick ?? chosen ?? this.card.methods[0])?.name ?? null;
  }

  #pump() {
    const working = this.items.filter((item) => item.status === "working").length;
    const waiting = this.items.filter((item) => item.status === "waiting");
    // The image on the stage comes first.
    waiting.sort((a, b) => (b === this.current) - (a === this.current));
    for (const item of waiting.slice(0, Math.max(0, AT_ONCE - working))) this.#work(item);
  }

  async #work(item) {
    item.status = "working";
    this.changed(item);
    try {
      const shown = item.url ? null : this.picture(item).catch(() => (item.unshowable = true));
      // A server must be told whether the browser can show the picture; a page without one sees for itself.
      if (!this.card.alone) await shown;
      await this.#explain(item, this.#quickMethod(), null);
      await shown;
      item.status = "done";
      item.thumb = await this.picture(item).then(small, () => null);
    } catch (error) {
      if (error.name !== "AbortError" && this.items.includes(item)) this.#refuse(item, error);
    }
    this.tell("done");
    this.changed(item);
    if (item === this.current) this.refresh();
    this.#pump();
  }

  #refuse(item, error) {
    Object.assign(item, { status: "refused", error });
    this.changed(item);
  }

  async #explain(item, method, target, against = null) {
    const controller = new AbortController();
    const many = !against && this.card.classes.length <= CLASSES_AT_ONCE;
    const layer = this.layerOf(method);
    const query = {
      model: this.card.name,
      method,
      all_classes: many || null,
      target: many ? null : target,
      against,
      layer,
      pictures: item.unshowable && !item.preview ? "seen,preview" : "seen",
      again: item.answer?.id,
    };
    item.running.add(controller);
    const progress = (share) => (item.progress = share);
    const asked = this.#patiently("v1/explain", { ...contents(item), query, signal: controller.signal, progress });
    const answer = await asked.finally(() => {
      item.running.delete(controller);
      item.progress = null;
    });
    for (const explanation of answer.explanations) {
      explanation.grid = decodeGrid(explanation.grid);
      item.maps.set(keyOf(explanation.method, explanation.target, layer, explanation.against), explanation);
    }
    item.answer ??= answer;
    item.seen ??= answer.seen;
    item.preview ??= answer.preview ?? null;
  }

  /** Ask, and ask again when the server is busy or gone for a while. */
  async #patiently(path, options) {
    let broken = 0;
    for (let attempt = 0; ; attempt++) {
      try {
        return await askJson(path, options);
      } catch (error) {
        if (error instanceof Unreachable) {
          broken += 1;
          const away = await this.#untilThere();
          if (!away && broken >= BROKEN_ATTEMPTS) throw new Problem(0, { code: "broken-off" });
        } else if ((error.status === 429 || error.status === 503) && attempt < BUSY_ATTEMPTS) {
          await pause(1000 * (error.retryAfter ?? 2), options.signal);
        } else throw error;
      }
    }
  }

  /** Resolves when the server answers: to whether it had been away. */
  #untilThere() {
    this.waiting ??= this.#reconnect().finally(() => (this.waiting = null));
    return this.waiting;
  }

  async #reconnect() {
    let away = false;
    for (let wait = 1; ; wait = Math.min(10, 2 * wait)) {
      try {
        await ask("livez");
        this.gone = null;
        this.tell("server");
        return away;
      } catch {
        away = true;
      }
      await new Promise((resolve) => {
        this.gone = { until: Date.now() + 1000 * wait, now: resolve };
        this.tell("server");
        setTimeout(resolve, 1000 * wait);
      });
    }
  }

  /** The picture of an item as something a canvas can draw; the few last ones are kept. */
  picture(item) {
    if (!this.pictures.has(item)) {
      const made = this.#decoded(item);
      this.pictures.set(item, made);
      made.catch(() => this.pictures.delete(item));
      const old = [...this.pictures.keys()].filter((kept) => !this.shown().some((shown) => shown.item === kept));
      while (this.pictures.size > KEPT_PICTURES && old.length) this.#release(old.shift());
    }
    return this.pictures.get(item);
  }

  async #decoded(item) {
    if (item.preview) return decode(blobOf(item.preview));
    if (item.unshowable) throw new Error("no picture yet");
    return decode(item.file);
  }

  #release(item) {
    this.pictures.delete(item);
  }
}
