// A small picture as a PNG whose bytes are stored as they are: a browser's own encoder takes longer than a pass of a model.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let k = 0; k < 8; k++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const MOST = 65535;

function crc(bytes, start, end) {
  let value = 0xffffffff;
  for (let i = start; i < end; i++) value = CRC[(value ^ bytes[i]) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function adler(bytes) {
  let [a, b] = [1, 0];
  for (let i = 0; i < bytes.length; ) {
    // At most so long a run that its sums stay exact integers of 32 bits.
    for (const end = Math.min(bytes.length, i + 3800); i < end; i++) b += a += bytes[i];
    [a, b] = [a % 65521, b % 65521];
  }
  return b * 65536 + a;
}

/** Rows, each with a 0 before it that says "unfiltered". */
function lines(rgb, width, height) {
  const bytes = new Uint8Array((3 * width + 1) * height);
  for (let y = 0; y < height; y++) bytes.set(rgb.subarray(3 * width * y, 3 * width * (y + 1)), (3 * width + 1) * y + 1);
  return bytes;
}

/** zlib's frame around blocks of stored bytes. */
function stored(bytes) {
  const count = Math.max(1, Math.ceil(bytes.length / MOST));
  const found = new Uint8Array(bytes.length + 5 * count + 6);
  const view = new DataView(found.buffer);
  view.setUint16(0, 0x7801);
  for (let k = 0, at = 2; k < count; k++) {
    const block = bytes.subarray(MOST * k, MOST * (k + 1));
    found[at] = Number(k === count - 1);
    view.setUint16(at + 1, block.length, true);
    view.setUint16(at + 3, ~block.length & MOST, true);
    found.set(block, at + 5);
    at += 5 + block.length;
  }
  view.setUint32(found.length - 4, adler(bytes));
  return found;
}

/** RGB bytes, row by row, as the bytes of a PNG file. */
export function storedPng(rgb, width, height) {
  const header = new Uint8Array(13);
  const sizes = new DataView(header.buffer);
  sizes.setUint32(0, width);
  sizes.setUint32(4, height);
  header.set([8, 2], 8);
  const chunks = [["IHDR", header], ["IDAT", stored(lines(rgb, width, height))], ["IEND", new Uint8Array()]];
  const file = new Uint8Array(8 + chunks.reduce((sum, [, body]) => sum + 12 + body.length, 0));
  const view = new DataView(file.buffer);
  file.set([137, 80, 78, 71, 13, 10, 26, 10]);
  let at = 8;
  for (const [kind, body] of chunks) {
    view.setUint32(at, body.length);
    for (let i = 0; i < 4; i++) file[at + 4 + i] = kind.charCodeAt(i);
    file.set(body, at + 8);
    view.setUint32(at + 8 + body.length, crc(file, at + 4, at + 8 + body.length));
    at += 12 + body.length;
  }
  return file;
}
