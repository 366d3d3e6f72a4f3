"""Request bodies: bounded in bytes, in time and in memory overall, before anything parses them.

An ASGI layer. A declared length over the limit is refused before the body is read, a chunked body once it passes it. A
body must keep up a least rate after a time of grace. When an answer is sent before the whole body has come, the rest is
read and dropped for a moment, since closing a connection with unread bytes may take the answer from the client.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .forms import media_type
from .json_bodies import SMALL
from .problems import ClientGone, Problem, busy, response
from .settings import MEGABYTE, ServerSettings

JSON = "application/json"
PIECE = 64 * 1024
LINGER = 2.0
"""Seconds for which the rest of a refused body is read and dropped."""
HELD_UPLOADS = 8
"""How many of the largest bodies may be held at once."""


def most_bytes(path: str, content_type: bytes, settings: ServerSettings) -> int:
    """How many bytes the body of a request may have, by its route."""
    if path == "/v1/batch":
        return settings.max_batch_upload
    if path == "/v1/feedback":
        return SMALL
    if path in ("/v1/predict", "/v1/explain", "/predict") and media_type(content_type.decode("latin-1")) == JSON:
        return settings.max_upload * 4 // 3 + SMALL  # base64
    return settings.max_upload


class Bodies:
    """The layer; `held` is how many bytes of bodies are in memory now."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, refused: Callable[[Problem], None]) -> None:
        self.app, self.settings, self.refused = app, settings, refused
        self.held = 0
        self.most_held = max(HELD_UPLOADS * settings.max_upload, settings.max_batch_upload)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, scope, receive, send)
        try:
            refusal = body.refusal()
            if refusal is None:
                await self.app(scope, body.receive, body.send)
            else:
                self.refused(refusal)
                await response(refusal, scope["path"])(scope, body.receive, body.send)
        finally:
            self.held -= body.received


class _Body:
    """One request's body, as it comes in."""

    def __init__(self, layer: Bodies, scope: Scope, receive: Receive, send: Send) -> None:
        self.layer, self.settings, self._receive, self._send = layer, layer.settings, receive, send
        headers = dict(scope["headers"])
        self.limit = most_bytes(scope["path"], headers.get(b"content-type", b""), self.settings)
        self.declared = headers.get(b"content-length")
        self.waits = headers.get(b"expect", b"").lower() == b"100-continue"
        # A request without either header has no body.
        self.complete = self.declared in (None, b"0") and b"transfer-encoding" not in headers
        self.received, self.began, self.asked, self.closing = 0, time.monotonic(), False, False

    def refusal(self) -> Problem | None:
        """Why the body is not read at all, if so."""
        if self.declared is not None and (not self.declared.isdigit() or len(self.declared) > 18):
            return Problem(400, "malformed", "The Content-Length is not a number.")
        if self.declared is not None and int(self.declared) > self.limit:
            return self._too_large()
        return None

    def _too_large(self) -> Problem:
        largest = f"{self.limit / MEGABYTE:.3g} MB" if self.limit >= MEGABYTE else f"{self.limit / 1024:.3g} kB"
        return Problem(413, "too-many-bytes", f"At most {largest} can be sent at once. Send a smaller file.")

    async def receive(self) -> Message:
        """The next part of the body. Raises Problem 408, 413 or 503, ClientGone."""
        if self.complete:
            return await self._receive()
        self.asked = True
        allowed = self.settings.body_grace + self.received / self.settings.body_rate
        with anyio.move_on_after(max(0.0, self.began + allowed - time.monotonic())) as scope:
            message = await self._receive()
        if scope.cancelled_caught:
            raise Problem(408, "too-slow", "The file came in too slowly and was dropped. Try again.")
        if message["type"] == "http.disconnect":
            self.complete = True
            raise ClientGone
        size = len(message.get("body", b""))
        self.received += size
        self.layer.held += size
        self.complete = not message.get("more_body", False)
        if self.received > self.limit:
            raise self._too_large()
        if self.layer.held > self.layer.most_held:
            raise busy("The server is taking in too much at once. Try again in a moment.", after=2)
        return message

    async def send(self, message: Message) -> None:
        """Send on; an answer that overtakes its request's body closes the connection, and gently."""
        if message["type"] == "http.response.start" and not self.complete:
            self.closing = True
            message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        elif message["type"] == "http.response.body":
            await self._send_pieces(message)
            return
        await self._send(message)

    async def _send_pieces(self, message: Message) -> None:
        """Send a body in pieces, each once the one before is on its way, and count it as held until then."""
        body, ends = message.get("body", b""), not message.get("more_body", False)
        pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)] or [b""]
        self.layer.held += len(body)
        try:
            for number, piece in enumerate(pieces, 1):
                last = ends and number == len(pieces) and not self.closing
                await self._send({**message, "body": piece, "more_body": not last})
        finally:
            self.layer.held -= len(body)
        if ends and self.closing:
            await self._drop_the_rest()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop_the_rest(self) -> None:
        # Asking for more would tell a client that waits to send its body to go ahead.
        if self.waits and not self.asked:
            return
        with anyio.move_on_after(LINGER):
            while not self.complete:
                message = await self._receive()
                self.complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
