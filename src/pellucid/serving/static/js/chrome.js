// Shared by both pages: language, theme, API key, help.

import { listeners } from "./api.js";
import { el, fill, find } from "./dom.js";
import { language, languages, setLanguage, startLanguage, t } from "./i18n.js";
import { recall, remember } from "./memory.js";

const THEMES = ["system", "light", "dark"];

function startTheme() {
  const button = find("#theme");
  let theme = recall("theme") ?? "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const words = t(`theme.${theme}`);
    button.setAttribute("aria-label", words);
    button.title = words;
    button.dataset.theme = theme;
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("theme", theme === "system" ? null : theme);
    show();
  });
  document.addEventListener("languagechange", show);
  show();
}

function startLanguages() {
  const select = find("#language");
  fill(select, Object.entries(languages).map(([code, name]) => el("option", { value: code, lang: code }, name)));
  select.value = language();
  select.addEventListener("change", () => setLanguage(select.value));
}

/** Ask for the server's key once, however many requests wait for it; null when the user does not give one. */
function startKey() {
  const dialog = find("#key-dialog");
  let asking = null;
  listeners.key = () => {
    asking ??= new Promise((resolve) => {
      find("#key").value = "";
      dialog.showModal();
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "use" ? find("#key").value : null), { once: true });
    }).finally(() => (asking = null));
    return asking;
  };
}

/** Dialogs close by a click beside them. */
function startDialogs() {
  document.addEventListener("click", ({ target }) => target.matches("dialog") && target.id !== "key-dialog" && target.close());
}

export async function startChrome() {
  await startLanguage();
  startTheme();
  startLanguages();
  startKey();
  startDialogs();
}

/** The list of models, where there is more than one; `choose` gets the name of another one. */
export function startModels(models, current, choose) {
  const select = find("#model");
  // A bundle that was adapted from another has its title.
  const known = ({ title }) => models.filter((model) => model.title === title).length > 1;
  const words = (model) => (model.title && known(model) ? `${model.title} (${model.name})` : model.title || model.name);
  fill(select, models.map((model) => el("option", { value: model.name }, words(model))));
  select.value = current;
  select.hidden = models.length < 2;
  find("#model-title").hidden = models.length > 1;
  select.addEventListener("change", () => choose(select.value));
}
