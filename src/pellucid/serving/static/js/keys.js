// Keyboard shortcuts.

import { find } from "./dom.js";
import { recall, remember } from "./memory.js";
import { DEFAULTS } from "./settings.js";
import { predictedOf } from "./words.js";

const PAN = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const STEP = 60;

/** Whether a key belongs to what has the focus: a field that is typed in, a slider, a list. */
function isTaken({ target, key }) {
  if (target.matches("textarea, input:not([type=checkbox]):not([type=range]):not([type=radio])")) return true;
  return key.startsWith("Arrow") && target.matches("select, input");
}

function chooseClass(session, place) {
  const name = session.card.classes[place];
  if (!name) return;
  const { settings, current } = session;
  const again = settings.target === name;
  settings.set({ target: again || name === predictedOf(current?.answer) ? null : name });
}

function nextMethod({ card, settings }) {
  const names = card.methods.map(({ name }) => name);
  settings.set({ method: names[(names.indexOf(settings.method) + 1) % names.length] });
}

export function startKeys(session, stage) {
  const { settings } = session;
  let opacity = DEFAULTS.opacity;
  const actions = {
    m: () => nextMethod(session),
    o: () => {
      if (settings.opacity > 0) opacity = settings.opacity;
      settings.set({ opacity: settings.opacity > 0 ? 0 : opacity });
    },
    i: () => settings.set({ invert: !settings.invert }),
    0: () => stage.fit(),
    "+": () => stage.zoomBy(1.5),
    "=": () => stage.zoomBy(1.5),
    "-": () => stage.zoomBy(1 / 1.5),
    "?": () => find("#help").showModal(),
    ArrowDown: () => session.step(1),
    ArrowRight: () => session.step(1),
    ArrowUp: () => session.step(-1),
    ArrowLeft: () => session.step(-1),
  };
  const use = find("#keys-use");
  use.checked = recall("keys") !== "off";
  use.addEventListener("change", () => remember("keys", use.checked ? null : "off"));
  for (let i = 1; i <= 9; i++) actions[i] = () => chooseClass(session, i - 1);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]") || isTaken(event) || !session.card || !use.checked) return;
    const [dx, dy] = (event.shiftKey && PAN[event.key]) || [];
    const act = dx === undefined ? actions[event.key.length === 1 ? event.key.toLowerCase() : event.key] : () => stage.panBy(STEP * dx, STEP * dy);
    const leaves = event.key.startsWith("Arrow") && !session.current;
    if (!act || leaves) return;
    event.preventDefault();
    act();
  });
}
