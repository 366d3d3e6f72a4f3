"""What `abroad.py` measures on: training images from one source, test images from the same one and from others.

A `Trial` trains on some images of a set. Its `tests` are rows of images that took no part: `home` from the same source,
the others from elsewhere: another source by file name, the farthest acquisition cluster of each class, another
exposure, or `home` as other devices, readers and exports would show it.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import PIL.ImageOps
from skimage import exposure

from pellucid.preprocessing import Preprocessing

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]
Change = Callable[[PIL.Image.Image, np.random.Generator], PIL.Image.Image]

PATIENT = re.compile(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)")
CLUSTERS = 5


@dataclass(frozen=True)
class ImageSet:
    """A set of images: `pixels` (N, H, W, 3), `labels` (N,), and of each its file name, group and `measures` (N, 6).

    `paths` are relative to `root`.
    """

    name: str
    pixels: Pixels
    labels: npt.NDArray[np.int64]
    files: list[str]
    groups: npt.NDArray[np.str_]
    measures: npt.NDArray[np.float64]
    root: Path = Path()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Test:
    """Images that a trial is tested on, as they are or changed."""

    name: str
    rows: Rows
    change: Change | None = None


@dataclass(frozen=True)
class Trial:
    """Rows to train on (validation comes out of them) and what to test on; the first test is the trial's own home."""

    name: str
    train: Rows
    tests: tuple[Test, ...]


def read_set(
    folder: Path, preprocessing: Preprocessing, pool: Executor | None = None, most: int | None = None
) -> ImageSet:
    """The images of a set of ../shared/data, resized as a model sees them; test folders are left out.

    `most` takes a sample that keeps all of the rarer class.
    """
    root = folder / "images" if (folder / "images").is_dir() else folder
    files = sorted(
        p for p in root.rglob("*.*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"} and p.parent.parent.name != "test"
    )
    classes = sorted({p.parent.name for p in files})
    if most is not None and len(files) > most:
        files = _sampled(files, most)
    each = pool.map(_resized, files, [preprocessing] * len(files), chunksize=32) if pool else None
    pixels = np.stack(list(each) if each else [_resized(p, preprocessing) for p in files])
    labels = np.array([classes.index(p.parent.name) for p in files])
    if folder.name == "tiles":  # the normal tiles are the negative class
        labels = 1 - labels
    matches = [PATIENT.match(p.name) for p in files]
    groups = np.array([next(filter(None, m.groups())) if m else p.name for m, p in zip(matches, files, strict=True)])
    sizes = np.array([p.stat().st_size / 1024 for p in files])
    measures = acquisition_measures(pixels, sizes)
    paths = tuple(p.relative_to(root).as_posix() for p in files)
    return ImageSet(folder.name, pixels, labels, [p.name for p in files], groups, measures, root, paths)


def _resized(path: Path, preprocessing: Preprocessing) -> Pixels:
    from pellucid.images import read_image

    return preprocessing.resize_image(read_image(path))


