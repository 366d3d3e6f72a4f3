"""Unpacking a zip archive that is not trusted.

No entry is written outside the folder, links are left out, and what it unpacks to may not exceed a limit or the room
that is left. Sizes are taken from the archive's directory; an entry that holds more than is stated there is damaged.
"""

from __future__ import annotations

import errno
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import InputError, ResourceError
from ..progress import Progress, Silent
from .dataset import OmittedFile
from .walk import is_made_by_system

MOST_FILES = 5_000_000
CHUNK = 1 << 20
FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


def unpack(
    archive: Path, out: Path, *, limit: int, progress: Progress | None = None
) -> tuple[int, int, tuple[OmittedFile, ...]]:
    """Unpack `archive` into the folder `out`; returns the number of files, their bytes, and what was left out.

    Left out are links and devices, entries whose place is taken, and names that the disk refuses; folders that a system
    made for itself are passed over. Raises InputError for
    an archive with a password, for one that is damaged and, before anything is written, for one with an entry that
    leads outside `out`; ResourceError when it unpacks to more than `limit` bytes or there is no room.
    """
    with _opened(archive) as opened:
        places = [(info, _place(info.filename)) for info in opened.infolist() if not info.is_dir()]
        entries = [(info, place) for info, place in places if not is_made_by_system(place)]
        if len(entries) > MOST_FILES:
            raise InputError(f"The archive holds {len(entries):,} files, and at most {MOST_FILES:,} are unpacked.")
        if any(info.flag_bits & 1 for info, _ in entries):
            raise InputError("The archive is protected by a password: unpack it by hand.")
        check_size("The archive unpacks to", sum(info.file_size for info, _ in entries), out, limit)
        files, size = 0, 0
        skipped: list[OmittedFile] = []
        with (progress or Silent()).bar("Unpacking") as advance:
            for done, (info, place) in enumerate(entries, 1):
                refused = _extract(opened, info, out / place)
                if refused:
                    skipped.append(OmittedFile(place, refused, "place-taken"))
                else:
                    files, size = files + 1, size + info.file_size
                advance(done, len(entries))
    return files, size, tuple(skipped)


def check_size(what: str, size: int, folder: Path, limit: int) -> None:
    """Raise ResourceError when `size` bytes exceed `limit` or the room in `folder`."""
    check_limit(what, size, limit)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ResourceError(
            f"{what} {_gigabytes(size)}, and the disk has room for {_gigabytes(free)}: make room, or choose another "
            "folder."
        )


def check_limit(what: str, size: int, limit: int) -> None:
    """Raise ResourceError when `size` bytes exceed `limit`."""
    if size > limit:
        raise ResourceError(f"{what} {_gigabytes(size)}, more than `limit=` allows ({_gigabytes(limit)}): raise it.")


def write_part(file: IO[bytes], part: bytes) -> None:
    """Write to an open file. Raises ResourceError when the disk gives out."""
    try:
        file.write(part)
        file.flush()
    except OSError as error:
        raise _disk_gave_out(error) from error


def _disk_gave_out(error: OSError) -> ResourceError:
    if error.errno in FULL:
        return ResourceError("The disk is full: make room, or choose another folder.")
    return ResourceError(f"Writing failed ({error.strerror}): choose another folder.")


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        opened = zipfile.ZipFile(archive)
    except Exception:
        with archive.open("rb") as file:
            page = file.read(512).lstrip().startswith(b"<")
        why = "but a web page: perhaps a login or a page to click through, and no direct link" if page else "or damaged"
        raise InputError(f"What was downloaded is no zip archive, {why}.") from None
    with opened:
        yield opened


def _place(name: str) -> str:
    """Where an entry goes, relative to the folder. Raises InputError when that would be outside."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", path.parts[0]):
        raise InputError(
            f"The archive holds {name[:200]!r}, which would be written outside the folder: it is not to be trusted, "
            "and nothing was unpacked."
        )
    return str(path)


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> str:
    """Write one entry; returns why it was left out, or ""."""
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link, or no plain file"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except FileExistsError:
        return "its place is taken by another entry"
    except OSError as error:
        if error.errno in FULL:
            raise _disk_gave_out(error) from error
        return f"cannot be written ({error.strerror})"
    with file:
        for part in _parts(opened, info):
            write_part(file, part)
    return ""


def _parts(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The contents of one entry; its length and checksum are compared with what is stated."""
    try:
        with opened.open(info) as entry:
            while part := entry.read(CHUNK):
                yield part
    except Exception as error:
        # On damaged bytes decoders raise nearly anything: BadZipFile, zlib.error, LZMAError, OSError, EOFError, ...
        raise InputError(f"The archive is damaged at {info.filename[:200]!r} ({error}): download it again.") from None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
