// From the bytes of a file to upright RGB rows, as pellucid decodes a picture whole: profiles are ignored, and what is
// transparent is laid on black.

import { readDicom, through } from "./dicom.js";
import { recognised } from "./formats.js";
import { ownPng, unpack } from "./png.js";
import { isPlainJpeg, turned, webpOrientation } from "./upright.js";

// Of a canvas no more than this many pixels are read back at a time: no copy of a large picture is ever needed.
const BAND = 2 ** 20;

/**
 * Decode a picture. `read(top, rows)` gives rows as RGBA bytes, or a promise; where `blueFirst`, as BGRA. `close()`
 * frees it, and `warnings` are sentences. Throws {code, detail} for a file that is no picture, is damaged, or has more than
 * `limits.pixels`.
 */
export async function decode(blob, limits) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const format = recognised(bytes);
  if (format === "DICOM") return { format, ...(await film(readDicom(bytes, limits))) };
  const own = format === "PNG" ? ownPng(bytes) : null;
  if (own) return { format, ...(await rowsOf(own, limits)) };
  const bitmap = await upright(blob, bytes, options(format, bytes));
  const { width, height } = bitmap;
  if (width * height > limits.pixels) {
    bitmap.close();
    throw { code: "too-large" };
  }
  return { format, width, height, warnings: [], ...(await reader(bitmap)) };
}

/** Rows of a DICOM film; the browser decodes its JPEG. */
async function film({ width, height, warnings, rows, jpeg, shown }) {
  if (rows) return { width, height, warnings, read: rows, close() {} };
  const bitmap = await upright(jpeg, new Uint8Array(), OPAQUE);
  const pixels = await reader(bitmap);
  // Of grey each channel holds the value.
  const read = async (top, count) => through(shown, await pixels.read(top, count), 0, width * count, 4);
  return { width, height, warnings, read, close: pixels.close };
}

async function rowsOf(found, limits) {
  const { width, height } = found;
  if (width * height > limits.pixels) throw { code: "too-large" };
  const { rgba, warnings } = await unpack(found).catch(() => {
    throw { code: "damaged" };
  });
  return { width, height, warnings, read: (top, rows) => rgba.subarray(4 * width * top, 4 * width * (top + rows)), close() {} };
}

// Profiles are ignored. Not multiplied by a decoder, whose rounding may be another than the canvas's, which is Pillow's.
const AS_STORED = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
const OPAQUE = { colorSpaceConversion: "none" };

/** How a file is to be decoded. Each option costs a copy of the picture, so that none is set which changes nothing. */
const options = (format, bytes) => (format !== "JPEG" ? AS_STORED : isPlainJpeg(bytes) ? {} : OPAQUE);

async function upright(blob, bytes, how) {
  let decoded;
  try {
    decoded = await createImageBitmap(blob, how);
  } catch {
    throw { code: "damaged" };
  }
  const orientation = webpOrientation(bytes);
  return orientation === 1 ? decoded : turned(decoded, orientation);
}

/**
 * Rows of a bitmap. Where it is opaque, as a JPEG is, and the browser gives its bytes as they are, they are copied, which
 * takes a twentieth of the time that a canvas takes; else by way of a canvas.
 */
async function reader(bitmap) {
  const frame = await opaqueFrame(bitmap);
  if (!frame) return { read: byCanvas(bitmap), blueFirst: false, close: () => bitmap.close() };
  const { width } = bitmap;
  // One place for all bands: a new one would have to be cleared each time, which takes longer than the copy.
  let place = new Uint8ClampedArray();
  const read = async (top, count) => {
    const length = 4 * width * count;
    if (place.length < length) place = new Uint8ClampedArray(length);
    const pixels = place.subarray(0, length);
    await frame.copyTo(pixels, { rect: { x: 0, y: top, width, height: count } });
    return pixels;
  };
  const close = () => {
    frame.close();
    bitmap.close();
  };
  return { read, blueFirst: frame.format === "BGRX", close };
}

/** A bitmap without opacity as a frame of four bytes a pixel; null where the browser cannot copy from one. */
async function opaqueFrame(bitmap) {
  let frame = null;
  try {
    frame = new VideoFrame(bitmap, { timestamp: 0 });
    if (!["BGRX", "RGBX"].includes(frame.format)) throw new Error(frame.format);
    const [layout] = await frame.copyTo(new Uint8Array(4 * bitmap.width), { rect: { x: 0, y: 0, width: bitmap.width, height: 1 } });
    if (layout.stride !== 4 * bitmap.width) throw new Error("stride");
    return frame;
  } catch {
    frame?.close();
    return null;
  }
}

/** Rows by way of a canvas that is opaque, black, in main memory, and one band high. */
function byCanvas(bitmap) {
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
