// From the bytes of a file to upright RGB rows, as pellucid decodes a picture whole: profiles are ignored, and what is
// transparent is laid on black.

import { readDicom, through } from "./dicom.js";
import { recognised } from "./formats.js";
import { ownPng, unpack } from "./png.js";
import { turned, webpOrientation } from "./upright.js";

// Of a canvas no more than this many pixels are read back at a time: no copy of a large picture is ever needed.
const BAND = 2 ** 20;

/**
 * Decode a picture. `read(top, rows)` gives rows as RGBA bytes, `close()` frees it, and `warnings` are sentences. Throws
 * {code, detail} for a file that is no picture, is damaged, or has more than `limits.pixels`.
 */
export async function decode(blob, limits) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const format = recognised(bytes);
  if (format === "DICOM") return { format, ...(await film(readDicom(bytes, limits))) };
  const own = format === "PNG" ? ownPng(bytes) : null;
  if (own) return { format, ...(await rowsOf(own, limits)) };
  const bitmap = await upright(blob, bytes);
  const { width, height } = bitmap;
  if (width * height > limits.pixels) {
    bitmap.close();
    throw { code: "too-large" };
  }
  return { format, width, height, warnings: [], read: reader(bitmap), close: () => bitmap.close() };
}

/** Rows of a DICOM film; the browser decodes its JPEG. */
async function film({ width, height, warnings, rows, jpeg, shown }) {
  if (rows) return { width, height, warnings, read: rows, close() {} };
  const bitmap = await upright(jpeg, new Uint8Array());
  const pixels = reader(bitmap);
  // Of grey each channel holds the value.
  const read = (top, count) => through(shown, pixels(top, count), 0, width * count, 4);
  return { width, height, warnings, read, close: () => bitmap.close() };
}

async function rowsOf(found, limits) {
  const { width, height } = found;
  if (width * height > limits.pixels) throw { code: "too-large" };
  const { rgba, warnings } = await unpack(found).catch(() => {
    throw { code: "damaged" };
  });
  return { width, height, warnings, read: (top, rows) => rgba.subarray(4 * width * top, 4 * width * (top + rows)), close() {} };
}

async function upright(blob, bytes) {
  let decoded;
  try {
    // Not multiplied by a decoder, whose rounding may be another than the canvas's, which is Pillow's.
    decoded = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw { code: "damaged" };
  }
  const orientation = webpOrientation(bytes);
  return orientation === 1 ? decoded : turned(decoded, orientation);
}

/** Rows by way of a canvas that is opaque, black, in main memory, and one band high. */
function reader(bitmap) {
  const { width, height } = bitmap;
  const band = Math.max(1, Math.min(height, Math.floor(BAND / width)));
  const context = new OffscreenCanvas(width, band).getContext("2d", { alpha: false, willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  const rows = (top, count) => {
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    return context.getImageData(0, 0, width, count).data;
  };
  return (top, count) => {
    if (count <= band) return rows(top, count);
    const all = new Uint8ClampedArray(4 * width * count);
    for (let y = 0; y < count; y += band) all.set(rows(top + y, Math.min(band, count - y)), 4 * width * y);
    return all;
  };
}
