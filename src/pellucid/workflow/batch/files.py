"""Local files and URLs (s3://, gs://, https://, ...) behind one set of functions; fsspec only where there is a URL."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..._optional import require
from ...data.walk import is_passed_over_in
from ...errors import InputError, MissingDependencyError, ResourceError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


def is_url(path: str) -> bool:
    """Whether `path` is a URL rather than a local path."""
    return _URL.match(path) is not None


def located(path: str) -> str:
    """A local path made absolute, so that a batch can be resumed from another folder; a URL as it is."""
    return path if is_url(path) else os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - keeps links as they are


def parent(path: str) -> str:
    """The folder of a file, local or by URL."""
    return path.rpartition("/")[0] if is_url(path) else str(Path(path).parent)


def join(folder: str, path: str) -> str:
    """`path` below `folder`, unless it is absolute or a URL itself."""
    if is_url(path):
        return path
    return f"{folder}/{path.lstrip('/')}" if is_url(folder) else os.path.abspath(Path(folder) / path)  # noqa: PTH100


def exists(path: str) -> bool:
    """Whether there is a file or folder at `path`."""
    return bool(_remote(path, "exists")) if is_url(path) else Path(path).exists()


def is_folder(path: str) -> bool:
    """Whether `path` is a folder; a prefix, on an object store."""
    if not is_url(path):
        return Path(path).is_dir()
    return not _MAGIC.search(path) and bool(_remote(path, "isdir"))


def expand(pattern: str) -> list[str]:
    """The paths that match a pattern with * ? [ ] or **, sorted."""
    if not _MAGIC.search(pattern):
        return []
    if is_url(pattern):
        file_system, _ = _file_system(pattern)
        return [str(file_system.unstrip_protocol(p)) for p in sorted(_remote(pattern, "glob"))]
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - a pattern may be absolute


def children(folder: str) -> Iterator[str]:
    """The files below a URL's folder in a fixed order, without what is passed over (see `data/walk.py`)."""
    file_system, root = _file_system(folder)
    for path in sorted(_remote(folder, "find")):
        if not is_passed_over_in(path[len(root) :]):
            yield str(file_system.unstrip_protocol(path))


def open_binary(path: str) -> BinaryIO:
    """Open a local file or a URL for reading bytes."""
    if not is_url(path):
        return Path(path).open("rb")
    file_system, inside = _file_system(path)
    return cast(BinaryIO, file_system.open(inside, "rb"))


def _file_system(url: str) -> tuple[Any, str]:
    fsspec = require("fsspec", extra="ray")
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(f"{url} cannot be reached: {error}.") from error
    except ValueError as error:
        raise InputError(f"{url} is not a URL that can be read: {error}.") from error
    return file_system, str(path)


def _remote(url: str, ask: str) -> Any:
    file_system, path = _file_system(url)
    try:
        return getattr(file_system, ask)(path)
    except FileNotFoundError:
        return []
    except Exception as error:  # the file systems of clouds share no base of their errors
        raise ResourceError(f"{url} cannot be reached ({type(error).__name__}: {error}).") from error
