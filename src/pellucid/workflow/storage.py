"""Where things are kept between commands, and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ..errors import InputError, ResourceError


def cache_folder() -> Path | None:
    """The folder for decoded images: $PELLUCID_CACHE, or pellucid under the user's cache folder; "" switches it off."""
    chosen = os.environ.get("PELLUCID_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pellucid"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A draft folder beside `out` that gets its name when the body ends well, and is removed when it does not.

    Raises InputError when `out` is there already (an empty folder is taken), ResourceError when the disk is full.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} is already there and not empty; nothing is overwritten. Choose another --out, or remove it."
        )
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
    except OSError as error:
        raise InputError(f"{out.parent} cannot be written to ({error.strerror}). Choose another --out.") from error
    try:
        with _terminated_as_exit():
            yield draft
        final = _free(out)
        draft.rename(final)
        if final != out:
            raise InputError(f"{out} was written by another program meanwhile; the result is in {final} instead.")
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceError(
                f"The disk that holds {out.parent} is full. Make room, or choose another --out."
            ) from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _free(out: Path) -> Path:
    """`out`, when nothing or an empty folder is there, otherwise the first free name after it."""
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    names = (out if number == 1 else out.with_name(f"{out.name}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that what was begun is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
