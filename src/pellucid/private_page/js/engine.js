// The worker that runs the model, and what is asked of it.

import { factsOf, part, prefetch, textOf } from "./parts.js";
import { Problem } from "./problems.js";

// The worker and its runtime are of one kind for the processor and another for graphics cards; the rest both share.
const OWN = ["worker", "runtime"];
const SHARED = ["model", "reference", "concepts"];

/** The worker that runs the model. One that dies is started again; what it was asked is refused. */
export class Engine extends EventTarget {
  /** `kind` begins the names of its own parts, and `provider` is what its runtime computes with. */
  constructor(kind = "", provider = "wasm") {
    super();
    this.kind = kind;
    this.provider = provider;
    this.waiting = new Map();
    this.asked = 0;
    this.failed = null;
    this.kept = new Map();
    this.worker = null;
  }

  /** A part that the worker needs, kept for a second start. */
  #part(name) {
    if (!this.kept.has(name)) this.kept.set(name, name === "worker" ? textOf(this.kind + name) : part(OWN.includes(name) ? this.kind + name : name));
    return this.kept.get(name);
  }

  async start() {
    this.worker ??= this.#begin().catch((error) => {
      this.failed = new Problem(0, { code: "no-engine", detail: error.message });
      this.dispatchEvent(new Event("failed"));
      throw this.failed;
    });
    return this.worker;
  }

  async #begin() {
    prefetch([...OWN.map((name) => this.kind + name), ...SHARED]);
    const url = URL.createObjectURL(new Blob([await this.#part("worker")], { type: "text/javascript" }));
    const worker = new Worker(url);
    URL.revokeObjectURL(url);
    const ready = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.ready ? resolve() : data.broken ? reject(new Error(data.broken)) : this.#take(data));
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message || "the worker did not start"));
        this.#die();
      };
    });
    // The worker unpacks the runtime while the model is read.
    worker.postMessage({ runtime: await this.#part("runtime") });
    const [facts, model, reference, concepts] = [await factsOf(), ...(await Promise.all(SHARED.map((name) => this.#part(name))))];
    worker.postMessage({ start: { facts, model, reference, concepts, provider: this.provider } });
    await ready;
    return worker;
  }

  #take({ id, answer, error, share, needs, dead }) {
    if (needs) {
      part(needs).then(async (bytes) => (await this.worker).postMessage({ give: needs, bytes }));
      return;
    }
    const asked = this.waiting.get(id);
    if (!asked) return;
    if (share !== undefined) return asked.progress?.(share);
    this.waiting.delete(id);
    if (error) asked.reject(error.code === "cancelled" ? new DOMException("cancelled", "AbortError") : new Problem(error.status ?? 422, error));
    else asked.resolve(answer);
    if (dead) this.#die();
  }

  /** After memory ran out nothing in a worker can be relied on. */
  #die() {
    this.worker?.then((worker) => worker.terminate(), () => null);
    this.worker = null;
    for (const { reject } of this.waiting.values()) reject(new Problem(422, { code: "memory" }));
    this.waiting.clear();
  }

  /** End the worker and give back what it holds. */
  stop() {
    this.#die();
    this.kept.clear();
  }

  /** Ask the worker; `signal` cancels, `progress` hears the share that is done of a slow method. */
  async ask(request, { signal, progress } = {}) {
    const worker = await this.start();
    if (signal?.aborted) throw new DOMException("cancelled", "AbortError");
    const id = (this.asked += 1);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, progress });
      signal?.addEventListener("abort", () => {
        worker.postMessage({ id, cancel: true });
        this.waiting.delete(id);
        reject(new DOMException("cancelled", "AbortError"));
      });
      worker.postMessage({ id, ...request });
    });
  }
}
