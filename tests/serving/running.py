"""A real server on a loopback socket, in a thread of the test's own process."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.serving.attacks.client import Target
from pellucid.serving.logs import JsonLines
from pellucid.serving.registry import Registry
from pellucid.serving.server import Server, listening_socket, make_server
from pellucid.serving.service import Service
from pellucid.serving.settings import ServerSettings

MEGABYTE = 2**20


@dataclass
class Running:
    url: str
    service: Service
    log: io.StringIO
    server: Server
    thread: threading.Thread

    def stop(self) -> None:
        """Stop it as a signal does, and wait for its end."""
        self.server.should_exit = True
        self.thread.join(30)

    def target(self, key: str | None = None) -> Target:
        return Target(self.url, key)


@contextmanager
def running(paths: dict[str, Path], **settings: Any) -> Iterator[Running]:
    given = ServerSettings(**{"port": 0, "store": "none", "max_upload": 2 * MEGABYTE, "body_grace": 1.0, **settings})
    bound = listening_socket(given.host, given.port)
    service = Service(Registry(paths, given), given)
    server = make_server(service)
    log, handlers = io.StringIO(), []
    for name in ("pellucid.serving", "uvicorn.error"):
        handler = logging.StreamHandler(log)
        handler.setFormatter(JsonLines())
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
        handlers.append((name, handler))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Running(f"http://127.0.0.1:{bound.getsockname()[1]}", service, log, server, thread)
    finally:
        server.should_exit = True
        thread.join(30)
        bound.close()
        for name, handler in handlers:
            logging.getLogger(name).removeHandler(handler)
    assert not thread.is_alive()
