// One picture from a DICOM film, as images/dicom.py has it: grey of 8 or 16 bits, uncompressed or as a JPEG of 8 bits, and
// uncompressed RGB. Everything else is refused. Names, dates and comments are stepped over.

import { readElements, textOf } from "./dicom-elements.js";
import { flattened, greyTable, SEQUENCES, shorts } from "./dicom-grey.js";

const TAGS = {
  samples: 0x00280002, photometric: 0x00280004, planar: 0x00280006, frames: 0x00280008, rows: 0x00280010, columns: 0x00280011,
  allocated: 0x00280100, stored: 0x00280101, high: 0x00280102, signed: 0x00280103, pixels: 0x7fe00010,
};
const UNCOMPRESSED = ["", ".1", ".2"].map((end) => `1.2.840.10008.1.2${end}`);
const JPEG = ["50", "51"].map((end) => `1.2.840.10008.1.2.4.${end}`);
const DARK = 4096;
const NEARLY = (what) => `The picture has 16 bits a pixel but uses 12 or fewer, which makes it nearly ${what}.`;

const refusal = (code) => ({ code });

/** Everything that states what the pixels are. */
function statedBy(elements) {
  const number = (name, usual) => (elements.get(TAGS[name])?.bytes?.length >= 2 ? shorts(elements.get(TAGS[name]))[0] : usual);
  const found = Object.fromEntries(["rows", "columns", "allocated", "stored", "planar"].map((name) => [name, number(name, 0)]));
  return {
    ...found,
    samples: number("samples", 1),
    high: number("high", found.stored - 1),
    signed: number("signed", 0) === 1,
    frames: Number(textOf(elements.get(TAGS.frames)) || 1) || 1,
    photometric: textOf(elements.get(TAGS.photometric)),
  };
}

function checkKind({ photometric, allocated, stored, high, samples, rows, columns }, compressed, limits) {
  if (!rows || !columns || !stored || stored > allocated || high < stored - 1 || high >= allocated) throw refusal("damaged");
  if (rows * columns > limits.pixels) throw refusal("too-large");
  const grey = ["MONOCHROME1", "MONOCHROME2"].includes(photometric) && samples === 1 && [8, 16].includes(allocated);
  const colour = photometric === "RGB" && samples === 3 && allocated === 8 && stored === 8 && !compressed;
  if (!grey && !colour) throw refusal("dicom-kind");
}

/** The pieces of a JPEG as one, whose header states grey of 8 bits in the size that the file states. */
function jpegOf(fragments, { rows, columns }) {
  const whole = new Uint8Array(fragments.reduce((sum, piece) => sum + piece.length, 0));
  fragments.reduce((at, piece) => (whole.set(piece, at), at + piece.length), 0);
  const view = new DataView(whole.buffer);
  for (let at = 2; at + 10 <= whole.length && whole[at] === 0xff; at += 2 + view.getUint16(at + 2)) {
    if (![0xc0, 0xc1, 0xc2].includes(whole[at + 1])) continue;
    if (whole[at + 4] !== 8 || whole[at + 9] !== 1) throw refusal("dicom-compressed");
    if (view.getUint16(at + 5) !== rows || view.getUint16(at + 7) !== columns) throw refusal("damaged");
    return new Blob([whole], { type: "image/jpeg" });
  }
  throw refusal("damaged");
}

/** Bytes or words as they are stored, (rows, columns), in this machine's order. */
function wordsOf({ bytes, vr, coding }, { rows, columns, samples, allocated }) {
  const count = rows * columns * samples;
  const length = (count * allocated) / 8;
  if (bytes.length < length) throw refusal("damaged");
  // Words of two bytes hold bytes in the order of words.
  const swapped = !coding.little && (allocated === 16 || vr === "OW");
  const own = bytes.slice(0, swapped && length % 2 && bytes.length > length ? length + 1 : length);
  if (swapped) for (let i = 0; i + 1 < own.length; i += 2) [own[i], own[i + 1]] = [own[i + 1], own[i]];
  return allocated === 16 ? new Uint16Array(own.buffer) : own.subarray(0, length);
}

