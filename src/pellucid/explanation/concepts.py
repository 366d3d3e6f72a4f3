"""What a model finds its evidence in: cells of the explained layer, over many images, factored into concepts.

Each cell carries a vector of contributions, activation times gradient, which sums to its share of the score. The
positive contributions to a class are factored into K non-negative parts (as in CRAFT, Fel et al., arXiv:2211.10154,
which factors the activations alone): channels that speak for the class together become one concept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..classifier import Evidence, EvidenceClassifier
from ..preprocessing import FloatArray, GridGeometry, Uint8Array
from ..progress import Advance

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

BATCH = 16
FINE = 12
"""From this many cells a side on, an object is taken to spread over several cells."""
PARALLEL = 0.98
"""Factors with a cosine above this are one."""
CELLS_PER_IMAGE = 5
"""How many cells of an image are kept for each class: those with the most evidence, apart from each other."""


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceCells:
    """The M cells with the most evidence for one class, and the grid that they lie on.

    `image` (M,) says which of the N images a cell belongs to, `row` and `column` (M,) where it lies on the grid of
    `shape`, `weight` (M,) its evidence, in units of the score. `vectors` (M, C) are the positive contributions of the
    channels. `share` (M,) is the cell's part of its image's positive evidence for the class, 0 to 1. `usual` (C,) is
    what each channel contributes to the class in pictures of other classes, on average.
    """

    image: Indices
    row: Indices
    column: Indices
    weight: Values
    share: Values
    vectors: FloatArray
    geometry: GridGeometry
    shape: tuple[int, int]
    usual: FloatArray

    def centre(self, cells: Indices) -> Values:
        """Where cells lie on the model's input: (n, 2) as (y, x), in pixels."""
        places = np.stack([self.row[cells], self.column[cells]], axis=1)
        centres: Values = np.array(self.geometry.offset) + np.array(self.geometry.stride) * places
        return centres


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """K concepts of one class: `amounts` (M, K) of each concept in each cell, in units of the score, none negative.

    `parts` (K, C) are the concepts' channels; each sums to 1.
    """

    amounts: Values
    parts: Values

    @property
    def leading(self) -> Indices:
        """The concept (M,) that contributes most to each cell."""
        most: Indices = self.amounts.argmax(axis=1)
        return most


def evidence_cells(
    classifier: EvidenceClassifier, pixels: Uint8Array, labels: Indices, classes: Sequence[str], advance: Advance
) -> list[EvidenceCells]:
    """For each class the cells of pictures (N, height, width, 3) with the most evidence for it.

    Only what a channel contributes beyond its mean in pictures of the other classes counts: what all pictures have in
    common speaks for a class without telling it from another. Each picture is passed twice, first for these means.
    """
    usual = _usual_contributions(classifier, pixels, labels, classes, advance)
    found: list[list[tuple[npt.NDArray[Any], ...]]] = [[] for _ in classes]
    geometry, shape = GridGeometry((1, 1), (0, 0)), (1, 1)
    for start, evidence in _each_batch(classifier, pixels, classes):
        geometry, shape = evidence.geometry, (evidence.activations.shape[2], evidence.activations.shape[3])
        for k in range(len(classes)):
            found[k].append(_strongest(evidence.activations * evidence.gradients[:, k], usual[k], start))
        advance(len(pixels) + start, 2 * len(pixels))
    return [_joined(parts, geometry, shape, usual[k]) for k, parts in enumerate(found)]


def _each_batch(
    classifier: EvidenceClassifier, pixels: Uint8Array, classes: Sequence[str]
) -> Iterator[tuple[int, Evidence]]:
    for start in range(0, len(pixels), BATCH):
        batch = classifier.preprocessing.normalise(pixels[start : start + BATCH])
        yield start, classifier.evidence(batch, tuple(classes))


def _usual_contributions(
    classifier: EvidenceClassifier, pixels: Uint8Array, labels: Indices, classes: Sequence[str], advance: Advance
) -> FloatArray:
    """What each channel contributes to each class, on average over the pictures of other classes: (K, C)."""
    sums = []
    for start, evidence in _each_batch(classifier, pixels, classes):
        sums.append(np.einsum("nchw,nkchw->nkc", evidence.activations, evidence.gradients))
        advance(start, 2 * len(pixels))
    each = np.concatenate(sums)
    others = [each[labels != k, k] if (labels != k).any() else each[:, k] for k in range(len(classes))]
    return np.stack([values.mean(axis=0) for values in others]).astype(np.float32)