def _sampled(files: list[Path], most: int) -> list[Path]:
    """At most so many files: half of them, or all, of the rarest class, and the rest of the others."""
    rng = np.random.default_rng(0)
    counts = Counter(p.parent.name for p in files)
    rarest = min(counts, key=counts.__getitem__)
    own = [p for p in files if p.parent.name == rarest]
    others = [p for p in files if p.parent.name != rarest]
    own = [own[i] for i in rng.permutation(len(own))[: most // 2]]
    return sorted([*own, *(others[i] for i in rng.permutation(len(others))[: most - len(own)])])


def trials_of(images: ImageSet) -> Iterator[Trial]:
    """All trials of a set."""
    home = _split(images, np.arange(len(images.labels)))
    simulated = tuple(Test(name, home[1], change) for name, change in CHANGES.items())
    mixes = tuple(_mixed(images, home[1])) if len(np.unique(images.labels)) == 2 else ()
    yield Trial("random", home[0], (Test("home", home[1]), *simulated, *mixes))
    yield _held_out(images, "cluster", farthest_cluster(images))
    names = np.array(images.files)
    if images.name == "pneumonia":
        second = np.char.startswith(names, "NORMAL2") | (np.char.find(names, "_bacteria_") >= 0)
        yield _held_out(images, "source", ~second)
        yield _held_out(images, "source-2", second)
    if images.name == "tiles":
        yield _held_out(images, "exposure", np.array([bool(re.search("exp[56]_", n)) for n in images.files]))


def _held_out(images: ImageSet, name: str, away: npt.NDArray[np.bool_]) -> Trial:
    """Trains on what is not `away`; groups with images on both sides are tested on only."""
    shared = np.isin(images.groups, np.unique(images.groups[away]))
    train, home = _split(images, np.flatnonzero(~shared))
    return Trial(name, train, (Test("home", home), Test(name, np.flatnonzero(away))))


def _split(images: ImageSet, rows: Rows, share: float = 0.2) -> tuple[Rows, Rows]:
    """Rows in two parts by group and class, the second with about that share of each class."""
    rng = np.random.default_rng(0)
    held: set[str] = set()
    for label in np.unique(images.labels):
        groups = np.unique(images.groups[rows[images.labels[rows] == label]])
        held |= set(rng.permutation(groups)[: round(share * len(groups))].tolist())
    chosen = np.isin(images.groups[rows], sorted(held))
    return rows[~chosen], rows[chosen]


def _mixed(images: ImageSet, rows: Rows) -> Iterator[Test]:
    """The same images with other shares of the positive class."""
    rng = np.random.default_rng(0)
    positive, negative = rows[images.labels[rows] == 1], rows[images.labels[rows] == 0]
    for share in (0.62, 0.30, 0.10):
        wanted = min(len(positive), round(len(negative) * share / (1 - share)))
        fewer = min(len(negative), round(wanted * (1 - share) / share))
        chosen = [rng.permutation(positive)[:wanted], rng.permutation(negative)[:fewer]]
        yield Test(f"mix {share:.0%}", np.sort(np.concatenate(chosen)))


def farthest_cluster(images: ImageSet, among: Rows | None = None) -> npt.NDArray[np.bool_]:
    """Of each class the acquisition cluster (brightness, contrast, sharpness, borders, bytes) farthest from the rest.

    Only clusters of 8 to 40 % of the class count. `among` are the rows that are looked at: all of them by default.
    """
    from sklearn.cluster import KMeans

    measures = images.measures
    measures = (measures - measures.mean(axis=0)) / np.maximum(measures.std(axis=0), 1e-9)
    away = np.zeros(len(images.labels), bool)
    for label in np.unique(images.labels):
        rows = np.flatnonzero(images.labels == label)
        rows = rows if among is None else np.intersect1d(rows, among)
        cluster = KMeans(CLUSTERS, n_init=10, random_state=0).fit_predict(measures[rows])
        distances = {
            c: float(
                np.linalg.norm(measures[rows[cluster == c]].mean(axis=0) - measures[rows[cluster != c]].mean(axis=0))
            )
            for c in range(CLUSTERS)
            if 0.08 <= (cluster == c).mean() <= 0.4
        }
        away[rows[cluster == max(distances, key=distances.__getitem__)]] = True
    return away


def acquisition_measures(images: Pixels, kilobytes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Measures (N, 6) that tell devices and exports apart and say nothing of the content."""
    measured = []
    for pixels, size in zip(images, kilobytes, strict=True):
        grey = pixels.mean(axis=2)
        edge = np.concatenate([grey[:8].ravel(), grey[-8:].ravel(), grey[:, :8].ravel(), grey[:, -8:].ravel()])
        fine = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
        measured.append([grey.mean(), grey.std(), np.log(fine.mean() + 0.1), edge.mean(), edge.std(), np.log(size)])
    return np.array(measured)


def changed(pixels: Pixels, test: Test) -> Pixels:
    """The images (N, H, W, 3) of a test's rows as the test shows them, each changed by draws of its own."""
    if test.change is None:
        return pixels
    made = []
    for row, image in zip(test.rows, pixels, strict=True):
        picture = PIL.Image.fromarray(image)
        made.append(np.asarray(test.change(picture, np.random.default_rng((7, int(row)))).convert("RGB")))
    return np.stack(made)


def window(picture: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """Another window and another gamma, as of another device or reader."""
    values = np.asarray(picture, np.float64) / 255
    low, high = rng.uniform(-0.15, 0.15), rng.uniform(0.8, 1.2)
    power = float(np.exp(rng.uniform(-0.6, 0.6)))
    return PIL.Image.fromarray((np.clip((values - low) / (high - low), 0, 1) ** power * 255).astype(np.uint8))


def equalised(picture: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """Histogram equalisation, global or local."""
    if rng.random() < 0.5:
        return PIL.ImageOps.equalize(picture)
    local = exposure.equalize_adapthist(np.asarray(picture), clip_limit=float(rng.uniform(0.01, 0.03)))
    return PIL.Image.fromarray((local * 255).astype(np.uint8))


def soft(picture: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """Blurred, grainy, and compressed strongly."""
    blurred = picture.filter(PIL.ImageFilter.GaussianBlur(rng.uniform(0.5, 2.0)))
    noise = rng.normal(0, rng.uniform(2, 12), (picture.height, picture.width, 1))
    grainy = np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(grainy).save(stream, "JPEG", quality=int(rng.integers(20, 60)))
    return PIL.Image.open(stream)


def framed(picture: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """Collimated to a smaller field, with a letter in a corner."""
    framed = PIL.Image.new("RGB", picture.size)
    left, top = (int(rng.uniform(0, 0.12) * side) for side in picture.size)
    right, bottom = (int((1 - rng.uniform(0, 0.12)) * side) for side in picture.size)
    framed.paste(picture.crop((left, top, right, bottom)), (left, top))
    place = (left + 8 if rng.random() < 0.5 else right - 28, top + 8)
    PIL.ImageDraw.Draw(framed).text(place, "RL"[int(rng.integers(2))], fill=(230, 230, 230), font_size=20)
    return framed


def resized(picture: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """Resized from another size by other filters."""
    filters = [PIL.Image.Resampling.NEAREST, PIL.Image.Resampling.BILINEAR, PIL.Image.Resampling.LANCZOS]
    side = int(rng.integers(96, 192))
    small = picture.resize((side, side), filters[int(rng.integers(3))])
    return small.resize(picture.size, filters[int(rng.integers(3))])


CHANGES: dict[str, Change] = {
    "window": window,
    "equalised": equalised,
    "soft": soft,
    "framed": framed,
    "resized": resized,
}
