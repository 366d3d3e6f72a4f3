// What can go wrong with a request, and waiting.

/** The server refused: `status` and `code` are stable, `detail` is its sentence. */
export class Problem extends Error {
  constructor(status, document, retryAfter) {
    super(document.detail ?? document.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = document.code ?? "error";
    this.retryAfter = retryAfter;
  }
}

/** No answer came: the server is gone or the network is. */
export class Unreachable extends Error {}

/** Wait, but not beyond `signal`. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });
}
