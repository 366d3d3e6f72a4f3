// What the page computes on: the processor, or a graphics card where one gives the same answers and is measured to be quicker.

import { Engine } from "./engine.js";
import { hasPart } from "./parts.js";

const CARD = "graphics-";
// The largest difference that a card may have, of logits above 1 and of the map's largest value as a share.
const APART = 1e-3;
// A card that takes longer than the processor by this factor is not measured further.
const HOPELESS = 4;
// After these a card is given up: it was lost, or its memory ran out.
const BROKEN = ["failed", "memory", "no-engine"];

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function apart(mine, theirs) {
  if (mine.logits.length !== theirs.logits.length || mine.map.length !== theirs.map.length) return Infinity;
  const logits = theirs.logits.map((z, i) => Math.abs(z - mine.logits[i]) / Math.max(1, Math.abs(z)));
  const scale = Math.max(largest(theirs.map), Number.MIN_VALUE);
  const found = [...logits, ...theirs.map.map((value, i) => Math.abs(value - mine.map[i]) / scale)];
  return found.some(Number.isNaN) ? Infinity : largest(found);
}

/** Whether this browser has a graphics card for computing; one that is only imitated counts where `software`. */
async function hasCard(software) {
  const adapter = await globalThis.navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  return Boolean(adapter) && (software || !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
}

/**
 * `state` is {on, tried}: "processor" or "card", and null or what a trial found: {same, apart, card, processor}, the last
 * two in milliseconds a pass, or {lost: true, detail}. It tells "change".
 */
class Computing extends EventTarget {
  constructor() {
    super();
    this.processor = new Engine();
    this.card = null;
    this.state = { on: "processor", tried: null };
  }

  #settle(on, tried) {
    if (on === "processor" && this.card) {
      this.card.stop();
      this.card = null;
    }
    this.state = { on, tried };
    this.dispatchEvent(new Event("change"));
  }

  /** Try a card and choose. Programs that test the page may count imitated cards, by `software`, and `force` the choice. */
  async choose({ software = false, force = false } = {}) {
    if (!hasPart(`${CARD}runtime`) || !(await hasCard(software))) return this.state;
    this.card = new Engine(CARD, "webgpu");
    try {
      const theirs = await this.processor.ask({ trial: { enough: Infinity } });
      const mine = await this.card.ask({ trial: { enough: HOPELESS * theirs.milliseconds } });
      const found = { apart: apart(mine, theirs), card: mine.milliseconds, processor: theirs.milliseconds };
      found.same = found.apart <= APART;
      this.#settle(found.same && (force || found.card < found.processor) ? "card" : "processor", found);
    } catch (error) {
      this.#settle("processor", { lost: true, detail: error.message });
    }
    return this.state;
  }

  /** As `Engine.ask`; the processor answers what a card cannot. */
  async ask(request, options) {
    const { card } = this;
    if (this.state.on === "processor") return this.processor.ask(request, options);
    try {
      return await card.ask(request, options);
    } catch (error) {
      if (!BROKEN.includes(error.code)) throw error;
      if (this.card === card) this.#settle("processor", { lost: true, detail: error.message });
      return this.processor.ask(request, options);
    }
  }
}

export const computing = new Computing();
