// NumPy's default random numbers: PCG64 seeded by SeedSequence, so that RISE here draws the masks that Python draws.

const MASK = (1n << 128n) - 1n;
const LOW = (1n << 64n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/** NumPy's SeedSequence of one small number: words of 32 bits. */
function seedWords(seed, count) {
  let constant = 0x43b0d7e5;
  const hashed = (given) => {
    let value = (given ^ constant) >>> 0;
    constant = Math.imul(constant, 0x931e8875) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const mix = (x, y) => {
    const value = (Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const pool = [seed, 0, 0, 0].map(hashed);
  for (let from = 0; from < 4; from++) for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hashed(pool[from]));
  let other = 0x8b51f9dd;
  return Array.from({ length: count }, (_, i) => {
    let value = (pool[i % 4] ^ other) >>> 0;
    other = Math.imul(other, 0x58f38ded) >>> 0;
    value = Math.imul(value, other) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  });
}

export class Random {
  constructor(seed = 0) {
    const words = seedWords(seed, 8).map(BigInt);
    const long = (i) => words[2 * i] | (words[2 * i + 1] << 32n);
    this.increment = (((long(2) << 64n) | long(3)) << 1n) | 1n;
    this.increment &= MASK;
    this.state = 0n;
    this.#step();
    this.state = (this.state + ((long(0) << 64n) | long(1))) & MASK;
    this.#step();
    this.kept = null;
  }

  #step() {
    this.state = (this.state * MULTIPLIER + this.increment) & MASK;
  }

  #next() {
    this.#step();
    const value = (this.state >> 64n) ^ (this.state & LOW);
    const turn = this.state >> 122n;
    return ((value >> turn) | (value << ((64n - turn) & 63n))) & LOW;
  }

  /** A number from 0 to 1, as `random()` gives it in double precision. */
  double() {
    return Number(this.#next() >> 11n) / 2 ** 53;
  }

  /** As `random(dtype=float32)` gives it: two numbers from each draw, the lower half first. */
  single() {
    let half = this.kept;
    if (half === null) {
      const value = this.#next();
      half = Number(value & 0xffffffffn);
      this.kept = Number(value >> 32n);
    } else this.kept = null;
    return (half >>> 8) / 2 ** 24;
  }
}
