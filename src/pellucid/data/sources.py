"""Where images may come from: sources told apart by file names, sizes, compression, or by how images look.

A source is a device, a hospital, a year, an export: something that images of one kind share and that says nothing of
the class. Nobody records it, so it is looked for. What a classifier is worth on images from elsewhere can then be
estimated by leaving one source out of the training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..preprocessing import Uint8Array
from .dataset import Dataset

Kind = Literal["name", "size", "compression", "look"]
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FEWEST_IMAGES = 20
"""Fewer images are no source: no figure on them would have a useful interval."""
SMALLEST, LARGEST = 0.04, 0.7
"""A source holds at least and at most such a share of the images of each class that it occurs in."""
COMMON = 0.02
"""A part of the file names with letters and digits counts as a category where such a share of the names has it."""
CLUSTERS = 5
APART = 0.2
"""Mean silhouette from which a cluster of looks counts as a source of its own (Rousseeuw 1987)."""
MOST = 8


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """Some images that seem to have one origin: `rows` (N,) of the dataset, and what they have in common.

    `kind` says by what they were told apart, `value` what it is: a pattern of names in which # stands for digits, a
    size, a JPEG quality, or the class of which they are the images that look most unlike the others.
    """

    kind: Kind
    value: str
    rows: Mask

    @property
    def images(self) -> int:
        """How many images it has."""
        return int(self.rows.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Acquisition:
    """What tells devices and exports apart, of N images: `sizes` and `qualities` as words, `looks` (N, 6) as numbers.

    The looks are mean and deviation of grey values, fine detail, mean and deviation along the border, and the logarithm
    of the bytes per pixel.
    """

    sizes: tuple[str, ...]
    qualities: tuple[str, ...]
    looks: Values


def measure_acquisition(dataset: Dataset, pixels: Uint8Array, rows: npt.NDArray[np.intp]) -> Acquisition:
    """Measure the images of a dataset, of which image i is `pixels[rows[i]]`, (H, W, 3); files are not decoded."""
    sizes, qualities, looks = [], [], []
    for sample, row in zip(dataset.samples, rows, strict=True):
        size, quality, density = _header(dataset, sample.path)
        sizes.append(size)
        qualities.append(quality)
        looks.append([*_look(pixels[row]), density])
    return Acquisition(tuple(sizes), tuple(qualities), np.array(looks).reshape(-1, 6))


def _header(dataset: Dataset, path: str) -> tuple[str, str, float]:
    """Size, JPEG quality (or format) and log bytes per pixel of a file, as far as Pillow can tell without decoding."""
    file = dataset.root / path
    try:
        kilobytes = file.stat().st_size
        with PIL.Image.open(file) as picture:
            width, height, kind = picture.width, picture.height, str(picture.format)
            tables = getattr(picture, "quantization", None) or {}
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return "", "", 0.0
    quality = f"{kind} {sum(tables[0])}" if 0 in tables else kind
    return f"{width} x {height}", quality, float(np.log(max(kilobytes, 1) / (width * height)))


def _look(pixels: Uint8Array) -> tuple[float, ...]:
    grey = pixels.mean(axis=2)
    edge = max(1, min(grey.shape) // 28)
    border = np.concatenate(
        [grey[:edge].ravel(), grey[-edge:].ravel(), grey[:, :edge].ravel(), grey[:, -edge:].ravel()]
    )
    fine = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
    detail = float(np.log(fine.mean() + 0.1)) if fine.size else 0.0
    return float(grey.mean()), float(grey.std()), detail, float(border.mean()), float(border.std())


def find_sources(paths: Sequence[str], labels: Labels, acquisition: Acquisition) -> list[ImageSource]:
    """Sources of N images with `paths` and `labels` (N,), the most reliable first; at most 8, of different images."""
    found: list[ImageSource] = []
    words: tuple[tuple[Kind, Sequence[str]], ...] = (
        ("name", name_patterns(paths)),
        ("size", acquisition.sizes),
        ("compression", acquisition.qualities),
    )
    candidates = [s for kind, values in words for s in _by_word(kind, values, labels)]
    for source in [*candidates, *_by_look(acquisition.looks, labels)]:
        if len(found) < MOST and all(_overlap(source.rows, other.rows) < 0.8 for other in found):
            found.append(source)
    return found


def name_patterns(paths: Sequence[str]) -> list[str]:
    """The pattern of each path's file name and inner folders, in which # stands for digits.

    Words of letters and digits that many paths have in common ("exp3", "site2") are kept: they are categories.
    """
    split = [_tokens(path) for path in paths]
    counts = Counter(token for tokens in split for token in tokens)
    common = {token for token, n in counts.items() if n >= max(FEWEST_IMAGES, COMMON * len(paths))}
    return ["".join(_generalised(token, common) for token in tokens) for tokens in split]


def _tokens(path: str) -> list[str]:
    stem = path.rpartition(".")[0] or path
    inner = stem.split("/")[-2:] if stem.count("/") > 2 else stem.split("/")[-1:]
    return [t for t in re.split(r"([-_ ./()]+)", "/".join(inner)) if t]


def _generalised(token: str, kept: set[str]) -> str:
    if token.isdigit():
        return "#"
    if re.search(r"\d", token) and token not in kept:
        return re.sub(r"\d+", "#", token)
    return token


def _by_word(kind: Kind, values: Sequence[str], labels: Labels) -> Iterator[ImageSource]:
    """One source for each value that enough images share, the largest first; none where only one value is frequent."""
    counts = Counter(values)
    array = np.array(values, dtype=object)
    frequent = [v for v, n in counts.most_common(4 * MOST) if v and n >= FEWEST_IMAGES]
    for value in frequent:
        rows: Mask = array == value
        if _sized(rows, labels):
            yield ImageSource(kind, value, rows)


def _sized(rows: Mask, labels: Labels) -> bool:
    """Whether the rows are neither too few nor too many of each class that they belong to."""
    if rows.sum() < FEWEST_IMAGES:
        return False
    shares = [float((rows & (labels == c)).sum() / (labels == c).sum()) for c in np.unique(labels[rows])]
    return max(shares) <= LARGEST and max(shares) >= SMALLEST


def _by_look(looks: Values, labels: Labels) -> Iterator[ImageSource]:
    """The cluster of each class that looks most unlike the rest, all classes' together, where clusters are apart."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_samples

    deviation = looks.std(axis=0)
    standard = (looks - looks.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    away: Mask = np.zeros(len(labels), bool)
    apart = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 5 * CLUSTERS or len(np.unique(standard[rows], axis=0)) <= CLUSTERS:
            return
        cluster = KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(standard[rows])
        sampled = np.random.default_rng(0).permutation(len(rows))[:2000]
        if len(np.unique(cluster[sampled])) < 2:
            return
        silhouettes = silhouette_samples(standard[rows[sampled]], cluster[sampled])
        shares = {c: float((cluster == c).mean()) for c in range(CLUSTERS)}
        fit = [c for c in range(CLUSTERS) if 0.05 <= shares[c] <= 0.5 and (cluster[sampled] == c).any()]
        if not fit:
            return
        far = max(fit, key=lambda c: _distance(standard[rows], cluster == c))
        apart.append(float(silhouettes[cluster[sampled] == far].mean()))
        away[rows[cluster == far]] = True
    if min(apart, default=0.0) >= APART and away.sum() >= FEWEST_IMAGES:
        yield ImageSource("look", "", away)


def _distance(values: Values, inside: Mask) -> float:
    return float(np.linalg.norm(values[inside].mean(axis=0) - values[~inside].mean(axis=0)))


def _overlap(one: Mask, other: Mask) -> float:
    """Intersection over union, also against the complement: leaving out either side is the same question."""
    either, both = float((one | other).sum()), float((one & other).sum())
    return both / either if either else 1.0
