"""Replies as JSON, with where the time went."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response, StreamingResponse

from .spools import Spool

PIECE = 256 * 1024


def json_reply(document: Any, seconds: Mapping[str, float] | None = None, status: int = 200) -> Response:
    """A document as JSON; `seconds` by part go into `Server-Timing`. NaN is refused, as JSON does not know it."""
    headers = {}
    if seconds:
        headers["Server-Timing"] = ", ".join(f"{name};dur={1000 * took:.1f}" for name, took in seconds.items())
    body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body.encode("utf-8", "replace"), status, headers, "application/json")


def spooled_reply(spool: Spool, media_type: str, headers: Mapping[str, str]) -> Response:
    """What a spool holds, read as fast as the client takes it."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, spool.size, PIECE):
            yield await run_sync(spool.read, start, PIECE)

    return StreamingResponse(pieces(), 200, {**headers, "Content-Length": str(spool.size)}, media_type)
