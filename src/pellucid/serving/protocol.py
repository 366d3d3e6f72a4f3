"""HTTP/1.1 as uvicorn speaks it, with the deadlines and limits that it lacks."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .problems import Problem, document

HEADER_SECONDS = 15.0
WRITE_SECONDS = 20.0
"""How long a client may take for the 128 kB at most that wait to be sent to it."""
PROBES = (0.0, 0.25, 1.0)
PROBE_SECONDS = 5.0
RESERVED_FILES = 12
"""File descriptors kept for the store, spools and new connections."""


def most_connections() -> int:
    """How many connections may be open, by the limit on file descriptors and those that are open already."""
    try:
        import resource

        limit, opened = resource.getrlimit(resource.RLIMIT_NOFILE)[0], sum(1 for _ in Path("/proc/self/fd").iterdir())
    except (ImportError, OSError):
        return 1000
    return max(2, min(limit, 100_000) - opened - RESERVED_FILES)


class PatientProtocol(H11Protocol):
    """Closes connections whose headers do not come or that do not take their answer, and answers half-closed ones."""

    most = 1000
    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _probe_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most and not self._idle_one_closed():
            self._refuse(Problem(503, "busy", "The server has too many connections open.", {"Retry-After": "1"}))
            return
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def handle_events(self) -> None:
        super().handle_events()
        waiting = self.conn.their_state is h11.IDLE
        if self._header_timer is not None and not waiting:
            self._header_timer.cancel()
            self._header_timer = None
        elif self._header_timer is None and waiting and self.conn.trailing_data[0]:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio keeps the connection where it is true
        """Keep the connection for an answer that is being worked on: the client may only have ended its half.

        One that has gone altogether looks the same, but refuses what is sent to it. So it is sent an interim response
        now and then, which every HTTP/1.1 client passes over.
        """
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        if self.scope["http_version"] != "1.0":
            self._probe(0)
        return True

    def _probe(self, number: int) -> None:
        if self.conn.our_state is not h11.SEND_RESPONSE or self.transport.is_closing():
            return
        event = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
        self.transport.write(self.conn.send(event) or b"")
        later = PROBES[number + 1] if number + 1 < len(PROBES) else PROBE_SECONDS
        self._probe_timer = self.loop.call_later(later, self._probe, number + 1)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(self._write_timer)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._write_timer, self._probe_timer):
            self._stop(timer)
        super().connection_lost(exc)

    def _watch_writing(self) -> None:
        self._stop(self._write_timer)
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._drop_unread)

    def _drop_unread(self) -> None:
        """Drop a client that does not read; closing alone would wait for it."""
        if self.transport.get_write_buffer_size():
            connection = self.transport.get_extra_info("socket")
            # Without lingering the kernel too forgets at once what was not read.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    def _idle_one_closed(self) -> bool:
        """Whether a connection that only waits for a further request could be closed to make room."""
        others = (c for c in self.connections if isinstance(c, PatientProtocol) and c is not self)
        idle = (c for c in others if c.conn.their_state is h11.IDLE and not c.transport.is_closing())
        oldest = next((c for c in idle if c.cycle is not None), None)
        if oldest is not None:
            oldest.transport.close()
        return oldest is not None

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        self._refuse(Problem(400, "malformed", "The request is not valid HTTP."))

    def _refuse(self, problem: Problem) -> None:
        """Answer without a request that could be read, and close."""
        body = json.dumps(document(problem)).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
        ]
        for event in (
            h11.Response(status_code=problem.status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
