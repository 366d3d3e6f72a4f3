"""Firefox without a driver: its own protocol, Marionette, which is JSON over a socket."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """One window. `run` calls a function of the page's own global object and waits for what it gives."""

    def __init__(self, port: int) -> None:
        self._socket = _connected(port)
        self._buffer = b""
        self._asked = 0
        self._read()  # the greeting
        self.ask("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": False}}})
        self.ask("WebDriver:SetTimeouts", {"script": 120_000, "pageLoad": 60_000})

    def ask(self, command: str, parameters: dict[str, Any] | None = None) -> Any:
        self._asked += 1
        text = json.dumps([0, self._asked, command, parameters or {}]).encode()
        self._socket.sendall(str(len(text)).encode() + b":" + text)
        _, _, error, result = self._read()
        if error:
            raise RuntimeError(error.get("message", error))
        return result

    def open(self, url: str) -> None:
        self.ask("WebDriver:Navigate", {"url": url})

    def run(self, code: str, *given: Any) -> Any:
        """What `code`, the body of an asynchronous function of `page` (the window) and `given`, gives as JSON."""
        script = (
            "const done = arguments[arguments.length - 1]; const given = [...arguments].slice(0, -1);"
            "const page = window.wrappedJSObject ?? window;"
            f"(async () => {{ {code} }})().then((found) => done(JSON.stringify(found ?? null)), (e) => done('!' + e));"
        )
        found = self.ask("WebDriver:ExecuteAsyncScript", {"script": script, "args": list(given), "newSandbox": True})
        text: str = found["value"]
        if text.startswith("!"):
            raise RuntimeError(text)
        return json.loads(text)

    def until(self, code: str, seconds: float = 60) -> Any:
        """Run until something true comes."""
        end = time.monotonic() + seconds
        while not (found := self.run(code)):
            if time.monotonic() > end:
                raise TimeoutError(code)
            time.sleep(0.1)
        return found

    def screenshot(self) -> str:
        """The window as PNG in base64."""
        return str(self.ask("WebDriver:TakeScreenshot", {"full": False})["value"])

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> Any:
        while b":" not in self._buffer:
            self._buffer += self._socket.recv(1 << 16)
        size, _, rest = self._buffer.partition(b":")
        while len(rest) < int(size):
            rest += self._socket.recv(1 << 20)
        self._buffer = rest[int(size) :]
        return json.loads(rest[: int(size)])


def _connected(port: int) -> socket.socket:
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=180)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """A headless Firefox with a new profile in the folder `profile`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    profile.mkdir()
    (profile / "user.js").write_text(f'user_pref("marionette.port", {port});\n', encoding="utf-8")
    command = [FIREFOX or "firefox", "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    window = None
    try:
        window = Firefox(port)
        yield window
    finally:
        if window is not None:
            window.close()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
