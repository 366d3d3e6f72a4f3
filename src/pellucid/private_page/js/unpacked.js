// Bytes out of gzip or deflate, for the page and its worker.

/**
 * `kind` is gzip or deflate. Not by way of a Blob: WebKit reads none in a page from disk. What is wrong with the bytes is
 * said by the side that is read.
 */
export async function inflated(chunks, kind) {
  const stream = new DecompressionStream(kind);
  const writer = stream.writable.getWriter();
  for (const chunk of chunks) writer.write(chunk).catch(() => null);
  writer.close().catch(() => null);
  return new Uint8Array(await new Response(stream.readable).arrayBuffer());
}

/** Bytes out of gzip; a server may have taken it off already. */
export const unpacked = async (bytes) => (bytes[0] === 0x1f && bytes[1] === 0x8b ? inflated([bytes], "gzip") : bytes);
