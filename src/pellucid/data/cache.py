"""The decoded and resized images of a dataset as one array, so that only the first epoch decodes.

A cache is one file: the pixels, then a manifest in JSON, then the manifest's length and a magic word. It is written
under another name and renamed, so that a build that dies leaves nothing behind that could be read. It counts as long
as every file has the size and time of change that it had; where only the time differs (a copy, a checkout) the
contents are compared instead. The pixels themselves are not checked again: that would cost as much as reading them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import DataError, ImageError, ResourceError
from ..images.pictures import open_picture, read_file
from ..preprocessing import Preprocessing, Uint8Array
from .dataset import Dataset, OmittedFile, Sample

MAGIC = b"PELLUCID"
VERSION = 1
GEOMETRY = ("height", "width", "fit", "crop_share", "interpolation", "fill")
ABANDONED_SECONDS = 3600

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CachedPixels:
    """The images of a dataset as a model sees them, before normalisation.

    `pixels` (N, height, width, 3) uint8, read-only, a memory map where a folder was given. `dataset` holds the N
    samples that could be read, with the others added to `dataset.skipped`; `index` (N,) are their positions in the
    dataset that was asked for.
    """

    pixels: Uint8Array
    dataset: Dataset
    index: npt.NDArray[np.intp]


class _Stamp(NamedTuple):
    """What tells whether a file is still the same; -1 and "" for a file that is not there."""

    size: int
    changed: int
    content: str


class _Outcome(NamedTuple):
    stamp: _Stamp
    pixels: Uint8Array | None
    reason: str


def cached_pixels(
    dataset: Dataset,
    preprocessing: Preprocessing,
    folder: Path | None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CachedPixels:
    """Decode and resize every image of `dataset` once, in `workers` threads (default: one a core).

    With a `folder` the result is kept there, one file per dataset and geometry, and taken from there as long as no
    image has changed; memory stays at a few images a thread. Without one, all of it is held in memory.
    `progress(done, total)` is called in order from the calling thread.

    Raises DataError when none of the images can be read, ResourceError when the folder or memory cannot hold them.
    """
    if not len(dataset):
        return _result(dataset, np.empty(_shape(0, preprocessing), np.uint8), [], [])
    if folder is None:
        return _in_memory(dataset, preprocessing, workers, progress)
    path = folder / f"pixels-{_key(dataset, preprocessing)}.cache"
    found = _open(path, dataset, preprocessing)
    if found is None:
        with _disk(folder, math.prod(_shape(len(dataset), preprocessing))):
            _build(path, dataset, preprocessing, workers, progress)
        found = _open(path, dataset, preprocessing, trusted=True)
    if found is None:
        raise ResourceError(f"The cache in '{folder}' was changed while it was written; run it again.")
    return found


def _result(
    dataset: Dataset, pixels: Uint8Array, index: Sequence[int], skipped: Sequence[tuple[str, str]]
) -> CachedPixels:
    kept = tuple(dataset.samples[i] for i in index)
    more = tuple(OmittedFile(path, reason) for path, reason in skipped)
    pixels.flags.writeable = False
    return CachedPixels(
        pixels, replace(dataset, samples=kept, skipped=dataset.skipped + more), np.array(index, dtype=np.intp)
    )


def _shape(count: int, preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    return count, preprocessing.height, preprocessing.width, 3


def _key(dataset: Dataset, preprocessing: Preprocessing) -> str:
    """A name for these files, in this order, at this geometry."""
    geometry = [getattr(preprocessing, name) for name in GEOMETRY]
    # Only where it is not as it always was, so that caches of earlier versions are found.
    geometry += [preprocessing.decode] * (preprocessing.decode != "draft")
    what = [VERSION, str(dataset.root.resolve()), [s.path for s in dataset.samples], geometry]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _decoded(dataset: Dataset, preprocessing: Preprocessing, workers: int | None) -> Generator[_Outcome, None, None]:
    """Every sample's outcome, in order, a few images a thread ahead of what was taken."""

    def load(sample: Sample) -> _Outcome:
        path = dataset.file(sample)
        size, changed = _size_and_time(path)
        try:
            data = read_file(path)
        except ImageError as error:
            return _Outcome(_Stamp(size, changed, ""), None, error.reason)
        stamp = _Stamp(size, changed, _content(data))
        try:
            picture = open_picture(data, at_least=preprocessing.decode_size)
        except ImageError as error:
            return _Outcome(stamp, None, error.reason)
        return _Outcome(stamp, preprocessing.resize_image(picture), "")

    count = workers or _cores()
    executor = ThreadPoolExecutor(count, "decode")
    try:
        waiting: deque[Future[_Outcome]] = deque()
        for sample in dataset.samples:
            waiting.append(executor.submit(load, sample))
            if len(waiting) >= 4 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _collect(
    dataset: Dataset,
    preprocessing: Preprocessing,
    workers: int | None,
    progress: Progress | None,
    take: Callable[[Uint8Array], None],
) -> dict[str, Any]:
    """Hand each good image's pixels to `take` in order, and return the manifest."""
    stamps, index, skipped = [], [], []
    with contextlib.closing(_decoded(dataset, preprocessing, workers)) as outcomes:
        for number, outcome in enumerate(outcomes):
            stamps.append(outcome.stamp)
            if outcome.pixels is None:
                skipped.append((dataset.samples[number].path, outcome.reason))
            else:
                index.append(number)
                take(outcome.pixels)
            if progress:
                progress(number + 1, len(dataset))
    if not index:
        path, reason = skipped[0]
        raise DataError(f"None of the {len(dataset)} images can be read; the first, '{path}': {reason}")
    return {"version": VERSION, "files": stamps, "index": index, "skipped": skipped}


