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
from typing import IO

from .errors import InputError, ResourceError


def cache_folder() -> Path | None:
    """The folder for decoded images: $PELLUCID_CACHE, or pellucid under the user's cache folder; "" switches it off."""
    chosen = os.environ.get("PELLUCID_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pellucid"


LOCK = "lock"
KEPT_TO_RESUME = {LOCK, "checkpoints", "tensorboard"}
# What a run that goes on must have in common with what was broken off, and what each holds.
COMPARED = {"recipe.toml": "recipe", "split.csv": "data or its split", "plan.json": "plan of folds, seeds or shares"}


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A draft folder beside `out` that gets its name when the body ends well, and is removed when it does not.

    Raises InputError when `out` is there already (an empty folder is taken), ResourceError when the disk is full.
    """
    out = out.resolve()
    _refuse_taken(out)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    _make(draft)
    try:
        with _full_disk_named(out):
            with _terminated_as_exit():
                yield draft
            final = _free(out)
            draft.rename(final)
        if final != out:
            raise InputError(f"{out} was written by another program meanwhile; the result is in {final} instead.")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _refuse_taken(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} is already there and not empty; nothing is overwritten. Choose another --out, or remove it."
        )


def _make(draft: Path) -> None:
    try:
        draft.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{draft.parent} cannot be written to ({error.strerror}). Choose another --out.") from error


@contextmanager
def _full_disk_named(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceError(
                f"The disk that holds {out.parent} is full. Make room, or choose another --out."
            ) from error
        raise


@contextmanager
def resumable_folder(out: Path, *, resume: bool) -> Iterator[Path]:
    """A draft folder for a run, as `new_folder`, that stays when the body fails after the first epoch is on disk.

    It is `.NAME.unfinished` beside `out`. With `resume` the one that is there is gone on with; without, InputError is
    raised for it, so that hours are not lost by a slip. Its name is in the message of what broke the body off.
    """
    out = out.resolve()
    _refuse_taken(out)
    draft = draft_of(out)
    _make(draft)
    with (draft / LOCK).open("w") as lock:
        _lock(lock, out)
        if _epochs_kept(draft) and not resume:
            raise InputError(f"{draft} holds an unfinished run: add --resume to go on with it, or remove that folder.")
        for part in draft.iterdir():
            if part.name not in KEPT_TO_RESUME and not (resume and part.name in COMPARED):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        try:
            with _terminated_as_exit(), _full_disk_named(out):
                yield draft
            (draft / LOCK).unlink()
            final = _free(out)
            draft.rename(final)
        except BaseException as error:
            if not _epochs_kept(draft):
                shutil.rmtree(draft, ignore_errors=True)
                raise
            kept = f"Finished epochs are kept in {draft}: the same command with --resume goes on."
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(kept) from error
            if isinstance(error, ResourceError):
                raise ResourceError(f"{error} {kept}") from error
            raise
    if final != out:
        raise InputError(f"{out} was written by another program meanwhile; the result is in {final} instead.")


def draft_of(out: Path) -> Path:
    """Where the run that is to become `out` is while it is unfinished."""
    out = out.resolve()
    return out.with_name(f".{out.name}.unfinished")


def _epochs_kept(draft: Path) -> bool:
    """Whether a training has left an epoch to go on from, or several trainings one that is done."""
    kept = draft / "checkpoints"
    return any(kept.rglob("*stage-*.safetensors")) or any(kept.glob("trial-*.json"))


@contextmanager
def the_same_as_before(draft: Path, *names: str) -> Iterator[None]:
    """Let the body write these files of COMPARED; InputError where a run goes on and they are not what they were."""
    before = {path: path.read_bytes() for name in COMPARED if (path := draft / name).is_file()}
    if _epochs_kept(draft) and {path.name for path in before} != set(names):
        raise _different(draft, "kind")
    yield
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)
            raise _different(draft, COMPARED[path.name])


def _different(draft: Path, what: str) -> InputError:
    return InputError(
        f"The {what} of the unfinished run in {draft} is not what is given now: "
        "repeat the command as it was and add --resume, or remove that folder."
    )


def _lock(lock: IO[str], out: Path) -> None:
    """Hold a file as long as this process lives, however it ends; InputError when another one does."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs of one name are the user's to avoid
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"Another program is writing {out} just now. Choose another --out.") from None
    except OSError:  # a file system without locks
        return


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
