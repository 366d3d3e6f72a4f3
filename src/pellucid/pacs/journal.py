"""What the node tells: one JSON line for each event, counters, and how it is. Nothing of it identifies a patient.

Films are named by `ref`, a keyed hash of their UID whose key never leaves the ledger: the same film has the same ref in
all lines of one node, and no one can tell from a ref which film it is.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TextIO

from ..errors import ResourceError
from .config import Health
from .trouble import cannot_listen

COUNTERS = {
    "films_received": "Films taken in",
    "films_dropped": "Objects of kinds that are not answered, taken and dropped",
    "films_refused": "Films under an invalid UID, refused",
    "films_duplicate": "Films received again",
    "films_answered": "Films answered",
    "films_left_out": "Films left out by the rules",
    "films_dead": "Films that became dead letters",
    "results_made": "Results made",
    "results_stored": "Results stored in the archive",
    "results_retried": "Attempts to store that failed",
    "results_dead": "Results that became dead letters",
    "archive_unreachable": "Attempts to reach the archive that failed",
}


class Journal:
    """Writes events, counts, and knows whether the node is ready."""

    def __init__(self, key: str, stream: TextIO | None = None) -> None:
        self._key = key.encode()
        self._stream = stream
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.problems: dict[str, str] = {}

    def ref(self, uid: str) -> str:
        """The name of a film or a result in the log."""
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()[:12]

    def say(self, event: str, **fields: object) -> None:
        """Write one line: the time (UTC), the event and its fields."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **fields})
        with self._lock:
            stream = self._stream or sys.stderr
            stream.write(line + "\n")
            stream.flush()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter of COUNTERS."""
        with self._lock:
            self.counts[name] += by

    def spent(self, step: str, seconds: float) -> None:
        """Add to the seconds of a step."""
        with self._lock:
            self.seconds[step] += seconds  # type: ignore[assignment]

    def problem(self, name: str, code: str) -> None:
        """Something keeps the node from being ready (`code`), or does no longer ("")."""
        with self._lock:
            before = self.problems.get(name, "")
            self.problems[name] = code
        if before != code:
            self.say("problem" if code else "problem-over", what=name, code=code or before)

    def metrics(self, gauges: dict[str, float]) -> str:
        """Everything in Prometheus' text format."""
        lines = []
        for name, text in COUNTERS.items():
            lines += [f"# HELP pellucid_pacs_{name}_total {text}.", f"# TYPE pellucid_pacs_{name}_total counter"]
            lines.append(f"pellucid_pacs_{name}_total {self.counts[name]}")
        lines.append("# TYPE pellucid_pacs_step_seconds_total counter")
        lines += [f'pellucid_pacs_step_seconds_total{{step="{k}"}} {v:.6f}' for k, v in sorted(self.seconds.items())]
        for name, value in gauges.items():
            lines += [f"# TYPE pellucid_pacs_{name} gauge", f"pellucid_pacs_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def serve_health(
    config: Health, journal: Journal, alive: Callable[[], bool], gauges: Callable[[], dict[str, float]]
) -> ThreadingHTTPServer:
    """Answer `/livez`, `/readyz` and `/metrics` in a thread. Raises ResourceError for a port in use."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/livez":
                self._reply(200 if alive() else 503, "alive\n" if alive() else "not alive\n")
            elif self.path == "/readyz":
                wrong = [f"{name}: {code}" for name, code in sorted(journal.problems.items()) if code]
                self._reply(503 if wrong else 200, "\n".join(wrong or ["ready"]) + "\n")
            elif self.path == "/metrics":
                self._reply(200, journal.metrics(gauges()))
            else:
                self._reply(404, "There are /livez, /readyz and /metrics.\n")

        def _reply(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: probes come every second."""

    Handler.timeout = 10
    try:
        server = ThreadingHTTPServer((config.address, config.port), Handler)
    except OSError as error:
        raise ResourceError(f"The health service {cannot_listen(config.address, config.port, error)}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="pacs-health", daemon=True).start()
    return server
