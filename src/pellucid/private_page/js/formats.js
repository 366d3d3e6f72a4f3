// What a file is, by its first bytes, as images/formats.py has it; and what this page cannot read.

const text = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
const starts = (bytes, ...values) => values.every((value, i) => bytes[i] === value);

const READ = [
  ["JPEG", (b) => starts(b, 0xff, 0xd8, 0xff)],
  ["PNG", (b) => starts(b, 0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)],
  ["WEBP", (b) => text(b, 0, 4) === "RIFF" && text(b, 8, 4) === "WEBP"],
  ["GIF", (b) => /^GIF8[79]a/.test(text(b, 0, 6))],
  ["BMP", (b) => text(b, 0, 2) === "BM" && [12, 16, 40, 52, 56, 64, 108, 124].includes(b[14]) && !b[15] && !b[16] && !b[17]],
];
const KNOWN = [
  ["dicom", (b) => text(b, 128, 4) === "DICM"],
  ["tiff", (b) => /^(II[*+]\0|MM\0[*+])/.test(text(b, 0, 4))],
  ["heic", (b) => text(b, 4, 4) === "ftyp"],
];

/** The name of a format that is read. Throws {code} for anything else. */
export function recognised(bytes) {
  if (!bytes.length) throw { code: "empty" };
  const unread = KNOWN.find(([, is]) => is(bytes));
  if (unread) throw { code: `unread-${unread[0]}` };
  const found = READ.find(([, is]) => is(bytes));
  if (!found) throw { code: "not-an-image" };
  return found[0];
}
