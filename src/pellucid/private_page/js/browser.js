// What a browser must have for this page.

// A module of one function that uses a SIMD instruction.
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

/** The first thing that this browser lacks, by its name; null when it has all. */
export function lacking() {
  const needed = {
    "WebAssembly SIMD": () => globalThis.WebAssembly && WebAssembly.validate(SIMD),
    Worker: () => globalThis.Worker,
    DecompressionStream: () => globalThis.DecompressionStream,
    OffscreenCanvas: () => globalThis.OffscreenCanvas,
    createImageBitmap: () => globalThis.createImageBitmap,
  };
  return Object.keys(needed).find((name) => !needed[name]()) ?? null;
}
