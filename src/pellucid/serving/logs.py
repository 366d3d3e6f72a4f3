"""Structured logs: one JSON object a line on stderr, of things that the server knows itself.

Nothing that a client sent is written: no path, query, header, file name or message of a decoder. An unexpected error is
logged by its type and the places it passed through.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

LOGGER = logging.getLogger("pellucid.serving")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if fields:
            entry.update(fields)
        if record.exc_info and record.exc_info[1] is not None:
            entry.update(described(record.exc_info[1]))
        return json.dumps(entry, ensure_ascii=False, default=str)


def described(error: BaseException) -> dict[str, Any]:
    """An exception without its message, which may quote what a client sent: its type and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {"error": type(error).__name__, "at": [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in frames]}


def configure() -> None:
    """Send the server's and uvicorn's logs to stderr as JSON lines, and nothing of any other library."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    # Without a handler Python itself prints warnings of libraries, which quote what they were given.
    logging.getLogger().addHandler(logging.NullHandler())
    for name, level in (("pellucid.serving", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def event(name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log `name` with fields of the server's own."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, name, exc_info=error, extra={"fields": fields})
