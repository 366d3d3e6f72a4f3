"""A client that says exactly what it is told to, byte by byte, and hears the answer out."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import InputError

BOUNDARY = "----pellucid-doctor"
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; status 0 when the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def document(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def code(self) -> str:
        """The code of a refusal, or ""."""
        document = self.document
        return str(document.get("code", "")) if isinstance(document, dict) else ""


class Target:
    """A running server."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InputError(f"{url!r} is not the address of a server. Write it like http://127.0.0.1:8000.")
        self.host, self.tls = parts.hostname, parts.scheme == "https"
        self.port = port or (443 if self.tls else 80)
        self.header = parts.netloc.rpartition("@")[2]
        self._key = {"X-API-Key": api_key} if api_key else {}

    def connect(self) -> socket.socket:
        """A connection. Raises InputError when nobody listens."""
        try:
            plain = socket.create_connection((self.host, self.port), PATIENCE)
        except OSError as error:
            reason = error.strerror or "no such host"
            raise InputError(f"No server answers at {self.host}, port {self.port} ({reason}).") from None
        return ssl.create_default_context().wrap_socket(plain, server_hostname=self.host) if self.tls else plain

    def head(self, method: str, path: str, headers: Mapping[str, str], *, key: bool = True) -> bytes:
        """A request's first lines; given headers replace the usual ones."""
        lines = {"Host": self.header, "Connection": "close", **(self._key if key else {}), **headers}
        text = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items())
        return (text + "\r\n").encode("utf-8", "surrogateescape")

    def send(self, blocks: Iterable[bytes], *, most: float = PATIENCE) -> Reply:
        """Send blocks as long as the server takes them and has not answered; its answer."""
        began = time.monotonic()
        with self.connect() as connection:
            try:
                for block in blocks:
                    if time.monotonic() - began > most or _answers(connection):
                        break
                    connection.sendall(block)
            except OSError:
                pass
            return _heard(connection, began)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, key: bool = True
    ) -> Reply:
        """An ordinary request."""
        named = dict(headers or {})
        if method in ("POST", "DELETE"):
            named.setdefault("Content-Length", str(len(body)))
        return self.send([self.head(method, path, named, key=key) + body])

    def upload(
        self,
        data: bytes,
        declared: str = "image/png",
        name: bytes = b"x.png",
        path: str = "/v1/predict",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A form with one file."""
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.request("POST", path, form(data, declared, name), {"Content-Type": kind, **(headers or {})})

    def url(self, address: object) -> Reply:
        """Ask for an image by URL."""
        body = json.dumps({"url": address}).encode()
        return self.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})


def form(data: bytes, declared: str = "image/png", name: bytes = b"x.png", field: str = "file") -> bytes:
    """A form's body with one file, its name in raw bytes."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="'.encode() + name
    return head + f'"\r\nContent-Type: {declared}\r\n\r\n'.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def trickle(head: bytes, seconds: float = 0.2) -> Iterator[bytes]:
    """A request that never ends: a byte at a time."""
    yield head
    while True:
        time.sleep(seconds)
        yield b"x"


def _answers(connection: socket.socket) -> bool:
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    return bool(select.select([connection], [], [], 0)[0])


def _heard(connection: socket.socket, began: float) -> Reply:
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return Reply(0, {}, b"", time.monotonic() - began)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, body, time.monotonic() - began)
