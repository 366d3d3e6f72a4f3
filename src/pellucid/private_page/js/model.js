// The model: its graphs in the runtime, one pass at a time, and what a pass is asked for.

import { expanded } from "./compact.js";
import { unpacked } from "./unpacked.js";
import { givesScore, predictedOf, probabilitiesOf, question } from "./probabilities.js";

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

/**
 * Let the runtime have its program as it was compiled while the page was read, where it would compile the bytes that it
 * asks WebAssembly to instantiate.
 */
function handOver(program, ort) {
  const { instantiate } = WebAssembly;
  ort.env.wasm.wasmBinary = new ArrayBuffer(8);
  WebAssembly.instantiate = async (bytes, imports) => {
    WebAssembly.instantiate = instantiate;
    return { module: program, instance: await instantiate(program, imports) };
  };
}

/**
 * `program` is the compiled runtime, `provider` what it computes with, and `fetchPart(name)` gives the bytes of a part that
 * is not always there.
 */
export class Model {
  static async open(ort, { facts, model, program, fetchPart, provider = "wasm" }) {
    const graph = expanded(await unpacked(model));
    ort.env.wasm.numThreads = 1;
    // Nothing is said of operations that a card leaves to the processor.
    ort.env.logLevel = "error";
    handOver(await program, ort);
    const made = Object.assign(new Model(), { ort, facts, manifest: facts.manifest, packed: model, fetchPart, provider, turns: new Turns(), more: new Map() });
    made.session = await made.#graph(graph);
    return made;
  }

  #graph(bytes, externalData) {
    // A card's build takes some operations that it cannot run, and with channels last it gave other activations.
    const card = { name: this.provider, preferredLayout: "NCHW", forceCpuNodeNames: this.facts.processor_nodes };
    const provider = this.provider === "wasm" ? "wasm" : card;
    return this.ort.InferenceSession.create(bytes, { executionProviders: [provider], ...(externalData && { externalData }) });
  }

  get preprocessing() {
    return this.manifest.preprocessing;
  }

  /** Another graph of the bundle, opened on first use. Most read their weights out of the first one. */
  #other(name) {
    if (!this.more.has(name)) {
      const opened = (async () => {
        const { shared } = this.facts;
        const [graph, weights] = await Promise.all([this.fetchPart(name), shared ? this.packed : this.fetchPart("weights")]);
        const data = await unpacked(weights);
        return this.#graph(await unpacked(graph), [{ path: "weights.safetensors", data: shared ? expanded(data) : data }]);
      })();
      opened.catch(() => this.more.delete(name));
      this.more.set(name, opened);
    }
    return this.more.get(name);
  }

  #feed(tensors, rows, contrast = 1) {
    const { Tensor } = this.ort;
    const { width, height } = this.preprocessing;
    const count = tensors.length / (3 * width * height);
    const { logits } = this.manifest;
    const target = new Float32Array(count * rows.length * logits);
    for (let n = 0; n < count; n++) rows.forEach((row, t) => target.set(row, (n * rows.length + t) * logits));
    return {
      image: new Tensor("float32", tensors, [count, 3, height, width]),
      target: new Tensor("float32", target, [count, rows.length, logits]),
      contrast: new Tensor("float32", [contrast], []),
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

  /** The row of a question: 1 for the class, -1 for the one against; of a single logit -1 for the first class. */
  row({ place, against }) {
    const row = new Float32Array(this.manifest.logits);
    if (row.length === 1) row[0] = place === 1 ? 1 : -1;
    else row[place] = 1;
    if (against !== null) row[against] = -1;
    return row;
  }

  /** What a graph is fed to answer questions about one tensor; null: about the class predicted. */
  #asking(tensor, questions) {
    // A single logit's gradients are multiples of one, so that the graph runs for one question.
    if (this.manifest.logits === 1) return this.#feed(tensor, [this.row(question(1))]);
    if (questions === null) return this.#feed(tensor, [new Float32Array(this.manifest.logits)]);
    return this.#feed(tensor, questions.map((one) => this.row(one)), Number(questions[0].against === null));
  }

  /** The gradients of each question out of those of a pass; with a single logit the first class's are minus the second's. */
  #spread(gradients, questions) {
    const single = this.manifest.logits === 1;
    const size = single ? gradients.length : gradients.length / questions.length;
    return questions.map(({ place }, t) => {
      const own = single ? gradients : gradients.subarray(t * size, (t + 1) * size);
      return single && place === 0 ? own.map((value) => -value) : own;
    });
  }

  /**
   * One pass with questions, or about the class predicted where they are null: {logits, questions, activations, dims,
   * gradients}, the last a Float32Array for each question. `part` is the graph of another layer than the usual one.
   */
  async evidence(tensor, questions = null, part = null) {
    const session = part === null ? this.session : await this.#other(part);
    const { logits, activations, gradients } = await this.#run(session, this.#asking(tensor, questions));
    const found = [...logits.data];
    const asked = questions ?? [this.usual(found)];
    return { logits: found, questions: asked, activations: activations.data, dims: activations.dims, gradients: this.#spread(gradients.data, asked) };
  }

  /** As `evidence`, of several layers from one pass: `layers` is an array of {activations, dims, gradients}. */
  async layered(tensor, questions = null) {
    const found = await this.#run(await this.#other("layered"), this.#asking(tensor, questions));
    const logits = [...found.logits.data];
    const asked = questions ?? [this.usual(logits)];
    const layers = this.manifest.layered.map((_, i) => {
      const { data, dims } = found[`activations_${i + 1}`];
      return { activations: data, dims, gradients: this.#spread(found[`gradients_${i + 1}`].data, asked) };
    });
    return { logits, questions: asked, layers };
  }

  /** Gradients of the scores of questions by the pixels of one tensor: {logits, gradients}, an array for each. */
  async inputGradients(tensor, questions) {
    const session = await this.#other("gradients");
    const { logits, gradients } = await this.#run(session, this.#asking(tensor, questions));
    return { logits: [...logits.data], gradients: this.#spread(gradients.data, questions) };
  }

  /** Logits of activations of a layer, from there on: `dims` are (M, C, h, w). */
  async tail(activations, dims, layer) {
    const session = await this.#other(layer.tail);
    const { logits } = await this.#run(session, { activations: new this.ort.Tensor("float32", activations, dims) });
    const size = this.manifest.logits;
    return Array.from({ length: dims[0] }, (_, n) => [...logits.data.subarray(n * size, (n + 1) * size)]);
  }

  /** The question when none is named: about the class predicted. */
  usual(logits) {
    return question(givesScore(this.manifest) ? 1 : predictedOf(logits, probabilitiesOf(logits, this.manifest), this.manifest));
  }
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