/** For every word that can be stored the grey that is shown, as an opaque RGBA pixel. */
function shownWords({ stored, high, signed, allocated }, { first, bytes }) {
  const [up, down] = [31 - high, 32 - stored];
  const valueOf = signed ? (word) => (word << up) >> down : (word) => (word << up) >>> down;
  return Uint32Array.from({ length: 2 ** allocated }, (_, word) => 0xff000000 + 0x10101 * bytes[valueOf(word) - first]);
}

/** What is said of words of 16 bits that use 12 or fewer. */
function darkness(words, { stored, photometric, signed }) {
  if (stored !== 16) return [];
  let [low, high] = [65535, 0];
  for (const word of words) {
    const value = signed ? (word + 32768) & 65535 : word;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (high - low >= DARK) return [];
  return [NEARLY(!signed && photometric === "MONOCHROME2" && high < DARK ? "black" : "one grey")];
}

/** `count` words, `step` apart from the word `at` on, as RGBA bytes, each by its shown pixel. */
export function through(shown, words, at, count, step = 1) {
  const pixels = new Uint32Array(count);
  for (let i = 0; i < count; i++, at += step) pixels[i] = shown[words[at]];
  return new Uint8ClampedArray(pixels.buffer);
}

function colourRows(bytes, { rows, columns, planar }) {
  const [step, apart] = planar ? [1, rows * columns] : [3, 1];
  return (top, count) => {
    const rgba = new Uint8ClampedArray(4 * columns * count).fill(255);
    for (let i = 0, at = step * columns * top; i < columns * count; i++, at += step) {
      for (let c = 0; c < 3; c++) rgba[4 * i + c] = bytes[at + c * apart];
    }
    return rgba;
  };
}

function found(bytes, limits) {
  const read = readElements(bytes, SEQUENCES);
  const elements = flattened(read.elements);
  const pixels = elements.get(TAGS.pixels);
  const stated = statedBy(elements);
  if (stated.frames !== 1) throw refusal("dicom-frames");
  if (!UNCOMPRESSED.includes(read.syntax) && !JPEG.includes(read.syntax)) throw refusal("dicom-compressed");
  if (!pixels || !(pixels.fragments ?? pixels.bytes).length) throw refusal("dicom-no-picture");
  const compressed = JPEG.includes(read.syntax);
  if (compressed !== Boolean(pixels.fragments)) throw refusal("damaged");
  checkKind(stated, compressed, limits);
  const { columns: width, rows: height } = stated;
  if (stated.samples === 3) return { width, height, warnings: [], rows: colourRows(wordsOf(pixels, stated), stated) };
  const table = greyTable(elements, stated.stored, stated.signed);
  if (compressed) return { width, height, warnings: table.warnings, jpeg: jpegOf(pixels.fragments, stated), shown: shownWords({ ...stated, high: stated.stored - 1 }, table) };
  const words = wordsOf(pixels, stated);
  const shown = shownWords(stated, table);
  const dark = table.warnings.length ? darkness(words, stated) : [];
  return { width, height, warnings: [...dark, ...table.warnings], rows: (top, count) => through(shown, words, width * top, width * count) };
}

/**
 * {width, height, warnings, rows}, where `rows(top, count)` gives RGBA bytes; of a compressed film {jpeg, shown} instead of
 * `rows`: a Blob for the browser to decode, and the RGBA pixel of each of its values. Throws {code} for what is not read.
 */
export function readDicom(bytes, limits) {
  try {
    return found(bytes, limits);
  } catch (error) {
    // Beyond the end of the file, or deeper than a file can be.
    throw error instanceof RangeError || error instanceof TypeError ? refusal("damaged") : error;
  }
}
