// Weights back from small integers and steps: compact.py says how they are kept.

const MAGIC = "pellucid grid 1\n";

/** The bytes of a graph; others than compact.py's are given back as they are. */
export function expanded(bytes) {
  if (String.fromCharCode(...bytes.subarray(0, MAGIC.length)) !== MAGIC) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const head = MAGIC.length + 4;
  const length = view.getUint32(MAGIC.length, true);
  const { size, segments } = JSON.parse(new TextDecoder().decode(bytes.subarray(head, head + length)));
  const sum = (of) => segments.reduce((total, segment) => total + of(segment), 0);
  const count = sum(({ rows, columns }) => rows * columns);
  let step = head + length;
  let place = step + 8 * sum(({ rows }) => rows);
  let rest = place + 2 * count;
  const graph = new Uint8Array(size);
  const near = new Float32Array(1);
  const bits = new Int32Array(near.buffer);
  const out = new DataView(graph.buffer);
  let end = 0;
  for (const { at, rows, columns } of segments) {
    graph.set(bytes.subarray(rest, rest + at - end), end);
    rest += at - end;
    for (let row = 0, to = at; row < rows; row++, step += 8) {
      const scale = view.getFloat64(step, true);
      for (let i = 0; i < columns; i++, place++, to += 4) {
        near[0] = view.getInt8(place) * scale;
        out.setInt32(to, bits[0] + view.getInt8(place + count), true);
      }
    }
    end = at + 4 * rows * columns;
  }
  graph.set(bytes.subarray(rest), end);
  return graph;
}
