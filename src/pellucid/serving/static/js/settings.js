// Display settings in one object, which fires "change".

import { recall, remember } from "./memory.js";
import { MAPS } from "./colours.js";

export const DEFAULTS = {
  opacity: 0.6,
  map: "inferno",
  threshold: 0,
  scale: "image",
  window: 255,
  level: 128,
  invert: false,
  method: null,
  target: null,
  against: null,
  layer: null,
  compare: "one",
  otherMethod: null,
  otherItem: null,
};

class Settings extends EventTarget {
  constructor() {
    super();
    Object.assign(this, DEFAULTS);
    const map = recall("map");
    if (MAPS.includes(map)) this.map = map;
  }

  set(changes) {
    Object.assign(this, changes);
    if ("map" in changes) remember("map", this.map);
    this.dispatchEvent(new CustomEvent("change", { detail: changes }));
  }

  /** Picture and colours as they were at first; class, method and comparison stay. `scale` is the model's usual one. */
  reset(scale = DEFAULTS.scale) {
    const { opacity, map, threshold, window, level, invert } = DEFAULTS;
    this.set({ opacity, map, threshold, scale, window, level, invert });
  }
}

export const settings = new Settings();
