"""Exported pages in Chromium: opened, and asked what Python is asked."""

from __future__ import annotations

import base64
import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Open = Callable[..., Any]
ASK = """async ({ file, query }) => {
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
  return pellucid.ask(new Blob([bytes]), query);
}"""


class Silent(http.server.SimpleHTTPRequestHandler):
    seen: list[str]

    def log_message(self, format: str, *args: Any) -> None:
        self.seen.append(self.path)


@contextmanager
def static_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A plain static host of a folder: its address, and the paths that it was asked for."""
    handler = type("Own", (Silent,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", handler.seen
    finally:
        server.shutdown()
        server.server_close()


def asked(page: Any, data: bytes, method: str = "grad-cam", target: str | None = None, **more: str) -> dict[str, Any]:
    """The page's answer to a file, by its own scripts; `more` is `against` or `layer`."""
    query = {"method": method, "all_classes": target is None, "target": target, **more}
    found: dict[str, Any] = page.evaluate(ASK, {"file": base64.b64encode(data).decode(), "query": query})
    return found


def grid_of(explanation: dict[str, Any]) -> np.ndarray:
    grid = explanation["grid"]
    values = np.frombuffer(base64.b64decode(grid["values"]), "<f4")
    return values.reshape(grid["height"], grid["width"])


@pytest.fixture
def open_alone(browser: Any) -> Iterator[Open]:
    """Open a page by its address; at the end it has asked for nothing else, and broken no policy."""
    contexts: list[Any] = []
    said: list[str] = []
    left: list[str] = []

    def open_page(url: str, *, offline: bool = False, expect: tuple[str, ...] = (), **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", **options})
        contexts.append(context)
        context.set_offline(offline)
        page = context.new_page()
        page.set_default_timeout(30_000)
        inside = (url, "blob:", "data:")
        context.on("request", lambda sent: None if sent.url.startswith(inside) else left.append(sent.url))
        page.on("console", lambda m: None if any(word in m.text for word in expect) else said.append(m.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector("body[data-checked]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert left == []
    assert said == []
