"""DICOMweb and Orthanc's own interface by plain HTTP: one kept connection, TLS, authentication.

Reference: DICOM PS3.18 (QIDO-RS 10.6, WADO-RS 10.4, STOW-RS 10.5).
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from email.parser import BytesHeaderParser
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from .config import TlsFiles
from .trouble import DUPLICATE, NotStored, Unreachable, is_permanent

MOST_BYTES = 512 * 2**20
PAGE = 100
"""Rows that one page of a search is asked for; a service may give fewer."""
WHOLE_REPLY = 20
"""A reply may take up to this number of times the timeout of a single read."""
PIECE = 2**20
STORED, FAILED, REASON, INSTANCE = "00081199", "00081198", "00081197", "00081155"
STUDY, SERIES, OBJECT = "0020000D", "0020000E", "00080018"
BUSY = (408, 425, 429, 500, 502, 503, 504)
ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
USUAL_SYNTAX = 'multipart/related; type="application/dicom"'


class HttpAccess(Protocol):
    """How a service is reached: seconds of a single read, certificates, and the Authorization header."""

    @property
    def timeout(self) -> float: ...
    @property
    def tls(self) -> TlsFiles | None: ...
    @property
    def authorization(self) -> str | None: ...


class WebClient:
    """A client of the service at `root`. Threads may share it; requests are sent one after the other."""

    def __init__(self, root: str, access: HttpAccess) -> None:
        parts = urlsplit(root)
        self._https, self._host = parts.scheme == "https", parts.hostname or ""
        self._port = parts.port or (443 if self._https else 80)
        self._base = parts.path.rstrip("/")
        self._timeout = access.timeout
        tls = access.tls
        self._context = (
            (ssl.create_default_context() if tls is None else tls.context(server=False)) if self._https else None
        )
        self._headers = {"User-Agent": "pellucid"}
        if access.authorization is not None:
            self._headers["Authorization"] = access.authorization
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Sequence[bytes] | None = None,
        headers: dict[str, str] | None = None,
        most: int = MOST_BYTES,
    ) -> tuple[int, str, bytes]:
        """Status, content type and body of a reply, of which more than `most` bytes are not read.

        Raises Unreachable, also for a busy service, and ReplyTooLong.
        """
        with self._lock:
            for fresh in (False, True):
                kept = self._connection is not None
                try:
                    status, kind, data = self._once(method, path, body, headers or {}, most)
                    break
                except ReplyTooLong:
                    self._drop()
                    raise
                except (http.client.HTTPException, OSError) as error:
                    self._drop()
                    # A kept connection may have been closed by the other side meanwhile: once more, by a new one.
                    if fresh or not kept or isinstance(error, TimeoutError):
                        raise Unreachable(connection_code(error)) from None
            else:
                raise AssertionError("the second attempt returns or raises")
        if status in BUSY or status in (401, 403):
            raise Unreachable(f"http-{status}")
        return status, kind, data

    def _once(
        self, method: str, path: str, body: Sequence[bytes] | None, headers: dict[str, str], most: int
    ) -> tuple[int, str, bytes]:
        if self._connection is None:
            if self._context is not None:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout, context=self._context
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        self._connection.request(method, self._base + path, body=body, headers={**self._headers, **headers})
        if self._connection.sock is not None and hasattr(socket, "TCP_QUICKACK"):
            # A service that sends the head of its reply first holds the rest back until the head is acknowledged.
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        reply = self._connection.getresponse()
        return reply.status, reply.headers.get("Content-Type", ""), self._read(reply, most)

    def _read(self, reply: http.client.HTTPResponse, most: int) -> bytes:
        """The body in pieces: one that is too long, or trickles without end, is given up."""
        if (reply.length or 0) > most:
            raise ReplyTooLong
        end, pieces, size = time.monotonic() + WHOLE_REPLY * self._timeout, list[bytes](), 0
        while piece := reply.read(PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise ReplyTooLong
            if time.monotonic() > end:
                raise TimeoutError
        if reply.length:
            raise http.client.IncompleteRead(b"", reply.length)
        return b"".join(pieces)

    def search(self, path: str, query: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
        """The rows of a search (QIDO-RS) that differ in the UID with tag `key`, page by page.

        A service may give fewer rows than asked for, so only a page without new rows is the last. Raises Unreachable;
        `http-404` where there is no such service, `http-400` for a search that it does not understand.
        """
        seen: set[str] = set()
        offset = 0
        while True:
            asked = f"{path}?{urlencode({**query, 'limit': PAGE, 'offset': offset}, doseq=True)}"
            status, _, data = self.request("GET", asked, headers={"Accept": "application/dicom+json"})
            rows = [] if status == 204 or (status == 404 and offset) else _rows(status, data)
            new = [(uid, row) for row in rows if (uid := value_of(row, key)) and uid not in seen]
            for uid, row in new:
                if uid not in seen:
                    seen.add(uid)
                    yield row
            if not new:
                return
            offset += len(rows)

    def get_json(self, path: str, query: dict[str, Any] | None = None) -> Any:
        """A JSON document; None where it is absent (204, 404). Raises Unreachable for anything else."""
        asked = f"{path}?{urlencode(query, doseq=True)}" if query else path
        status, _, data = self.request("GET", asked, headers={"Accept": "application/dicom+json, application/json"})
        if status in (204, 404):
            return None
        if status != 200:
            raise Unreachable(f"http-{status}")
        try:
            return json.loads(data)
        except ValueError:
            raise Unreachable("no-json") from None

    def check_service(self) -> None:
        """Ask for one study. Raises Unreachable, also where no DICOMweb service is: nothing found is 204, or a list."""
        status, _, data = self.request("GET", "/studies?limit=1", headers={"Accept": "application/dicom+json"})
        if status != 204:
            _rows(status, data)

    def get_bytes(self, path: str) -> bytes | None:
        """A body as it is; None where there is nothing (404)."""
        status, _, data = self.request("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise Unreachable(f"http-{status}")
        return data

    def retrieve(self, study: str, series: str, uid: str, most: int = MOST_BYTES) -> bytes | None:
        """An instance by WADO-RS in the transfer syntax that it is kept in; None where it is gone.

        Raises ReplyTooLong for one of more than `most` bytes with its envelope.
        """
        path = f"/studies/{study}/series/{series}/instances/{uid}"
        status, kind, data = self.request("GET", path, headers={"Accept": ANY_SYNTAX}, most=most)
        if status == 406:
            status, kind, data = self.request("GET", path, headers={"Accept": USUAL_SYNTAX}, most=most)
        if status in (404, 410):
            return None
        if status not in (200, 206):
            raise Unreachable(f"http-{status}")
        return next(parts_of(kind, data), None)

    def store(self, parts: Sequence[bytes], uid: str) -> None:
        """Store one object, given as parts, by STOW-RS. Raises NotStored unless the reply lists it as stored.

        Status 200 alone is not success: Orthanc answers an object that it cannot read with 200 and two empty lists.
        """
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = (head, *parts, f"\r\n--{boundary}--\r\n".encode())
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(sum(map(len, body))),
            "Accept": "application/dicom+json",
        }
        status, _, reply = self.request("POST", "/studies", body=body, headers=headers)
        if status not in (200, 202, 409):
            raise NotStored(f"http-{status}", permanent=400 <= status < 500 and status != 404)
        try:
            document = json.loads(reply) if reply.strip() else {}
        except ValueError:
            raise NotStored("no-json", permanent=False) from None
        document = document[0] if isinstance(document, list) and document else document
        if uid in set(_uids(document, STORED)):
            return
        reasons = [int(r) for item in _items(document, FAILED) for r in item.get(REASON, {}).get("Value", ())]
        if DUPLICATE in reasons:
            return
        if reasons:
            raise NotStored(f"failure-{reasons[0]:04x}", permanent=all(is_permanent(r) for r in reasons))
        raise NotStored("not-listed", permanent=False)


def _rows(status: int, data: bytes) -> list[dict[str, Any]]:
    if status != 200:
        raise Unreachable(f"http-{status}")
    try:
        document = json.loads(data)
    except ValueError:
        raise Unreachable("no-json") from None
    if not isinstance(document, list):
        raise Unreachable("no-json")
    return [row for row in document if isinstance(row, dict)]


def value_of(row: dict[str, Any], tag: str) -> str:
    """The first value of an element in DICOM JSON as text; "" where it has no value."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values and values[0] is not None else ""


def _items(document: Any, tag: str) -> list[dict[str, Any]]:
    found = document.get(tag, {}) if isinstance(document, dict) else {}
    return [item for item in found.get("Value", ()) if isinstance(item, dict)]


def _uids(document: Any, tag: str) -> Iterator[str]:
    for item in _items(document, tag):
        yield from map(str, item.get(INSTANCE, {}).get("Value", ()))


def parts_of(content_type: str, data: bytes) -> Iterator[bytes]:
    """The bodies of a multipart reply; the body itself where it is not one."""
    head = BytesHeaderParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode())
    boundary = head.get_param("boundary")
    if not isinstance(boundary, str):
        yield data
        return
    mark = b"--" + boundary.encode()
    for part in data.split(mark)[1:]:
        if part[:2] == b"--":
            return
        _, separator, body = part.partition(b"\r\n\r\n")
        if separator:
            yield body.removesuffix(b"\r\n")


class ReplyTooLong(Exception):
    """A reply of more bytes than are read."""


def connection_code(error: Exception) -> str:
    """A stable code of a failed connection, with nothing of its text."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, socket.gaierror):
        return "unknown-host"
    return "connection"
