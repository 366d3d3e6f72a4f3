"""The process: a socket, uvicorn on it, and an orderly end."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import cast

import uvicorn
from threadpoolctl import threadpool_limits

from ..errors import InputError
from . import logs
from .app import create_app
from .protocol import PatientProtocol, most_connections
from .registry import Registry
from .service import Service
from .settings import ServerSettings

MOST_HEADER_BYTES = 64 * 1024
SWITCH_SECONDS = 0.001
"""How long a worker may keep Python's lock while the event loop waits for it; Python's own 5 ms make every answer wait
several times 5 ms when the workers are busy."""
DRAIN_NOTICE = 0.5
"""Seconds for which a stopping server still takes connections, so that a balancer sees that it is not ready."""


class Server(uvicorn.Server):
    """uvicorn's server that ends with code 0 when it was told to, after what runs has been answered."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, without raising the signal again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First: not ready any more, and stop shortly. Again: stop at once."""
        if self.service.draining:
            self.should_exit = self.force_exit = True
            return
        self.service.draining = True
        asyncio.get_event_loop().call_later(DRAIN_NOTICE, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket. Raises InputError, naming what to change, when host or port cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise InputError(
            f"{host} is no address of this machine. Set `host=127.0.0.1`, or `host=0.0.0.0` for all."
        ) from None
    # With its protocol named: only then does asyncio send small replies at once instead of waiting 40 ms for an
    # acknowledgement (TCP_NODELAY).
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(1024)
    except OSError as error:
        bound.close()
        raise InputError(_cannot_bind(host, port, error)) from None
    bound.setblocking(False)
    return bound


def _cannot_bind(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use by another program. Choose another one with `port=`."
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights that this user has not. Choose one above 1023 with `port=`."
    return f"{host} cannot be listened on ({error.strerror}). Choose another address with `host=`."


def make_server(service: Service) -> Server:
    """A server for a service; `run(sockets=[...])` runs it, in any thread."""
    settings = service.settings
    config = uvicorn.Config(
        create_app(service),
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_keep_alive=30,
        timeout_graceful_shutdown=cast("int", max(0.0, settings.drain - settings.closing_seconds - DRAIN_NOTICE)),
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    PatientProtocol.most = most_connections()
    return Server(config, service)


def serve(paths: dict[str, Path], settings: ServerSettings) -> None:
    """Serve bundles until told to stop. Raises InputError for a taken port, BundleError for a bundle that is broken."""
    bound = listening_socket(settings.host, settings.port)
    with bound:
        service = Service(Registry(paths, settings), settings)
        logs.configure()
        sys.setswitchinterval(SWITCH_SECONDS)
        # NumPy's products here are small; its helper threads would spin for milliseconds on cores that passes need.
        threadpool_limits(1, user_api="blas")
        port = bound.getsockname()[1]
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        logs.event("serving", url=f"http://{shown}:{port}/", models=service.registry.names)
        sys.stderr.flush()
        make_server(service).run(sockets=[bound])