def _strongest(contributions: FloatArray, usual: FloatArray, first: int) -> tuple[npt.NDArray[Any], ...]:
    """The strongest cells of a batch: image, row, column, weight, share, vectors."""
    contributions = beyond_usual(contributions, usual)
    maps = contributions.sum(axis=1, dtype=np.float64)
    images, rows, columns = _peaks(maps)
    weight = maps[images, rows, columns]
    total = np.maximum(maps, 0).sum(axis=(1, 2))
    vectors = np.maximum(contributions[images, :, rows, columns], 0)
    return images + first, rows, columns, weight, weight / total[images], vectors


def beyond_usual(contributions: FloatArray, usual: FloatArray) -> FloatArray:
    """What channels (n, C, h, w) contribute beyond `usual` (C,), each cell with its neighbours on a fine grid.

    The part of a channel's sum over the picture that exceeds the usual one is kept, spread as the channel itself is.
    """
    sums = contributions.sum(axis=(2, 3))
    beyond = np.clip(1 - usual / np.where(sums > 0, sums, np.inf), 0, 1) * (sums > 0)
    return _neighbours_too(contributions * beyond[:, :, None, None])


def _neighbours_too(contributions: FloatArray) -> FloatArray:
    """Each cell with its eight neighbours, on a grid fine enough that an object spreads over several cells."""
    from scipy.ndimage import uniform_filter

    if min(contributions.shape[2:]) < FINE:
        return contributions
    summed: FloatArray = 9 * uniform_filter(contributions, (0, 0, 3, 3), mode="constant")
    return summed


def _peaks(maps: Values) -> tuple[Indices, Indices, Indices]:
    """At most `CELLS_PER_IMAGE` positive cells of each map (n, h, w), none near a stronger one."""
    from scipy.ndimage import maximum_filter

    size = 5 if min(maps.shape[1:]) >= FINE else 3 if min(maps.shape[1:]) > 4 else 1
    highest = maximum_filter(maps, (1, size, size), mode="constant", cval=-np.inf)
    flat = np.where((maps >= highest) & (maps > 0), maps, -np.inf).reshape(len(maps), -1)
    most = np.argsort(-flat, axis=1, kind="stable")[:, :CELLS_PER_IMAGE]
    images, order = np.nonzero(np.isfinite(np.take_along_axis(flat, most, axis=1)))
    cells = most[images, order]
    return images, cells // maps.shape[2], cells % maps.shape[2]


def _joined(
    parts: list[tuple[npt.NDArray[Any], ...]], geometry: GridGeometry, shape: tuple[int, int], usual: FloatArray
) -> EvidenceCells:
    image, row, column, weight, share, vectors = (np.concatenate(values) for values in zip(*parts, strict=True))
    return EvidenceCells(
        image.astype(np.int64), row.astype(np.int64), column.astype(np.int64), weight.astype(np.float64),
        share.astype(np.float64), vectors.astype(np.float32), geometry, shape, usual,
    )  # fmt: skip


def factor(vectors: FloatArray, concepts: int, seed: int) -> Factors:
    """Non-negative factors of vectors (M, C): at most `concepts`, and no more than there are cells or channels."""
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    wanted = max(1, min(concepts, *vectors.shape))
    model = NMF(wanted, init="nndsvda", solver="cd", max_iter=150, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        # Factors that still move a little divide the cells well enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        amounts = model.fit_transform(vectors.astype(np.float64))
    return _without_twins(amounts, model.components_)


def _without_twins(amounts: Values, components: Values) -> Factors:
    """Factors without those of no size, and with one for each group of nearly parallel ones."""
    sums = components.sum(axis=1)
    kept = np.flatnonzero(sums > 0) if (sums > 0).any() else np.arange(1)
    parts = components[kept] / np.where(sums[kept] > 0, sums[kept], 1)[:, None]
    scaled = amounts[:, kept] * sums[kept]
    lengths = np.maximum(np.linalg.norm(parts, axis=1), 1e-12)
    parallel = (parts @ parts.T) / np.outer(lengths, lengths) > PARALLEL
    first = parallel.argmax(axis=1)
    chosen = np.unique(first)
    summed = np.stack([scaled[:, first == j].sum(axis=1) for j in chosen], axis=1)
    return Factors(summed, parts[chosen])
