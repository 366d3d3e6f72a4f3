"""The bytes of one item, from a file, an archive, a table or a URL. One `Reader` serves all threads of a process."""

from __future__ import annotations

import tarfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any

from ...errors import ImageError, InputError, ResourceError
from ...images.pictures import DEFAULT_LIMITS, Limits, read_file
from ...pacs.dicomweb import DicomwebArchive, is_dicomweb, parse_place
from .files import is_url, open_binary
from .sources import Item
from .tables import open_parquet, read_group

ATTEMPTS, PAUSE = 4, 0.5
"""How many times a URL is read, and the seconds before the first retry (doubled each time)."""

ROW_GROUPS = 2
"""Row groups of Parquet sources kept in memory, shared by all threads."""


class Reader:
    """Reads items and keeps each thread's current archive open. Close it, or use it as a context manager."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._local = threading.local()
        self._opened: list[_Container] = []
        self._archives: list[DicomwebArchive] = []
        self._groups: OrderedDict[tuple[str, str, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file, when no thread is reading."""
        for container in self._opened:
            container.close()
        self._opened.clear()
        for archive in self._archives:
            archive.close()
        self._archives.clear()
        self._groups.clear()
        self._local = threading.local()

    def read(self, item: Item) -> bytes:
        """The bytes of an item. Raises ImageError if it cannot be read, ResourceError if a URL does not respond."""
        if item.problem:
            raise ImageError("unreadable", item.problem)
        where = item.container or item.path
        if item.kind == "file" and not is_url(where):
            return read_file(where, self._limits)
        for attempt in range(ATTEMPTS):
            try:
                return self._bytes(item)
            except ImageError:
                raise
            except FileNotFoundError:
                raise ImageError("missing", f"There is no file at {where[-200:]!r}.") from None
            except PermissionError:
                raise ImageError("unreadable", f"No permission to read {where[-200:]!r}.") from None
            except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError, ValueError):
                raise ImageError(
                    "damaged", f"It cannot be extracted from {where[-200:]!r}, which is damaged."
                ) from None
            except OSError as error:
                if not is_url(where):
                    reason = error.strerror or "it is damaged"
                    raise ImageError("unreadable", f"{where[-200:]!r} cannot be read: {reason}.") from None
                self._forget()
                if attempt == ATTEMPTS - 1:
                    message = f"{where} could not be read in {ATTEMPTS} attempts ({error})."
                    raise ResourceError(message) from error
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _bytes(self, item: Item) -> bytes:
        most = self._limits.file_bytes
        if item.kind == "parquet":
            return self._checked(self._row(item))
        if item.length > most:
            return self._checked(b"", item.length)
        if item.kind == "file" and is_dicomweb(item.path):
            return self._checked(self._archive(item.path).fetch(item.path, most))
        if item.kind == "file":
            with open_binary(item.path) as file:
                return self._checked(file.read(most + 1))
        container = self._container(item.container, open_zip if item.kind == "zip" else open_tar)
        return self._checked(container.read(item.start, item.length, most + 1))

    def _checked(self, data: bytes, size: int = 0) -> bytes:
        if max(len(data), size) > self._limits.file_bytes:
            most = f"{self._limits.file_bytes / 2**20:g} MB"
            raise ImageError("too-large", f"The file is larger than {most}, the most that is read.")
        return data

    def _archive(self, url: str) -> DicomwebArchive:
        """The connection of the calling thread to the archive of a film."""
        try:
            place = parse_place(url)
        except InputError as error:
            raise ImageError("unreadable", str(error)) from None
        held: DicomwebArchive | None = getattr(self._local, "archive", None)
        if held is None or held.place.root != place.root:
            held = self._local.archive = DicomwebArchive(place)
            with self._lock:
                self._archives.append(held)
        return held

    def _container(self, path: str, opening: Callable[[str], _Container]) -> _Container:
        """The archive at `path`, opened by this thread, whose previous archive is closed."""
        held: tuple[str, _Container] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == path:
            return held[1]
        self._forget()
        container = opening(path)
        with self._lock:
            self._opened.append(container)
        self._local.held = (path, container)
        return container

    def _forget(self) -> None:
        held: tuple[str, _Container] | None = getattr(self._local, "held", None)
        if held is not None:
            self._local.held = None
            with self._lock:
                self._opened.remove(held[1])
            held[1].close()

    def _row(self, item: Item) -> bytes:
        key = item.container, item.column, item.start
        with self._lock:
            if key not in self._groups:
                while len(self._groups) >= ROW_GROUPS:
                    self._groups.popitem(last=False)
                self._groups[key] = _row_group(*key)
            self._groups.move_to_end(key)
            column = self._groups[key]
        value = column[item.length].as_py()
        if value is None:
            raise ImageError("empty", "The row holds no bytes.")
        return bytes(value)


def _row_group(path: str, column: str, group: int) -> Any:
    with open_binary(path) as file, open_parquet(file) as table:
        return read_group(table, group, [column]).flatten().column(0)


class _Container:
    """An opened archive: `read` returns at most `most` bytes of one member."""

    def __init__(self, file: IO[bytes], take: Callable[[int, int, int], bytes], close: Callable[[], None]) -> None:
        self._file, self.read, self._close = file, take, close

    def close(self) -> None:
        self._close()
        self._file.close()


def open_zip(path: str) -> _Container:
    """A ZIP archive; members are addressed by their number in the directory."""
    file = open_binary(path)
    try:
        archive = zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise
    members = archive.infolist()

    def take(number: int, length: int, most: int) -> bytes:
        with archive.open(members[number]) as member:
            return member.read(most)

    return _Container(file, take, archive.close)


def open_tar(path: str) -> _Container:
    """A TAR archive; members are addressed by their offset, up to which a compressed archive is decompressed."""
    file = open_binary(path)
    try:
        archive = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115 - closed with the container
    except BaseException:
        file.close()
        raise
    inside = archive.fileobj
    if inside is None:
        raise ValueError("an archive opened for reading has a file")

    def take(start: int, length: int, most: int) -> bytes:
        inside.seek(start)
        data = inside.read(min(length, most))
        if len(data) < length:
            raise EOFError
        return data

    def close() -> None:
        archive.close()
        inside.close()

    return _Container(file, take, close)
