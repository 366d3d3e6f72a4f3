"""Replies as JSON, with where the time went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


def json_reply(document: Any, seconds: Mapping[str, float] | None = None, status: int = 200) -> Response:
    """A document as JSON; `seconds` by part go into `Server-Timing`. NaN is refused, as JSON does not know it."""
    headers = {}
    if seconds:
        headers["Server-Timing"] = ", ".join(f"{name};dur={1000 * took:.1f}" for name, took in seconds.items())
    body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body.encode("utf-8", "replace"), status, headers, "application/json")
