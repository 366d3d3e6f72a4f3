"""The node's folder: films that wait, results that wait for the archive, and dead letters, each a file that is whole.

An object is on disk, synced, before anyone is told that it was taken. Only the node's own user may look into it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import InputError, ResourceError

PLACES = ("films", "outbox", "dead", "flagged")
_NAME = re.compile(r"[0-9.]{1,64}\.dcm")


def is_uid(text: str) -> bool:
    """Whether a text can name an object: digits and points, at most 64."""
    return _NAME.fullmatch(f"{text}.dcm") is not None


class FilmSpool:
    """The folder `root` with one folder for each of `PLACES`. Raises ResourceError where it cannot be made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for folder in (root, *(root / place for place in PLACES)):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                folder.chmod(0o700)
        except OSError as error:
            raise ResourceError(f"The state folder {root} cannot be made ({error.strerror}).") from None

    def path(self, place: str, uid: str) -> Path:
        """Where the object with this UID is, or would be, in one of `PLACES`. InputError for what is no UID."""
        if not is_uid(uid):
            raise InputError("The object's UID is not a UID.")
        return self.root / place / f"{uid}.dcm"

    def keep(self, place: str, uid: str, data: bytes) -> Path:
        """Write an object so that it is whole and on disk, or absent. Raises OSError, also for a full disk."""
        path = self._put(place, uid, [data])
        _sync(path.parent)
        return path

    def keep_all(self, place: str, objects: Iterable[tuple[str, Sequence[bytes]]]) -> None:
        """Write several objects (UID, parts of the data) as `keep` does; the folder is synced once."""
        for uid, parts in objects:
            self._put(place, uid, parts)
        _sync(self.root / place)

    def _put(self, place: str, uid: str, parts: Sequence[bytes]) -> Path:
        path = self.path(place, uid)
        # A film may come twice at once: each thread writes a file of its own.
        part = path.with_name(f".{uid}.{threading.get_ident()}.{os.getpid()}.part")
        try:
            with open(part, "wb", opener=_private) as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def move(self, uid: str, source: str, target: str) -> bool:
        """Move an object from one place to another; False where it is not there."""
        try:
            self.path(source, uid).rename(self.path(target, uid))
        except FileNotFoundError:
            return False
        return True

    def remove(self, uid: str, places: tuple[str, ...] = PLACES) -> None:
        """Remove an object from places."""
        for place in places:
            self.path(place, uid).unlink(missing_ok=True)

    def uids(self, place: str) -> Iterator[str]:
        """The objects of a place, the oldest first."""
        found = []
        for path in (self.root / place).iterdir():
            if _NAME.fullmatch(path.name):
                try:
                    found.append((path.stat().st_mtime_ns, path.name))
                except FileNotFoundError:
                    continue
        return (name.removesuffix(".dcm") for _, name in sorted(found))

    def older(self, place: str, days: float) -> Iterator[str]:
        """The objects of a place that were written more than `days` ago."""
        before = time.time() - days * 86400
        for uid in self.uids(place):
            with contextlib.suppress(FileNotFoundError):
                if self.path(place, uid).stat().st_mtime < before:
                    yield uid

    def sweep(self) -> None:
        """Remove what writers that were killed left behind."""
        for place in PLACES:
            for part in (self.root / place).glob(".*.part"):
                owner = part.name.rsplit(".", 2)[-2]
                if not (owner.isdecimal() and Path(f"/proc/{owner}").exists()):
                    part.unlink(missing_ok=True)

    def free_mb(self) -> float:
        """Megabytes free on the disk."""
        return shutil.disk_usage(self.root).free / 1e6


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
