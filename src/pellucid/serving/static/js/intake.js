// Input: drop, paste, choose, camera, URL, examples.

import { address } from "./api.js";
import { el, fill, find, note } from "./dom.js";
import { bytes, t } from "./i18n.js";

const isArchive = (file) => /zip/.test(file.type) || /\.zip$/i.test(file.name);
const named = (file, n) => file.name || `${t("intake.unnamed")} ${n}`;
let unnamed = 0;

/** Files from a drop, a paste or a choice: archives become batches, everything else an image each. Early ones wait. */
async function take(files, { session, batches, ready }) {
  const given = [...files];
  await ready;
  for (const archive of given.filter(isArchive)) batches.start(archive);
  const images = given.filter((file) => !isArchive(file));
  session.add(images.map((file) => ({ file, name: named(file, (unnamed += 1)) })));
}

function dropping(where) {
  const sign = find("#dropping");
  let depth = 0;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    sign.hidden = false;
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (!depth) sign.hidden = true;
  });
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    depth = 0;
    sign.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files, where);
  });
}

async function pasteFromClipboard(where) {
  try {
    const found = [];
    for (const entry of await navigator.clipboard.read()) {
      const type = entry.types.find((name) => name.startsWith("image/"));
      if (type) found.push(new File([await entry.getType(type)], "", { type }));
    }
    if (found.length) take(found, where);
    else note(t("intake.nothing-to-paste"));
  } catch {
    note(t("intake.paste-by-key"));
  }
}

function camera(where) {
  const dialog = find("#camera-dialog");
  const video = find("#video");
  let stream = null;
  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
  };
  find("#camera").addEventListener("click", async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    } catch {
      note(t("camera.none"));
      return;
    }
    video.srcObject = stream;
    dialog.showModal();
    await video.play();
  });
  find("#camera-cancel").addEventListener("click", () => dialog.close());
  find("#camera-take").addEventListener("click", () => {
    const canvas = el("canvas");
    Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => take([new File([blob], "", { type: "image/jpeg" })], where), "image/jpeg", 0.95);
    dialog.close();
  });
  dialog.addEventListener("close", stop);
}

/** Bring an example in as if it had been chosen. */
export async function takeExample(example, session) {
  const answer = await fetch(address(example.url));
  if (!answer.ok) {
    note(t("error.gone-example"));
    return;
  }
  session.add([{ file: new File([await answer.blob()], example.title), name: example.title }]);
}

/** Buttons with a picture each; a click asks about it. */
export function exampleButtons(session) {
  return session.card.examples.map((example) =>
    el(
      "button",
      { type: "button", class: "example", title: example.title, onclick: () => takeExample(example, session) },
      el("img", { src: address(example.url), alt: example.title, loading: "lazy" }),
    ),
  );
}

/** What the model at hand accepts: formats, sizes, addresses, examples. */
export function showIntake(session) {
  const { limits, examples } = session.card;
  const size = bytes(limits.max_upload_bytes);
  find("#formats").textContent = t("intake.formats", { formats: limits.formats.join(", "), size });
  find("#by-url").hidden = !limits.allow_url;
  find("#examples").hidden = !examples.length;
  fill(find("#example-list"), exampleButtons(session));
}

/** Open every way in. What comes before the promise `ready` is kept, which is the model's card. */
export function startIntake(where) {
  const input = find("#file");
  find("#choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take(input.files, where);
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files, where);
  });
  find("#paste").addEventListener("click", () => pasteFromClipboard(where));
  find("#by-url").addEventListener("submit", (event) => {
    event.preventDefault();
    const url = find("#url").value;
    where.session.add([{ url, name: decodeURIComponent(url.split(/[?#]/)[0].split("/").pop()) || url }]);
    find("#url").value = "";
  });
  dropping(where);
  camera(where);
}
