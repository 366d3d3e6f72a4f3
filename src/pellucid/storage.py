"""Where things are kept between commands, and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import InputError, ResourceError
from .stopping import keeping, stoppable


def cache_folder() -> Path | None:
    """The folder for decoded images: $PELLUCID_CACHE, or pellucid under the user's cache folder; "" switches it off."""
    chosen = os.environ.get("PELLUCID_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pellucid"


LOCK = "lock"
KEPT_TO_RESUME = {LOCK, "checkpoints", "tensorboard", "sealed-test.json"}
# What a resumed run must have in common with the unfinished one, and what each file holds.
COMPARED = {"recipe.toml": "recipe", "split.csv": "data or its split", "plan.json": "plan of folds, seeds or shares"}

ASIDE = ".before"
"""The ending of the old file while a new one is written."""


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A draft folder beside `out` that gets its name when the body ends well, and is removed when it does not.

    Raises InputError when `out` is there already (an empty folder is taken), ResourceError when the disk is full.
    """
    out = out.resolve()
    refuse_taken(out)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    _make(draft)
    try:
        with full_disk_named(out.parent):
            with stoppable(signal.SIGTERM):
                yield draft
            final = _free(out)
            draft.rename(final)
        if final != out:
            raise InputError(f"{out} was written by another program meanwhile; the result is in {final} instead.")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def refuse_taken(out: Path, parameter: str = "out") -> None:
    """Raise InputError, which names the parameter, when `out` is there already; an empty folder is taken."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} is already there and not empty; nothing is overwritten. "
            f"Choose another `{parameter}=`, or remove it."
        )


def _make(draft: Path) -> None:
    try:
        draft.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{draft.parent} cannot be written to ({error.strerror}). Choose another `out=`.") from error


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Raise ResourceError, with what to do, where the disk that holds `folder` is full or too many files are open."""
    try:
        yield
    except OSError as error:
        if (reason := exhausted(error, folder)) is None:
            raise
        raise ResourceError(reason) from error


def exhausted(error: OSError, folder: Path | None = None) -> str | None:
    """What to do about an error that says that disk space or open files ran out; None for any other error."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        where = f"that holds {folder}" if folder else f"with {error.filename}" if error.filename else "written to"
        return f"The disk {where} is full. Make room, or choose another `out=`."
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "Too many files are open at once. Raise the limit (`ulimit -n 1024`) and run the command again."
    return None


@contextmanager
def resumable_folder(out: Path, *, resume: bool) -> Iterator[Path]:
    """A draft folder for a run, as `new_folder`, that stays when the body fails after the first epoch is on disk.

    It is `.NAME.unfinished` beside `out`. With `resume` an unfinished run is resumed; without, InputError is raised for
    it, so that hours are not lost by a slip. An interruption and a ResourceError say where it is.
    """
    out = out.resolve()
    refuse_taken(out)
    draft = draft_of(out)
    with locked(draft, out):
        try:
            _clear(draft, out, resume=resume)
            with stoppable(signal.SIGTERM), keeping(lambda: _what_is_kept(draft)), full_disk_named(out.parent):
                yield draft
            (draft / LOCK).unlink()
            final = _free(out)
            draft.rename(final)
        except BaseException:
            if not _epochs_kept(draft):
                shutil.rmtree(draft, ignore_errors=True)
            raise
    if final != out:
        raise InputError(f"{out} was written by another program meanwhile; the result is in {final} instead.")


def _clear(draft: Path, out: Path, *, resume: bool) -> None:
    """Remove from a draft what a run begins with; InputError where it holds a run that is not to be resumed."""
    refuse_taken(out)  # another program may have finished since it was looked at
    if _epochs_kept(draft) and not resume:
        raise InputError(f"{draft} holds an unfinished run: add `resume=True` to resume it, or remove that folder.")
    for part in draft.iterdir():
        if part.name not in KEPT_TO_RESUME and not (resume and part.name.removesuffix(ASIDE) in COMPARED):
            shutil.rmtree(part) if part.is_dir() else part.unlink()


def draft_of(out: Path) -> Path:
    """Where the run that is to become `out` is while it is unfinished."""
    out = out.resolve()
    return out.with_name(f".{out.name}.unfinished")


def _what_is_kept(draft: Path) -> str:
    if not _epochs_kept(draft):
        return ""
    return f"Finished epochs are kept in {draft}: add `resume=True` to the same command to resume it."


def _epochs_kept(draft: Path) -> bool:
    """Whether a training has left an epoch to resume from, or several trainings one that is done."""
    kept = draft / "checkpoints"
    return any(kept.rglob("*stage-*.safetensors")) or any(kept.glob("trial-*.json"))


@contextmanager
def the_same_as_before(
    draft: Path, *names: str, same: Mapping[str, Callable[[bytes, bytes], bool]] | None = None
) -> Iterator[None]:
    """Let the body write these files of COMPARED; InputError where a run is resumed and they differ.

    `same` compares the old bytes of a file with the new ones; equal bytes are always the same. Whatever happens in the
    body or ends this process, the old files stay until the new ones are whole.
    """
    if not _epochs_kept(draft):
        yield
        return
    for aside in draft.glob(f"*{ASIDE}"):  # left by a process that was killed below
        aside.replace(aside.with_name(aside.name.removesuffix(ASIDE)))
    before = {name: draft / name for name in COMPARED if (draft / name).is_file()}
    if set(before) != set(names):
        raise _different(draft, "kind")
    old = {path: path.replace(path.with_name(path.name + ASIDE)) for path in before.values()}
    try:
        yield
        for path, aside in old.items():
            _compare(aside.read_bytes(), path, (same or {}).get(path.name))
    except BaseException:
        for path, aside in old.items():
            aside.replace(path)
        raise
    for aside in old.values():
        aside.unlink()


def _compare(then: bytes, path: Path, same: Callable[[bytes, bytes], bool] | None) -> None:
    now = path.read_bytes()
    if now != then and not (same is not None and same(then, now)):
        raise _different(path.parent, COMPARED[path.name])


def _different(draft: Path, what: str) -> InputError:
    hint = f" A shipped recipe may have changed since: give {draft / 'recipe.toml'}." if what == "recipe" else ""
    return InputError(
        f"The {what} of the unfinished run in {draft} is not what is given now: "
        f"repeat the command as it was and add `resume=True`, or remove that folder.{hint}"
    )


@contextmanager
def locked(folder: Path, out: Path) -> Iterator[None]:
    """Make `folder` if need be, and hold a lock on it, which ends with this process however it ends.

    Raises InputError where another program holds it: it is writing `out`. The body may move the folder or remove the
    lock's file; where it is still there, it is removed at the end.
    """
    while True:
        _make(folder)
        try:
            lock = (folder / LOCK).open("w")
        except FileNotFoundError:  # the program that held it has just moved the folder
            continue
        with lock:
            _lock(lock, out)
            if not _is_at(lock, folder / LOCK):  # it was removed between opening and locking: nobody is kept out
                continue
            try:
                yield
            finally:
                if _is_at(lock, folder / LOCK):
                    with suppress(OSError):
                        (folder / LOCK).unlink()
        return


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _lock(lock: IO[str], out: Path) -> None:
    """Hold a file as long as this process lives; InputError when another one does."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs of one name are the user's to avoid
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"Another program is writing {out} just now. Choose another `out=`.") from None
    except OSError:  # a file system without locks
        return


def _free(out: Path) -> Path:
    """`out`, when nothing or an empty folder is there, otherwise the first free name after it."""
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    names = (out if number == 1 else out.with_name(f"{out.name}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())
