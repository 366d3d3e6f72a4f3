"""Images out of a ZIP that a client sent, without believing what it says of itself."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

from ..errors import ImageError
from .problems import Problem
from .spools import Spool

EXPANSION = 20
"""How many times its own size a ZIP may unpack to in all; photographs and films hardly shrink."""
READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENTRIES_A_FILE, BYTES_AN_ENTRY = 4, 512
"""How many entries a ZIP may list for each file allowed (folders count too), and how many bytes for each entry."""


class _TooManyEntries(Exception):
    """The ZIP's directory is longer than is read."""


class _Window(io.RawIOBase):
    """The part of a spool that is a ZIP.

    `zipfile` reads a ZIP's directory in one piece and makes an object for each entry before anyone can ask how many
    there are; a million take half a minute. So the directory is checked as it is read, as long as `entries` is set.
    """

    def __init__(self, spool: Spool, start: int, length: int, entries: int) -> None:
        self._spool, self._start, self._length, self._at = spool, start, length, 0
        self.entries: int | None = entries

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; an OSError before the beginning, as of a file."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if at < 0:
            raise OSError
        self._at = at
        return at

    def tell(self) -> int:
        """The place in the ZIP."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read on; _TooManyEntries for a directory that is too long."""
        left = max(0, self._length - self._at)
        size = left if size < 0 else min(size, left)
        if self.entries is not None and size > 2**17 + BYTES_AN_ENTRY * self.entries:
            raise _TooManyEntries
        data = self._spool.read(self._start + self._at, size)
        if self.entries is not None and data.count(b"PK\1\2") > self.entries:
            raise _TooManyEntries
        self._at += len(data)
        return data


class Archive:
    """The files of a ZIP in its order, without folders and what a file manager adds. Names are not kept.

    The ZIP is `length` bytes of a spool, from `start` on. Raises Problem 413 for too many files, 422 for what cannot be
    used.
    """

    def __init__(self, spool: Spool, start: int, length: int, most_files: int) -> None:
        window = _Window(spool, start, length, ENTRIES_A_FILE * (most_files + 100))
        try:
            self._zip = zipfile.ZipFile(cast("IO[bytes]", window))
            entries = self._zip.infolist()
        except _TooManyEntries:
            raise _too_many(most_files) from None
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError):
            raise Problem(422, "damaged", "The ZIP is damaged: its list of files cannot be read.") from None
        window.entries = None
        self._entries = [e for e in entries if not (e.is_dir() or _is_litter(e.filename))]
        if not self._entries:
            raise Problem(422, "empty", "The ZIP holds no files.")
        if len(self._entries) > most_files:
            raise _too_many(most_files)
        self._left = EXPANSION * length
        if sum(e.file_size for e in self._entries) > self._left:
            raise Problem(422, "zip-bomb", f"The ZIP unpacks to more than {EXPANSION} times its size.")

    def __len__(self) -> int:
        return len(self._entries)

    def files(self, most_bytes: int) -> Iterator[bytes | ImageError]:
        """The bytes of each file, or why it cannot be read. What is unpacked is counted, whatever the ZIP states."""
        for entry in self._entries:
            yield self._read(entry, most_bytes)

    def _read(self, entry: zipfile.ZipInfo, most: int) -> bytes | ImageError:
        if entry.flag_bits & 1:
            return ImageError("unreadable", "The file is encrypted.")
        if entry.compress_type not in READABLE_METHODS:
            return ImageError("unreadable", "The file is compressed in a way that is not read; use an ordinary ZIP.")
        try:
            with self._zip.open(entry) as file:
                data = file.read(min(most, max(self._left, 0)) + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError):
            return ImageError("damaged", "The file is damaged within the ZIP.")
        self._left -= len(data)
        if len(data) > most or self._left < 0:
            return ImageError("too-large", "The file is larger than this server reads.")
        return data


def _too_many(most: int) -> Problem:
    return Problem(413, "too-many-files", f"The ZIP holds more than {most:,} files. Send several smaller ones.")


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")
