// The page: connects all modules.

import { askJson } from "./api.js";
import { Batches } from "./batch.js";
import { drawCard } from "./card.js";
import { startChrome, startModels } from "./chrome.js";
import { startControls } from "./controls.js";
import { fill, find, mark } from "./dom.js";
import { count, t } from "./i18n.js";
import { showIntake, startIntake } from "./intake.js";
import { startKeys } from "./keys.js";
import { Unreachable } from "./problems.js";
import { startQueue } from "./queue.js";
import { openReport } from "./report.js";
import { startResult } from "./result.js";
import { Session } from "./session.js";
import { settings } from "./settings.js";
import { Stage } from "./stage.js";
import { startViewing } from "./viewing.js";
import { problemWords } from "./words.js";

const RETRY = 3000;

/** What the page shows of the model at hand. */
function showCard(session) {
  const { card } = session;
  find("#model-title").textContent = card.title;
  find("#medical").hidden = !card.medical;
  // A page without a server has no dashboard.
  find("#to-dashboard").hidden = Boolean(card.alone);
  find("#to-dashboard").href = `dashboard?model=${encodeURIComponent(card.name)}`;
  showIntake(session);
  drawCard(session);
  session.tell("current");
}

async function useModel(session, name) {
  session.card = await askJson("v1/model", { query: { model: name } });
  const names = session.card.methods.map((method) => method.name);
  const method = names.includes(settings.method) ? settings.method : (names.find((known) => known === "grad-cam") ?? names[0] ?? null);
  settings.set({ method, scale: session.card.map_scale, otherMethod: null, target: null, against: null, layer: null });
  showCard(session);
}

/** The line at the top while the server does not answer, with the seconds to the next attempt. */
function startServerLine(session) {
  const line = find("#server");
  const button = document.createElement("button");
  const words = document.createElement("span");
  button.type = "button";
  button.addEventListener("click", () => session.gone?.now());
  const show = () => {
    line.hidden = !session.gone;
    if (!session.gone) return;
    const seconds = Math.max(0, Math.ceil((session.gone.until - Date.now()) / 1000));
    button.textContent = t("server.now");
    words.textContent = t("server.again", { seconds: count(seconds) });
    if (!line.contains(button)) fill(line, mark("problem", t("server.gone")), words, button);
  };
  session.addEventListener("server", show);
  setInterval(() => session.gone && show(), 500);
}

/** The first request may come before the server is there. */
async function firstAnswer() {
  for (;;) {
    try {
      return await askJson("v1/models");
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      find("#server").hidden = false;
      fill(find("#server"), mark("problem", t("server.gone")), t("server.again", { seconds: RETRY / 1000 }));
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
}

async function start() {
  const session = new Session(settings);
  let open;
  startIntake({ session, batches: new Batches(session), ready: new Promise((resolve) => (open = resolve)) });
  await startChrome();
  const stage = new Stage(find("#stage"), settings);
  const narrow = matchMedia("(max-width: 760px)");
  find("#adjust").open = !narrow.matches;
  startQueue(session);
  startControls(session, stage);
  startViewing(session, stage);
  startResult(session, { report: (item) => openReport(session, item) });
  startKeys(session, stage);
  startServerLine(session);
  find("#help-button").addEventListener("click", () => find("#help").showModal());
  try {
    const { models } = await firstAnswer();
    find("#server").hidden = true;
    const asked = new URLSearchParams(location.search).get("model");
    const chosen = models.find(({ name }) => name === asked) ?? models.find((model) => model.default) ?? models[0];
    await useModel(session, chosen.name);
    startModels(models, chosen.name, async (name) => {
      await useModel(session, name);
      session.restart();
    });
    open();
  } catch (error) {
    find("#server").hidden = false;
    fill(find("#server"), mark("problem", problemWords(error, null)));
    return;
  }
  let had = false;
  session.addEventListener("current", () => {
    const has = Boolean(session.current?.answer);
    if (has !== had) drawCard(session);
    had = has;
  });
  document.addEventListener("languagechange", () => showCard(session));
  document.body.dataset.ready = "yes";
}

start();
