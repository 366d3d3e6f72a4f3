"""Images out of a ZIP that a client sent, without believing what it says of itself."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator

from ..errors import ImageError
from .problems import Problem

EXPANSION = 20
"""How many times its own size a ZIP may unpack to in all; photographs and films hardly shrink."""
READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive:
    """The files of a ZIP in its order, without folders and what a file manager adds. Names are not kept."""

    def __init__(self, data: bytes, most_files: int) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            entries = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError):
            raise Problem(422, "damaged", "The ZIP is damaged: its list of files cannot be read.") from None
        self._entries = [e for e in entries if not (e.is_dir() or _is_litter(e.filename))]
        if not self._entries:
            raise Problem(422, "empty", "The ZIP holds no files.")
        if len(self._entries) > most_files:
            raise Problem(
                413, "too-many-files", f"The ZIP holds more than {most_files:,} files. Send several smaller ones."
            )
        self._left = EXPANSION * len(data)
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


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")
