// An archive of images: the server classifies it, and the page shows progress and saves the results.

import { ask, askJson } from "./api.js";
import { el, find, icon, mark, save } from "./dom.js";
import { count, t, tn } from "./i18n.js";
import { pause } from "./problems.js";
import { problemWords } from "./words.js";

const EVERY = 700;
const KINDS = ["csv", "json", "zip"];

export class Batches {
  constructor(session) {
    this.session = session;
  }

  async start(file) {
    const row = el("li", { class: "queue-row batch" });
    const words = el("span", { class: "queue-words" }, el("span", { class: "queue-name" }, file.name));
    const state = el("span", { class: "soft", role: "status" }, t("batch.sending"));
    const bar = el("progress", { "aria-label": file.name });
    words.append(state, bar);
    const controller = new AbortController();
    const stop = el("button", { type: "button", class: "quiet square", "aria-label": t("batch.cancel", { name: file.name }) }, icon("close"));
    stop.addEventListener("click", () => {
      controller.abort();
      row.remove();
      find("#batches").hidden = !find("#batches").children.length;
    });
    row.append(el("span", { class: "mini archive", "aria-hidden": "true" }, "ZIP"), words, stop);
    find("#batches").hidden = false;
    find("#batches").append(row);
    try {
      await this.#follow(await this.#send(file, controller.signal), { state, bar, words, controller });
    } catch (error) {
      if (error.name === "AbortError") return;
      bar.remove();
      state.replaceChildren(mark("problem", problemWords(error, this.session.card)));
    }
  }

  async #send(file, signal) {
    const body = new FormData();
    body.append("files", file, "images.zip");
    const query = { model: this.session.card.name, method: this.session.settings.method };
    return askJson("v1/batch", { method: "POST", body, query, signal });
  }

  async #follow({ job }, { state, bar, words, controller }) {
    const path = `v1/batch/${encodeURIComponent(job)}`;
    controller.signal.addEventListener("abort", () => ask(path, { method: "DELETE" }).catch(() => null));
    for (;;) {
      const now = await askJson(path, { signal: controller.signal });
      bar.max = Math.max(1, now.total);
      bar.value = now.done;
      state.textContent = t("batch.progress", { done: count(now.done), total: count(now.total) });
      if (now.state === "done") return this.#finish(now, path, { state, bar, words });
      if (now.state === "failed" || now.state === "cancelled") throw new Error(t(`batch.${now.state}`));
      await pause(EVERY, controller.signal);
    }
  }

  #finish(now, path, { state, bar, words }) {
    bar.remove();
    const skipped = now.skipped.length;
    state.replaceChildren(mark("good", tn("batch.done", now.total - skipped)));
    if (skipped) state.append(el("br"), mark("caution", tn("batch.skipped", skipped)));
    const fetchAs = (kind) => async () => {
      const answer = await ask(`${path}/results`, { query: { format: kind } });
      save(await answer.blob(), `pellucid-batch.${kind}`);
    };
    const buttons = KINDS.map((kind) => el("button", { type: "button", class: "link", onclick: fetchAs(kind) }, kind.toUpperCase()));
    words.append(el("span", { class: "batch-saves" }, buttons));
  }
}
