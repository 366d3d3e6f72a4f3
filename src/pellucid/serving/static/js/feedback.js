// Correct or incorrect, with the right class and a comment.

import { ask } from "./api.js";
import { el, fill, icon, mark } from "./dom.js";
import { t } from "./i18n.js";
import { isWithheld, predictedOf, problemWords } from "./words.js";

const LONGEST = 500;

/** The part of the panel for one item; what was typed stays with the item. */
export function feedbackForm(session, item) {
  const place = el("form", { class: "feedback" });
  item.feedback ??= { correct: null, label: null, comment: "", sent: false, failed: null };
  const draw = () => fill(place, item.feedback.sent ? thanks(item, draw) : parts(session, item, draw));
  place.addEventListener("submit", (event) => {
    event.preventDefault();
    send(session, item).then(draw);
  });
  draw();
  return place;
}

function thanks(item, draw) {
  const change = () => {
    item.feedback.sent = false;
    draw();
  };
  return [
    el("p", { role: "status" }, mark("good", t(item.feedback.correct ? "feedback.noted-correct" : "feedback.noted-incorrect"))),
    el("button", { type: "button", class: "link", onclick: change }, t("feedback.change")),
  ];
}

function parts(session, item, draw) {
  const { feedback } = item;
  const choose = (correct) => () => {
    feedback.correct = correct;
    draw();
  };
  const choice = (correct, name, sign) =>
    el("button", { type: "button", "aria-pressed": String(feedback.correct === correct), onclick: choose(correct) }, icon(sign), t(`feedback.${name}`));
  const withheld = isWithheld(item.answer);
  const choices = withheld ? null : el("div", { class: "pair" }, choice(true, "correct", "yes"), choice(false, "incorrect", "close"));
  if (withheld) feedback.correct = false;
  if (feedback.correct === null) return [choices];
  const comment = el("textarea", { rows: 2, maxlength: LONGEST, oninput: () => (feedback.comment = comment.value) }, feedback.comment);
  return [
    choices,
    feedback.correct ? null : rightClass(session, item),
    el("label", {}, el("span", {}, t("feedback.comment")), comment),
    feedback.failed && el("p", { role: "alert" }, mark("problem", problemWords(feedback.failed, session.card))),
    el("button", { type: "submit", class: "main" }, t("feedback.send")),
  ];
}

function rightClass(session, item) {
  const others = session.card.classes.filter((name) => name !== item.answer.label);
  item.feedback.label ??= others.length === 1 ? others[0] : null;
  const unknown = el("option", { value: "" }, t("feedback.unknown"));
  const select = el("select", {}, unknown, others.map((name) => el("option", { value: name }, name)));
  select.value = item.feedback.label ?? "";
  select.addEventListener("change", () => (item.feedback.label = select.value || null));
  return el("label", {}, el("span", {}, t("feedback.right-class")), select);
}

async function send(session, item) {
  const { feedback, answer } = item;
  const { correct, comment } = feedback;
  const label = correct ? answer.label : feedback.label;
  const right = correct || (isWithheld(answer) && label === predictedOf(answer));
  try {
    await ask("v1/feedback", { method: "POST", json: { id: answer.id, correct: right, label, comment } });
    Object.assign(feedback, { sent: true, failed: null });
  } catch (error) {
    feedback.failed = error;
  }
}
