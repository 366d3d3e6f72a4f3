// What a file is, by its first bytes, as images/formats.py has it; and what this page cannot read.

const text = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
const starts = (bytes, ...values) => values.every((value, i) => bytes[i] === value);

// As in Python: with its preamble; or, without, by the first element, of group 2 or 8, in each of the three encodings.
const DICOM = /^(.{128}DICM|\x02\0[\0\x01\x02\x10]\0[A-Z]{2}|\x08\0[\0-\x30]\0([A-Z]{2}|.[\0\x01]\0\0)|\0\x08\0[\0-\x30][A-Z]{2})/s;

const READ = [
  ["DICOM", (b) => DICOM.test(text(b, 0, 132))],
  ["JPEG", (b) => starts(b, 0xff, 0xd8, 0xff)],
  ["PNG", (b) => starts(b, 0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)],
  ["WEBP", (b) => text(b, 0, 4) === "RIFF" && text(b, 8, 4) === "WEBP"],
  ["GIF", (b) => /^GIF8[79]a/.test(text(b, 0, 6))],
  ["BMP", (b) => text(b, 0, 2) === "BM" && [12, 16, 40, 52, 56, 64, 108, 124].includes(b[14]) && !b[15] && !b[16] && !b[17]],
];
const KNOWN = [
  ["tiff", (b) => /^(II[*+]\0|MM\0[*+])/.test(text(b, 0, 4))],
  ["heic", (b) => text(b, 4, 4) === "ftyp"],
];

/** The name of a format that is read. Throws {code} for anything else. */
export function recognised(bytes) {
  if (!bytes.length) throw { code: "empty" };
  const found = READ.find(([, is]) => is(bytes));
  if (found) return found[0];
  const unread = KNOWN.find(([, is]) => is(bytes));
  throw { code: unread ? `unread-${unread[0]}` : "not-an-image" };
}
