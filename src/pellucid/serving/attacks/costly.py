"""The rows of the hostile list about cost: bodies that are dear to read, and clients that do not take their answer.

The server must keep answering other clients meanwhile.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable

from . import files
from .client import BOUNDARY, Reply, Target
from .verdicts import Attack, Failed, card, elsewhere, judged, seen

JSON = {"Content-Type": "application/json"}
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MEGABYTE = 2**20
LONGEST_SILENCE = 1.0
"""Seconds for which `/livez` may be silent; far from it on an idle machine, as the client's own work counts too."""


def broken_texts(size: int = 7 * MEGABYTE) -> bytes:
    """A small PNG with many texts that unpack to 4 MB each before they turn out damaged."""
    text = b"Comment\0\0" + zlib.compress(bytes(4 * MEGABYTE))[:-4] + b"\1\2\3\4"
    return files.png_with(*[(b"zTXt", text)] * (size // len(text)))


def nested_json(size: int = 8 * MEGABYTE) -> bytes:
    """Brackets in brackets."""
    return b'{"url": ' + b"[" * (size // 2) + b"]" * (size // 2) + b"}"


def many_keys(size: int = 8 * MEGABYTE) -> bytes:
    """An object of as many keys as fit."""
    return b"{" + b",".join(b'"%d":1' % n for n in range(size // 12)) + b"}"


def bracketed_tensor(size: int = 8 * MEGABYTE) -> bytes:
    """A KServe request whose tensor is all brackets."""
    head = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 8, 8]}]}
    return json.dumps(head).encode()[:-3] + b', "data": ' + b"[" * (size // 2) + b"]" * (size // 2) + b"}]}"


def million_entries(entries: int = 1_000_000) -> bytes:
    """The list of a ZIP, of files that are not there."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = min(entries, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, entries * len(entry), 0, 0)
    return entry * entries + end


class Pulse:
    """Asks `/livez` again and again in a thread; `longest` is the longest that it took."""

    def __init__(self, target: Target) -> None:
        self._target, self._ended, self.longest = target, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            self.longest = max(self.longest, self._target.request("GET", "/livez").seconds)


def _awake(send: Callable[[Target], Reply], *statuses: int) -> Callable[[Target], str]:
    """The reply must be of one of these statuses, and the server awake until it comes."""

    def run(target: Target) -> str:
        with Pulse(target) as pulse:
            reply = judged(send(target), *statuses)
        if pulse.longest > LONGEST_SILENCE:
            raise Failed(f"{seen(reply)}, but /livez was silent for {pulse.longest:.1f} s")
        return f"{seen(reply)}, /livez within {1000 * pulse.longest:.0f} ms"

    return run


def _posts(path: str, make: Callable[[], bytes], headers: dict[str, str]) -> Callable[[Target], Reply]:
    return lambda target: target.request("POST", path, make(), headers)


def _infers(target: Target) -> Reply:
    name = target.request("GET", "/v1/models").document["models"][0]["name"]
    return target.request("POST", f"/v2/models/{name}/infer", bracketed_tensor(), JSON)


def _texts(target: Target) -> Reply:
    size = min(7 * MEGABYTE, int(card(target)["limits"]["max_upload_bytes"]) - MEGABYTE)
    return target.upload(broken_texts(size))


def _no_reader(target: Target) -> str:
    """Ask for more than any buffer holds, read nothing, and see that the server drops the connection."""
    with socket.socket(socket.AF_INET6 if ":" in target.host else socket.AF_INET) as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect((target.host, target.port))
        greedy.setblocking(False)
        asked = target.head("GET", "/openapi.json", {"Connection": "keep-alive"}) * 500
        began = time.monotonic()
        try:
            while asked:
                asked = asked[greedy.send(asked) :]
        except OSError:
            pass  # the server reads no further request before it has answered
        poll = select.poll()
        poll.register(greedy, select.POLLERR | select.POLLHUP)
        gone = poll.poll(60_000)
        seconds = time.monotonic() - began
    judged(target.request("GET", "/livez"), 200)
    if not gone:
        raise Failed("the connection is kept")
    return f"dropped after {seconds:.0f} s"


COSTLY: tuple[Attack, ...] = (
    Attack(38, "PNG of many broken texts", "422, /livez answers", _awake(_texts, 422)),
    Attack(38, "8 MB of nested JSON", "400 / 413", _awake(_posts("/v1/predict", nested_json, JSON), 400, 413)),
    Attack(38, "8 MB of keys", "400 / 413", _awake(_posts("/v1/predict", many_keys, JSON), 400, 413)),
    Attack(38, "8 MB of keys as feedback", "413", _awake(_posts("/v1/feedback", many_keys, JSON), 413)),
    Attack(38, "a tensor of 8 MB of brackets", "400 / 413 / 422", _awake(_infers, 400, 413, 422)),
    Attack(
        38,
        "ZIP that lists a million files",
        "413",
        _awake(_posts("/v1/batch", million_entries, {"Content-Type": "application/zip"}), 413),
    ),
    elsewhere(39, "a graph of the model exchanged after the start", "refused"),
    Attack(40, "a client that asks and does not read", "dropped", _no_reader),
)
