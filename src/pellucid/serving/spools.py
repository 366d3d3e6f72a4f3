"""Bytes that are too many to be held in memory, in temporary files without a name."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio.to_thread import run_sync

from .problems import busy

T = TypeVar("T")

AT_ONCE = 2**20
DISK_SECONDS = 20.0
"""How long a request waits for the disk."""


async def beside(work: Callable[..., T], *arguments: Any) -> T:
    """The result of `work`, which waits for the disk, from a thread. Raises Problem 503 when it takes too long."""
    with anyio.move_on_after(DISK_SECONDS):
        return await run_sync(work, *arguments, abandon_on_cancel=True)
    raise busy("The server's disk is too slow at the moment. Try again later.", after=30, code="disk")


class Spool:
    """A temporary file that only grows and is read in parts. It is gone when nobody refers to it any more.

    `add` writes at once. On the event loop use `append`, `settle` now and then, and `finish`: the disk is then waited
    for in a thread, in steps of a megabyte, and not for ever. All raise OSError when the disk is full.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by `close`
        self.size = 0
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._closed = False

    def __del__(self) -> None:
        self.close()

    def add(self, data: bytes) -> int:
        """Write bytes and return where they begin."""
        start = self.size
        self._write(data)
        self.size += len(data)
        return start

    def append(self, data: bytes) -> None:
        """Take bytes that `settle` and `finish` write."""
        self._waiting += data
        self.size += len(data)

    async def settle(self, least: int = AT_ONCE) -> None:
        """Write what was taken, once it is at least so much."""
        if len(self._waiting) >= least:
            data, self._waiting = self._waiting, bytearray()
            await beside(self._write, data)

    async def finish(self) -> None:
        """Write the rest."""
        await self.settle(0)

    def read(self, start: int, length: int) -> bytes:
        """Some of the bytes."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)

    def close(self) -> None:
        """Remove the file, or let a write that still waits for the disk remove it; the second time nothing happens."""
        if not hasattr(self, "_closed"):
            return
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._lock.release()

    def _write(self, data: bytes | bytearray) -> None:
        with self._lock:
            self._file.seek(0, 2)
            left = memoryview(data)
            while left and not self._closed:
                left = left[self._file.write(left) :]
        if self._closed:
            self.close()