def _in_memory(
    dataset: Dataset, preprocessing: Preprocessing, workers: int | None, progress: Progress | None
) -> CachedPixels:
    try:
        pixels = np.empty(_shape(len(dataset), preprocessing), np.uint8)
    except MemoryError:
        needed = math.prod(_shape(len(dataset), preprocessing))
        reason = f"There is no memory for the decoded images, which need {needed:,} bytes; keep them in a folder."
        raise ResourceError(reason) from None
    places = iter(pixels)
    manifest = _collect(dataset, preprocessing, workers, progress, lambda image: np.copyto(next(places), image))
    return _result(dataset, pixels[: len(manifest["index"])], manifest["index"], manifest["skipped"])


def _build(
    path: Path, dataset: Dataset, preprocessing: Preprocessing, workers: int | None, progress: Progress | None
) -> None:
    path.unlink(missing_ok=True)
    for old in path.parent.glob(f"{path.name}.*.partial"):
        # Left by a process that was killed; one that still builds has written to its file lately.
        if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
            old.unlink(missing_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            manifest = _collect(dataset, preprocessing, workers, progress, lambda image: _write(file, image))
            text = json.dumps(manifest).encode()
            file.write(text + struct.pack("<Q", len(text)) + MAGIC)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(file: BinaryIO, image: Uint8Array) -> None:
    file.write(np.ascontiguousarray(image).data)


@contextlib.contextmanager
def _disk(folder: Path, needed: int) -> Iterator[None]:
    """Make `folder`, check that it has room, and turn what the disk refuses into a ResourceError."""
    full = (
        f"There is no room in '{folder}' for the decoded images, which need {needed:,} bytes; "
        "free some, or choose another folder for the cache."
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < needed:
            raise ResourceError(full)
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(full) from error
        reason = error.strerror or "input/output error"
        raise ResourceError(f"The decoded images cannot be kept in '{folder}': {reason}.") from error


def _open(path: Path, dataset: Dataset, preprocessing: Preprocessing, trusted: bool = False) -> CachedPixels | None:
    """The cache at `path`, or None when it is missing or incomplete, or (unless `trusted`) a file changed."""
    try:
        with path.open("rb") as file:
            end = file.seek(-16, os.SEEK_END)
            length, magic = struct.unpack("<Q8s", file.read())
            if magic != MAGIC or length > end:
                return None
            file.seek(end - length)
            manifest = json.loads(file.read(length))
    except (OSError, ValueError):
        return None
    if manifest.get("version") != VERSION:
        return None
    shape = _shape(len(manifest["index"]), preprocessing)
    if math.prod(shape) + length != end:
        return None
    if not trusted and not _unchanged(dataset, manifest["files"]):
        return None
    pixels = np.memmap(path, np.uint8, "r", shape=shape)
    return _result(dataset, pixels, manifest["index"], manifest["skipped"])


def _unchanged(dataset: Dataset, files: Sequence[Sequence[Any]]) -> bool:
    if len(files) != len(dataset):
        return False
    for sample, stamp in zip(dataset.samples, files, strict=True):
        before, path = _Stamp(*stamp), dataset.file(sample)
        size, changed = _size_and_time(path)
        if size != before.size:
            return False
        if changed != before.changed:
            try:
                if _content(read_file(path)) != before.content:
                    return False
            except ImageError:
                return False
    return True


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _content(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
