"""The outermost ASGI layer: security headers, one log line and one count per request, and the last word on errors."""

from __future__ import annotations

import logging
import secrets
import time
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import logs
from .metrics import Metrics
from .problems import ClientGone, Problem, problem_of, response

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(self), geolocation=(), microphone=(), payment=(), usb=()",
    }.items()
)
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


class Observed:
    """The layer. It catches every exception; none reaches the server that called it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"][:1] not in ("/", "*"):
            scope = _without_authority(scope)
        if scope["method"] == "HEAD":  # answered like GET; the server that called this leaves out the body
            scope = {**scope, "method": "GET"}
        scope["request_id"] = secrets.token_hex(8)
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _with_security(message.get("headers", []), scope["request_id"])}
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except ClientGone:
            status = status or 499
        except Exception as error:
            problem = error if isinstance(error, Problem) else problem_of(Exception())
            if not isinstance(error, Problem):
                logs.event("error", level=logging.ERROR, error=error, id=scope["request_id"])
            if status == 0:
                await response(problem, scope["path"])(scope, receive, sending)
        self._record(scope, status, time.perf_counter() - began)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The pattern that matched, never the path asked for: that may hold anything.
        route = getattr(scope.get("route"), "path", None) or "(none)"
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        fields = {**scope.get("noted", {}), "status": status, "ms": round(1000 * seconds, 1), "id": scope["request_id"]}
        logs.event("request", route=route, method=method, **fields)


def _without_authority(scope: Scope) -> Scope:
    """A request for `http://host/path`, as proxies are asked, as one for `/path` of that host (RFC 9112, 3.2.2)."""
    try:
        parts = urlsplit(scope["raw_path"].decode("ascii"))
    except ValueError:
        return scope
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return scope
    headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
    return {
        **scope,
        "path": unquote(parts.path) or "/",
        "raw_path": parts.path.encode() or b"/",
        "headers": [(b"host", parts.netloc.encode()), *headers],
    }


def _with_security(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in headers}
    added = [pair for pair in SECURITY_HEADERS if pair[0] not in present]
    if b"cache-control" not in present:
        added.append((b"cache-control", b"no-store"))
    return [*headers, *added, (b"x-request-id", request_id.encode())]
