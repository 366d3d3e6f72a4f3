// Export of pictures and numbers.

import { drawStrip, isDiverging } from "./colours.js";
import { el, save } from "./dom.js";
import { displayLimit } from "./heat.js";
import { number } from "./i18n.js";
import { adjusted, heatLayer } from "./stage.js";
import { subjectWords, unitWords } from "./words.js";

const stem = (item) => item.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "-").slice(0, 60) || "image";
const png = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

/** The picture as it is adjusted, with the heat map over it, at the picture's own size. */
export async function overlayCanvas(session, item) {
  const picture = await session.picture(item);
  const canvas = el("canvas");
  Object.assign(canvas, { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d");
  context.drawImage(adjusted(picture, session.settings), 0, 0, canvas.width, canvas.height);
  const explanation = session.explanation(item);
  context.imageSmoothingQuality = "high";
  if (explanation) context.drawImage(heatLayer(explanation, session.settings), 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** The heat map alone, with a colour bar and its unit beneath. */
export async function heatCanvas(session, item) {
  const { settings } = session;
  const picture = await session.picture(item);
  const explanation = session.explanation(item);
  const width = Math.max(480, picture.width);
  const height = Math.round((picture.height * width) / picture.width);
  const canvas = el("canvas");
  Object.assign(canvas, { width, height: height + 64 });
  const context = canvas.getContext("2d");
  context.fillStyle = "#101314";
  context.fillRect(0, 0, width, height + 64);
  context.imageSmoothingQuality = "high";
  context.drawImage(heatLayer(explanation, settings, true), 0, 0, width, height);
  const strip = el("canvas");
  drawStrip(strip, settings.map);
  context.drawImage(strip, 16, height + 12, 240, 12);
  const signed = isDiverging(settings.map);
  const limit = displayLimit(explanation, settings.scale, signed);
  context.fillStyle = "#e3e8e9";
  context.font = "12px sans-serif";
  context.fillText(number(signed ? -limit : 0), 16, height + 44);
  context.textAlign = "right";
  context.fillText(number(limit), 256, height + 44);
  context.textAlign = "left";
  context.fillText(`${explanation.method}, ${subjectWords(explanation)}: ${unitWords(explanation)}`, 272, height + 23, width - 288);
  return canvas;
}

export async function saveOverlay(session, item) {
  save(await png(await overlayCanvas(session, item)), `${stem(item)}-overlay.png`);
}

export async function saveHeat(session, item) {
  if (session.explanation(item)) save(await png(await heatCanvas(session, item)), `${stem(item)}-heat-map.png`);
}

/** The answer with every map fetched so far, as raw values. */
export function saveJson(session, item) {
  const explanations = [...item.maps.values()].map(({ grid, ...rest }) => ({
    ...rest,
    grid: { width: grid.width, height: grid.height, values: [...grid.values] },
  }));
  const document = { ...item.answer, seen: undefined, preview: undefined, image_name: item.name, explanations };
  save(new Blob([JSON.stringify(document, null, 1)], { type: "application/json" }), `${stem(item)}.json`);
}
