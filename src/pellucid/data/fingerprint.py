"""Which images are the same: by the bytes of the file, and by what they show.

Two images are near-duplicates when their 32x32 grey thumbnails, freed of slow changes of brightness, correlate at 0.95
or more. That finds copies that were re-encoded, resized, brightened, exposed otherwise, mirrored, or cropped by a
hundredth; not those cropped or turned by more. Among 5,232 chest X-rays the two most alike that are not copies reach
0.91, so that likeness of kind is not taken for identity.

All pairs are compared, without hashing and so without chance: by Cauchy-Schwarz the correlation is at most the inner
product of the lowest 128 cosine coefficients plus the product of what is left of either norm, and only the few pairs
whose bound reaches the threshold are correlated in full.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from ..errors import DataError, ImageError
from ..preprocessing import FloatArray, Uint8Array
from .dataset import Dataset

SIDE = 32
BLUR = 2.0
THRESHOLD = 0.95
FLAT = 0.25
COEFFICIENTS = 128
BLOCK = 2048
VERSION = 1

IntArray = npt.NDArray[np.int64]
HalfArray = npt.NDArray[np.float16]
Progress = Callable[[int, int], None]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """What N files are, in the order of `paths` (relative to the dataset's root).

    `contents` are SHA-256 hex digests of the files, "" where a file could not be opened. `thumbnails` (N, 32, 32) are
    grey values 0..255, 0 where an image could not be decoded; `problems` says why, by path.
    """

    paths: tuple[str, ...]
    contents: tuple[str, ...]
    thumbnails: HalfArray
    problems: dict[str, str]

    def of(self, paths: Iterable[str]) -> Fingerprints:
        """The fingerprints of `paths`, in that order. Raises `DataError` for a path that has none."""
        place = {p: i for i, p in enumerate(self.paths)}
        chosen = tuple(paths)
        try:
            order = [place[p] for p in chosen]
        except KeyError as error:
            raise DataError(f"There is no fingerprint of {error.args[0]}: take them of the dataset as it is.") from None
        problems = {p: self.problems[p] for p in chosen if p in self.problems}
        return Fingerprints(chosen, tuple(self.contents[i] for i in order), self.thumbnails[order], problems)


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """Pairs of near-duplicates: `first` < `second` index the images, `correlation` (P,) is at least `threshold`.

    `mirrored` is True where the second image matches the first one's mirror image better.
    """

    first: IntArray
    second: IntArray
    correlation: FloatArray
    mirrored: npt.NDArray[np.bool_]
    threshold: float


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def content_hashes(paths: Sequence[Path], workers: int | None = None) -> list[str]:
    """`content_hash` of many files, in threads; "" for one that cannot be opened."""

    def digest(path: Path) -> str:
        try:
            return content_hash(path)
        except OSError:
            return ""

    return list(_in_threads(digest, paths, workers))


def fingerprint(
    dataset: Dataset, *, cache: Path | None = None, workers: int | None = None, progress: Progress | None = None
) -> Fingerprints:
    """Fingerprints of all images of a dataset, in its order. An image that cannot be decoded is named in `problems`.

    `cache` is a folder in which they are kept; a file whose size and time of change are the same is not read again.
    `progress` is called with (images done, images in all).
    """
    files = [dataset.file(s) for s in dataset.samples]
    paths = tuple(s.path for s in dataset.samples)
    store = None if cache is None else cache / f"fingerprints-{_name_of(dataset.root)}.npz"
    states = [_state(f) for f in files] if store else []
    known = _load(store) if store else {}
    todo = [i for i, p in enumerate(paths) if not (store and p in known and known[p][0] == states[i])]
    contents, problems = [""] * len(files), {}
    thumbnails = np.zeros((len(files), SIDE, SIDE), np.float16)
    for i in set(range(len(files))) - set(todo):
        _, contents[i], thumbnails[i], problem = known[paths[i]]
        if problem:
            problems[paths[i]] = problem
    looked = _in_threads(_look, [files[i] for i in todo], workers)
    for done, (i, (content, small, problem)) in enumerate(zip(todo, looked, strict=True), 1):
        contents[i], thumbnails[i] = content, small
        if problem:
            problems[paths[i]] = problem
        if progress is not None:
            progress(len(files) - len(todo) + done, len(files))
    result = Fingerprints(paths, tuple(contents), thumbnails, problems)
    if store and todo:
        _save(store, result, states)
    return result


def _in_threads(function: Callable[[Path], Result], paths: Sequence[Path], workers: int | None) -> Iterator[Result]:
    """`function` of each path, in order. Decoding and hashing release the interpreter's lock."""
    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1))
    try:
        yield from pool.map(function, paths)
    finally:
        pool.shutdown(cancel_futures=True)


