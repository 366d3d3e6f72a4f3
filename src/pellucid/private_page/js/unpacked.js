// Bytes out of gzip or deflate, for the page and its worker.

// Pieces of this length let what is done with the bytes begin before all are there.
const PIECE = 2 ** 18;

/**
 * A stream of what lies in chunks of bytes; `kind` is gzip or deflate. Not by way of a Blob: WebKit reads none in a page from
 * disk. What is wrong with the bytes is said by the side that is read.
 */
function inflating(chunks, kind) {
  const stream = new DecompressionStream(kind);
  const writer = stream.writable.getWriter();
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += PIECE) writer.write(chunk.subarray(at, at + PIECE)).catch(() => null);
  }
  writer.close().catch(() => null);
  return stream.readable;
}

export const inflated = async (chunks, kind) => new Uint8Array(await new Response(inflating(chunks, kind)).arrayBuffer());

const isPacked = (bytes) => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** Bytes out of gzip; a server may have taken it off already. */
export const unpacked = async (bytes) => (isPacked(bytes) ? inflated([bytes], "gzip") : bytes);

/** A WebAssembly program out of gzip, compiled while it is unpacked. */
export function compiled(bytes) {
  const headers = { "Content-Type": "application/wasm" };
  return WebAssembly.compileStreaming(new Response(isPacked(bytes) ? inflating([bytes], "gzip") : bytes, { headers }));
}
