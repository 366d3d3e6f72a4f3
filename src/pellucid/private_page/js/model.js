// The model: its graphs in the runtime, one pass at a time, and what a pass is asked for.

import { expanded } from "./compact.js";
import { unpacked } from "./unpacked.js";
import { predictedOf, probabilitiesOf } from "./probabilities.js";

/** Passes in turn: the runtime takes one at a time, and a quick question goes between the passes of a slow one. */
class Turns {
  constructor() {
    this.last = Promise.resolve();
  }

  take(work) {
    const mine = this.last.then(work);
    this.last = mine.catch(() => null);
    return mine;
  }
}

/** `fetchPart(name)` gives the bytes of a part that is not always there. */
export class Model {
  static async open(ort, { facts, model, runtime, fetchPart }) {
    const [program, graph] = await Promise.all([unpacked(runtime), unpacked(model)]);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = program.buffer;
    const made = Object.assign(new Model(), { ort, facts, manifest: facts.manifest, fetchPart, turns: new Turns(), more: new Map() });
    made.session = await made.#graph(expanded(graph));
    return made;
  }

  #graph(bytes, externalData) {
    return this.ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], ...(externalData && { externalData }) });
  }

  get preprocessing() {
    return this.manifest.preprocessing;
  }

  /** Another graph of the bundle, opened on first use. */
  #other(name) {
    if (!this.more.has(name)) {
      const opened = (async () => {
        const [graph, weights] = await Promise.all([this.fetchPart(name), this.fetchPart("weights")]);
        return this.#graph(await unpacked(graph), [{ path: "weights.safetensors", data: await unpacked(weights) }]);
      })();
      opened.catch(() => this.more.delete(name));
      this.more.set(name, opened);
    }
    return this.more.get(name);
  }

  #feed(tensors, rows) {
    const { Tensor } = this.ort;
    const { width, height } = this.preprocessing;
    const count = tensors.length / (3 * width * height);
    const { logits } = this.manifest;
    const target = new Float32Array(count * rows.length * logits);
    for (let n = 0; n < count; n++) rows.forEach((row, t) => target.set(row, (n * rows.length + t) * logits));
    return {
      image: new Tensor("float32", tensors, [count, 3, height, width]),
      target: new Tensor("float32", target, [count, rows.length, logits]),
      contrast: new Tensor("float32", [1], []),
    };
  }

  #run(session, feed, outputs) {
    return this.turns.take(async () => {
      const found = await (outputs ? session.run(feed, outputs) : session.run(feed));
      // What lies in the runtime's memory is copied: the next pass may use it.
      return Object.fromEntries(Object.entries(found).map(([name, { dims, data }]) => [name, { dims, data: data.slice() }]));
    });
  }

  /** Logits of tensors that lie one behind another: an array of numbers for each. */
  async logits(tensors) {
    const { logits } = await this.#run(this.session, this.#feed(tensors, [new Float32Array(this.manifest.logits)]), ["logits"]);
    const size = this.manifest.logits;
    return Array.from({ length: logits.data.length / size }, (_, n) => [...logits.data.subarray(n * size, (n + 1) * size)]);
  }

  /** The row that asks about a class: 1 for it, of a single logit -1 for the first class. */
  row(place) {
    const row = new Float32Array(this.manifest.logits);
    if (row.length === 1) row[0] = place === 1 ? 1 : -1;
    else row[place] = 1;
    return row;
  }

  /**
   * One pass about classes by their places, or about the class predicted where `places` is null: {logits, places,
   * activations, dims, gradients}, the last a Float32Array for each place. A single logit's gradients are multiples of
   * one, so that the graph runs for one target.
   */
  async evidence(tensor, places = null) {
    const single = this.manifest.logits === 1;
    const rows = single ? [this.row(1)] : places === null ? [new Float32Array(this.manifest.logits)] : places.map((place) => this.row(place));
    const { logits, activations, gradients } = await this.#run(this.session, this.#feed(tensor, rows));
    const found = [...logits.data];
    const asked = places ?? [this.target(found)];
    const slopes = spread(gradients.data, rows.length, asked, single);
    return { logits: found, places: asked, activations: activations.data, dims: activations.dims, gradients: slopes };
  }

  /** Gradients of the scores of classes by the pixels of one tensor: {logits, gradients}, an array for each place. */
  async inputGradients(tensor, places) {
    const session = await this.#other("gradients");
    const single = this.manifest.logits === 1;
    const rows = single ? [this.row(1)] : places.map((place) => this.row(place));
    const { logits, gradients } = await this.#run(session, this.#feed(tensor, rows));
    return { logits: [...logits.data], gradients: spread(gradients.data, rows.length, places, single) };
  }

  /** Logits of activations of the explained layer, from there on: `dims` are (M, C, h, w). */
  async tail(activations, dims) {
    const session = await this.#other("tail");
    const { logits } = await this.#run(session, { activations: new this.ort.Tensor("float32", activations, dims) });
    const size = this.manifest.logits;
    return Array.from({ length: dims[0] }, (_, n) => [...logits.data.subarray(n * size, (n + 1) * size)]);
  }

  /** The class that is explained when none is named. */
  target(logits) {
    if (this.manifest.task === "regression") return 1;
    return predictedOf(logits, probabilitiesOf(logits, this.manifest), this.manifest);
  }
}

/** The gradients of each place out of those of a pass; with a single logit the first class's are minus the second's. */
function spread(gradients, rows, places, single) {
  const size = gradients.length / rows;
  return places.map((place, t) => {
    const own = single ? gradients : gradients.subarray(t * size, (t + 1) * size);
    return single && place === 0 ? own.map((value) => -value) : own;
  });
}

/** The mean of each channel over the cells, in float32. */
export function features(activations, [, channels, height, width]) {
  const cells = height * width;
  return Float32Array.from({ length: channels }, (_, c) => {
    let sum = 0;
    for (let i = c * cells; i < (c + 1) * cells; i++) sum += activations[i];
    return sum / cells;
  });
}