def _look(path: Path) -> tuple[str, HalfArray, str]:
    """Content hash, thumbnail and what is wrong with one file."""
    from ..images import read_image

    blank = np.zeros((SIDE, SIDE), np.float16)
    content = ""
    try:
        content = content_hash(path)
        # Four times the side, so that scaled JPEG decoding leaves the averages as they are: at twice the side the 115
        # pairs of the magnetic tiles were 100.
        pixels = read_image(path, at_least=(4 * SIDE, 4 * SIDE)).pixels
    except ImageError as error:
        return content, blank, error.reason
    except OSError as error:
        return content, blank, f"cannot be opened ({error.strerror})"
    return content, thumbnail(pixels), ""


def thumbnail(pixels: Uint8Array) -> HalfArray:
    """An RGB image (H, W, 3) uint8 to its (32, 32) grey thumbnail, values 0..255, by averaging over areas."""
    grey = PIL.Image.fromarray(pixels).convert("L").convert("F")
    return np.asarray(grey.resize((SIDE, SIDE), PIL.Image.Resampling.BOX), np.float16)


def relief(thumbnails: HalfArray) -> FloatArray:
    """Thumbnails (N, 32, 32) less their Gaussian blur (sigma 2), each of mean 0 and norm 1, as (N, 1024) float32.

    An image that is flat (root mean square below 0.25 of 255) gives zeros: it is like no other.
    """
    values = thumbnails.astype(np.float32)
    values -= gaussian_filter(values, (0, BLUR, BLUR), mode="nearest")
    flat = values.reshape(len(values), SIDE * SIDE)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    scaled: FloatArray = np.where(norm < FLAT * SIDE, 0, flat / np.maximum(norm, 1e-6)).astype(np.float32)
    return scaled


def near_duplicates(thumbnails: HalfArray, threshold: float = THRESHOLD, limit: float = 20.0) -> Likeness:
    """All pairs of images that show the same, mirrored or not.

    Where more than `limit` pairs per image are found, the images are alike by nature (digits, say): the threshold then
    goes half the way to 1 until that is no longer so, and the result tells which one held.
    """
    count = len(thumbnails)
    if count < 2:
        return _none(threshold)
    # Reliefs of 100,000 images would fill 400 MB; the sketches take 52.
    sketch = np.concatenate([_sketch(relief(thumbnails[i : i + BLOCK])) for i in range(0, count, BLOCK)])
    while True:
        found: list[Likeness] = [_none(threshold)]
        pairs = 0
        for first, second in _candidates(sketch, threshold):
            found.append(_correlate(thumbnails, first, second, threshold))
            pairs += len(found[-1].first)
            if pairs > limit * count and threshold < 0.999:
                break
        else:
            return _joined(found, threshold)
        threshold = (1 + threshold) / 2


def _waves() -> tuple[IntArray, IntArray]:
    """Places of the lowest cosine coefficients: those even from left to right, and the odd ones."""
    vertical, horizontal = np.indices((SIDE, SIDE))
    lowest: IntArray = np.argsort(np.hypot(vertical, horizontal).ravel(), kind="stable")[:COEFFICIENTS]
    odd = lowest % SIDE % 2 == 1
    return lowest[~odd], lowest[odd]


