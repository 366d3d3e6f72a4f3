"""A dataset from Kaggle, or a zip archive from the web, into a folder.

An archive is not trusted: no entry is written outside the folder, links are left out, and neither what is downloaded
nor what it unpacks to may exceed a limit or the room that is left.
"""

from __future__ import annotations

import errno
import json
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..errors import InputError
from ..progress import Progress, Silent
from .dataset import Skipped

RECORD = "pellucid-download.json"
LIMIT = 50 * 10**9
MOST_FILES = 5_000_000
CHUNK = 1 << 20
SECONDS = 60.0
FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
KAGGLE = re.compile(
    r"(?:kaggle:|https?://(?:www\.)?kaggle\.com/datasets/)"
    r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:/versions/(?P<version>\d+))?/?"
)
TOKEN = (
    "Create a token at https://www.kaggle.com/settings/api (Generate New Token) and put it into the file "
    "~/.kaggle/access_token or the variable KAGGLE_API_TOKEN; an older kaggle.json belongs in ~/.kaggle/, or its two "
    "values in KAGGLE_USERNAME and KAGGLE_KEY."
)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was unpacked: number of `files` and their `bytes`, and what was left out.

    `version` and `licence` are as Kaggle states them, None and "" where it states none; `sha256` is that of the archive.
    """

    source: str
    files: int
    bytes: int
    sha256: str
    version: int | None = None
    licence: str = ""
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stream:
    """An answer that is to be read: its parts, its length where it was announced, and what reading it may raise."""

    parts: Iterator[bytes]
    length: int | None
    failures: tuple[type[Exception], ...]
    version: int | None = None
    licence: str = ""


def download_dataset(source: str, out: Path, *, limit: int = LIMIT, progress: Progress | None = None) -> Downloaded:
    """Download `kaggle:OWNER/NAME`, the address of a dataset's page there, or the http(s) address of a zip archive.

    `out` is an empty folder, which is filled with what the archive holds and with `pellucid-download.json`, which says
    where it came from. Neither the archive nor its contents may exceed `limit` bytes. A Kaggle dataset needs the extra
    `kaggle`, and an account unless it is public.

    Raises InputError for a source that is unknown, refused, or no archive that can be trusted; ResourceError when the
    network or the disk gives out, or the limit does not suffice; MissingDependencyError without kagglehub.
    """
    shown = progress or Silent()
    archive = out / ".archive.part"
    found = KAGGLE.fullmatch(source)
    opened = _kaggle_stream(found["owner"], found["name"], found["version"]) if found else _web_stream(source)
    with opened as stream:
        sha256 = _save(stream, archive, limit, shown)
    files, size, skipped = unpack(archive, out, limit=limit, progress=shown)
    archive.unlink()
    plain = source if found else urlsplit(source)._replace(query="", fragment="").geturl()
    done = Downloaded(plain, files, size, sha256, stream.version, stream.licence, skipped)
    record = {"source": plain, "version": stream.version, "licence": stream.licence, "files": files, "bytes": size}
    text = json.dumps(record | {"archive_sha256": sha256}, indent=2, ensure_ascii=False)
    (out / RECORD).write_text(text + "\n", encoding="utf-8")
    return done


def unpack(
    archive: Path, out: Path, *, limit: int = LIMIT, progress: Progress | None = None
) -> tuple[int, int, tuple[Skipped, ...]]:
    """Unpack a zip archive into the folder `out`; returns the number of files, their bytes, and what was left out.

    Left out are links and the like, and names that the disk refuses. Raises InputError, before anything is written, for
    an archive with an entry that leads outside `out`, with a password or of more than `limit` bytes unpacked, and
    for one that is damaged; ResourceError when there is no room.
    """
    with _trusted(archive) as opened:
        entries = [(info, _place(info.filename)) for info in opened.infolist() if not info.is_dir()]
        if len(entries) > MOST_FILES or any(info.flag_bits & 1 for info, _ in entries):
            why = (
                "is protected by a password" if len(entries) <= MOST_FILES else f"holds more than {MOST_FILES:,} files"
            )
            raise InputError(f"The archive {why}: unpack it by hand.")
        total = sum(info.file_size for info, _ in entries)
        _check_size("The archive unpacks to", total, out, limit)
        files, size, skipped = 0, 0, []
        with (progress or Silent()).bar("Unpacking") as advance:
            for done, (info, place) in enumerate(entries, 1):
                kind = stat.S_IFMT(info.external_attr >> 16)
                refused = (
                    "link, or no plain file" if kind not in (0, stat.S_IFREG) else _extract(opened, info, out / place)
                )
                if refused:
                    skipped.append(Skipped(place, refused))
                else:
                    files, size = files + 1, size + info.file_size
                advance(done, len(entries))
    return files, size, tuple(skipped)


@contextmanager
def _trusted(archive: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, and one sentence for whatever is wrong inside it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except (zipfile.BadZipFile, EOFError) as error:
        with archive.open("rb") as file:
            start = file.read(512).lstrip()
        page = (
            " What came is a web page: its address, or one that asks for a login, is no direct link."
            if start[:1] == b"<"
            else ""
        )
        raise InputError(f"What was downloaded is no zip archive, or a damaged one ({error}).{page}") from None


def _place(name: str) -> str:
    """Where an entry goes, relative to the folder. Raises InputError when that would be outside."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or not path.parts:
        raise InputError(
            f"The archive holds {name[:200]!r}, which would be written outside its folder: it is not to be trusted, and "
            "nothing was unpacked."
        )
    return str(path)


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> str:
    """Write one entry; returns why it was left out, or ""."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except FileExistsError:
        return "is in the archive twice"
    except OSError as error:
        if error.errno in FULL:
            raise _no_room(target.parent) from error
        return f"cannot be written ({error.strerror})"
    with file, _reading(opened, info) as entry:
        while part := entry.read(CHUNK):
            _write(file, part, target)
    return ""
