// The two loops of resampling.js's passes as a WebAssembly module, written out by its instructions: four sums at a time.

/** A whole number as WebAssembly writes it: seven bits a byte, the lowest first. */
function whole(n, signed = false) {
  const byte = n & 127;
  const rest = signed ? n >> 7 : n >>> 7;
  const done = signed ? rest === (byte & 64 ? -1 : 0) : rest === 0;
  return done ? [byte] : [byte | 128, ...whole(rest, signed)];
}

const sized = (bytes) => [...whole(bytes.length), ...bytes];
const vector = (code, ...rest) => [0xfd, ...whole(code), ...rest];
const memory = (offset) => [0, ...whole(offset)];

const get = (local) => [0x20, ...whole(local)];
const set = (local, ...value) => [...value.flat(), 0x21, ...whole(local)];
const number = (n) => [0x41, ...whole(n, true)];
const sum = (...terms) => terms.slice(1).reduce((code, term) => [...code, ...term, 0x6a], terms[0]);
const move = (local, by) => set(local, sum(get(local), by));
/** Again from the start of `body` while `local`, unsigned, is below `end`. */
const again = (local, end, ...body) => [0x03, 0x40, ...body.flat(), ...get(local), ...end, 0x49, 0x0d, 0, 0x0b];
const loaded = (address) => [...address, 0x28, ...memory(0)];

const eightBytes = (at, offset) => [...get(at), ...vector(0x02, ...memory(offset))];
const sixteenBytes = (at) => [...get(at), ...vector(0x00, ...memory(0))];
const weight = (at, offset) => [...get(at), ...vector(0x09, ...memory(offset))];
const [LOW_BYTES, HIGH_BYTES, LOW_SHORTS, HIGH_SHORTS] = [0x89, 0x8a, 0xa9, 0xaa];
const widened = (half, value) => [...value, ...vector(half)];
/** `total` += four values times a weight. */
const added = (total, values, by) => set(total, get(total), values, by, vector(0xb5), vector(0xae));
const halves = (bits) => [...number(1 << (bits - 1)), ...vector(0x11)];
const shifted = (total, bits) => [...get(total), ...number(bits), ...vector(0xac)];
/** Bytes of sums in `bits` bits after the point, rounded and kept within 0 to 255. */
const asBytes = (low, high) => [...low, ...high, ...vector(0x66)];
const asShorts = (low, high, bits) => [...shifted(low, bits), ...shifted(high, bits), ...vector(0x85)];

/**
 * across(source, stride, rows, first, taps, size, out, target, line): rows of pixels of four bytes, `stride` bytes apart,
 * to rows of `out` pixels that are `line` bytes apart. For each of these `first` holds the place of its first source
 * pixel in bytes from the row's start, and `taps` holds `size` bytes of weights, a multiple of 16.
 */
function across(bits) {
  const [source, stride, rows, first, taps, size, out, target, line, y, i, from, tap, end, total, pixels] = Array(16).keys();
  const pair = (offset) => [
    ...set(pixels, eightBytes(from, offset)),
    ...added(total, widened(LOW_SHORTS, get(pixels)), weight(tap, offset)),
    ...added(total, widened(HIGH_SHORTS, get(pixels)), weight(tap, offset + 4)),
  ];
  const pixel = [
    ...set(total, halves(bits)),
    ...set(from, sum(get(source), loaded(sum(get(first), get(i))))),
    ...set(end, sum(get(tap), get(size))),
    ...again(tap, get(end), pair(0), pair(8), move(from, number(16)), move(tap, number(16))),
    ...sum(get(target), get(i)),
    ...asBytes(asShorts(total, total, bits), asShorts(total, total, bits)),
    ...vector(0x1b, 0), 0x36, ...memory(0),
    ...move(i, number(4)),
  ];
  const row = [
    ...set(i, number(0)),
    ...set(tap, get(taps)),
    ...again(i, sum(get(out), get(out), get(out), get(out)), pixel),
    ...move(source, get(stride)),
    ...move(target, get(line)),
    ...move(y, number(1)),
  ];
  return { given: 9, numbers: 5, vectors: 2, code: again(y, get(rows), row) };
}

/**
 * down(source, line, first, taps, size, out, target): rows of bytes, `line` bytes apart, a multiple of 16, to `out` rows.
 * For each of these `first` holds the place of its first source row in bytes, and `taps` holds `size` bytes of weights.
 */
function down(bits) {
  const [source, line, first, taps, size, out, target, i, x, from, tap, end, a, b, c, d, bytes, half, by] = Array(19).keys();
  const tapped = [
    ...set(bytes, sixteenBytes(from)),
    ...set(by, weight(tap, 0)),
    ...set(half, widened(LOW_BYTES, get(bytes))),
    ...added(a, widened(LOW_SHORTS, get(half)), get(by)),
    ...added(b, widened(HIGH_SHORTS, get(half)), get(by)),
    ...set(half, widened(HIGH_BYTES, get(bytes))),
    ...added(c, widened(LOW_SHORTS, get(half)), get(by)),
    ...added(d, widened(HIGH_SHORTS, get(half)), get(by)),
    ...move(from, get(line)),
    ...move(tap, number(4)),
  ];
  const sixteen = [
    ...[a, b, c, d].flatMap((total) => set(total, halves(bits))),
    ...set(from, sum(get(source), loaded(get(first)), get(x))),
    ...set(tap, get(taps)),
    ...set(end, sum(get(taps), get(size))),
    ...again(tap, get(end), tapped),
    ...sum(get(target), get(x)),
    ...asBytes(asShorts(a, b, bits), asShorts(c, d, bits)),
    ...vector(0x0b, ...memory(0)),
    ...move(x, number(16)),
  ];
  const row = [
    ...set(x, number(0)),
    ...again(x, get(line), sixteen),
    ...move(first, number(4)),
    ...move(taps, get(size)),
    ...move(target, get(line)),
    ...move(i, number(1)),
  ];
  return { given: 7, numbers: 5, vectors: 7, code: again(i, get(out), row) };
}

/** The bytes of the module: it exports `memory`, `across` and `down` for sums with `bits` bits after the point. */
export function kernels(bits) {
  const made = { across: across(bits), down: down(bits) };
  const functions = Object.values(made);
  const section = (id, parts) => [id, ...sized([...whole(parts.length), ...parts.flat()])];
  const named = (name, kind, index) => [...sized([...name].map((letter) => letter.charCodeAt(0))), kind, index];
  const types = functions.map(({ given }) => [0x60, ...sized(Array(given).fill(0x7f)), 0]);
  const bodies = functions.map(({ numbers, vectors, code }) => sized([2, ...whole(numbers), 0x7f, ...whole(vectors), 0x7b, ...code, 0x0b]));
  return new Uint8Array([
    ...[0, 97, 115, 109, 1, 0, 0, 0],
    ...section(1, types),
    ...section(3, functions.map((_, i) => [i])),
    ...section(5, [[0, 1]]),
    ...section(7, [named("memory", 2, 0), ...Object.keys(made).map((name, i) => named(name, 0, i))]),
    ...section(10, bodies),
  ]);
}