def _sketch(reliefs: FloatArray) -> FloatArray:
    """Unit reliefs to (N, 129): even low coefficients, the norm of all that are not low, odd low coefficients."""
    coefficients = dctn(reliefs.reshape(-1, SIDE, SIDE), axes=(1, 2), norm="ortho").reshape(reliefs.shape)
    even, odd = (coefficients[:, places] for places in _waves())
    rest = (reliefs**2).sum(axis=1) - (even**2).sum(axis=1) - (odd**2).sum(axis=1)
    return np.concatenate([even, np.sqrt(np.maximum(rest, 0))[:, None], odd], axis=1).astype(np.float32)


def _candidates(sketch: FloatArray, threshold: float) -> Iterator[tuple[IntArray, IntArray]]:
    """Index pairs (first < second) whose correlation, mirrored or not, can reach the threshold, block by block."""
    even = len(_waves()[0]) + 1
    for top in range(0, len(sketch), BLOCK):
        for left in range(top, len(sketch), BLOCK):
            rows, columns = sketch[top : top + BLOCK], sketch[left : left + BLOCK]
            # Mirroring changes the sign of the odd waves, so that one product bounds both.
            bound = np.abs(rows[:, even:] @ columns[:, even:].T)
            bound += rows[:, :even] @ columns[:, :even].T
            first, second = np.divmod(np.flatnonzero(bound >= threshold - 1e-4), len(columns))
            first, second = first + top, second + left
            upper = first < second
            if upper.any():
                yield first[upper], second[upper]


def _correlate(thumbnails: HalfArray, first: IntArray, second: IntArray, threshold: float) -> Likeness:
    """The candidates that reach the threshold."""
    rows, i = np.unique(first, return_inverse=True)
    columns, j = np.unique(second, return_inverse=True)
    left, right = relief(thumbnails[rows]), relief(thumbnails[columns])
    mirror = left.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(left.shape)
    as_is, mirrored = (left @ right.T)[i, j], (mirror @ right.T)[i, j]
    best = np.maximum(as_is, mirrored)
    good = best >= threshold
    return Likeness(first[good], second[good], best[good], (mirrored > as_is)[good], threshold)


def _none(threshold: float) -> Likeness:
    empty = np.zeros(0, np.int64)
    return Likeness(empty, empty, np.zeros(0, np.float32), np.zeros(0, np.bool_), threshold)


def _joined(found: Sequence[Likeness], threshold: float) -> Likeness:
    first, second = (np.concatenate([getattr(f, name) for f in found]) for name in ("first", "second"))
    order = np.lexsort((second, first))
    correlation = np.concatenate([f.correlation for f in found])[order]
    mirrored = np.concatenate([f.mirrored for f in found])[order]
    return Likeness(first[order], second[order], correlation, mirrored, threshold)


def _name_of(root: Path) -> str:
    return hashlib.sha256(str(root.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "missing"
    return f"{found.st_size}:{found.st_mtime_ns}"


def _load(store: Path) -> dict[str, tuple[str, str, HalfArray, str]]:
    """{path: (state, content, thumbnail, problem)} as kept; empty when there is nothing or nothing usable."""
    try:
        with np.load(store, allow_pickle=False) as held:
            if int(held["version"]) != VERSION:
                return {}
            columns = [held[name] for name in ("paths", "states", "contents", "thumbnails", "problems")]
    except (OSError, ValueError, KeyError, EOFError):
        return {}
    return {str(p): (str(s), str(c), t, str(x)) for p, s, c, t, x in zip(*columns, strict=True)}


def _save(store: Path, prints: Fingerprints, states: Sequence[str]) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    problems = [prints.problems.get(p, "") for p in prints.paths]
    handle, temporary = tempfile.mkstemp(dir=store.parent, prefix=".fingerprints-", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file, version=VERSION, paths=prints.paths, states=states, contents=prints.contents,
                thumbnails=prints.thumbnails, problems=problems,
            )  # fmt: skip
        Path(temporary).replace(store)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
