"""Bytes that are too many to be held in memory, in temporary files without a name."""

from __future__ import annotations

import tempfile
import threading

from anyio.to_thread import run_sync

AT_ONCE = 2**20


class Spool:
    """A temporary file that only grows and is read in parts. It is gone when nobody refers to it any more.

    `add` writes at once. On the event loop use `append`, `settle` now and then, and `finish`: the disk is then waited
    for in a thread, in steps of a megabyte. All raise OSError when the disk is full.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by `close`
        self.size = 0
        self._waiting = bytearray()
        self._lock = threading.Lock()

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
            await run_sync(self._write, data)

    async def finish(self) -> None:
        """Write the rest."""
        await self.settle(0)

    def read(self, start: int, length: int) -> bytes:
        """Some of the bytes."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)

    def close(self) -> None:
        """Remove the file; the second time nothing happens."""
        if hasattr(self, "_file"):
            self._file.close()

    def _write(self, data: bytes | bytearray) -> None:
        with self._lock:
            self._file.seek(0, 2)
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
