"""From features of normal images to a detector, and which training images are left out as suspect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..preprocessing import FloatArray
from ..recipe_anomaly import AnomalySection
from .detector import Detector, ImageFeatures, PatchMemory, PositionGaussians
from .gaussian import fit_gaussian
from .memory import Rows, greedy_coreset, top_mean

FOLDS = 5
FAR_OUT = 3.5
"""Robust z-score from which a training image is suspect: Iglewicz and Hoaglin's limit of the modified z-score."""
LEFT_OUT = 5.0
"""Robust z-score from which it is not learnt from. Leaving out rare normal images from 3.5 on cost 0.002 of the area
under the ROC curve on tiles."""
SMALL_MEMORY, SMALL_CANDIDATES = 500, 8000
"""For judging training images: their order needs less than a model does."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How unlike the others each training image is: `scores` (N,), robust z-scores, and which are `suspect` (N,)."""

    scores: FloatArray
    suspect: npt.NDArray[np.bool_]

    @property
    def far(self) -> npt.NDArray[np.bool_]:
        """Which suspects (N,) are so far out that they should not be learnt from."""
        return self.suspect & (self.scores > LEFT_OUT)


def cells_wanted(images: int, section: AnomalySection, cells: int) -> int:
    """How many cells of each image are kept for the memory to choose from; all where a Gaussian stands in each."""
    if section.method == "gaussian":
        return cells
    return min(cells, max(16, math.ceil(section.candidates / max(images, 1))))


def fit_detector(
    patches: FloatArray,
    statistics: FloatArray,
    grid: tuple[int, int],
    section: AnomalySection,
    *,
    seed: int = 0,
    memory: PatchMemory | None = None,
) -> Detector:
    """A detector of the kind that `section` asks for, its units still 1.

    `patches` (N, P, C) are cells of N normal images: P drawn ones, or for `gaussian` all of the grid in order.
    `statistics` (N, S) are those of `moments.statistics_of`. A `memory` that is given is taken as it is. Raises
    InputError for too few images.
    """
    if len(patches) < 2:
        raise InputError("One normal image tells nothing of how normal images differ: give two or more.")
    cells = grid[0] * grid[1]
    local = None
    if section.method in ("combined", "patch-memory"):
        local = memory or fit_memory(patches, section, seed)[0]
    positions = _positions(patches, section, seed) if section.method == "gaussian" else None
    with_whole = section.method == "image-statistics" or (section.method == "combined" and section.whole > 0)
    return Detector(
        local=local or positions,
        whole=fit_gaussian(statistics) if with_whole else None,
        grid=grid,
        top=max(1, round(section.top * cells)),
        reweighted=section.reweighted and section.method == "patch-memory",
    )


def fit_memory(patches: FloatArray, section: AnomalySection, seed: int) -> tuple[PatchMemory, Rows]:
    """A memory of patches (N, P, C), and for each of its rows the image (0 to N - 1) that it comes from."""
    flat = patches.reshape(-1, patches.shape[-1])
    deviation = flat.std(axis=0, dtype=np.float64)
    usable = deviation > 1e-6 * max(float(deviation.max()), 1e-30)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=usable).astype(np.float32)
    drawn = np.random.default_rng(seed).permutation(len(flat))[: section.candidates]
    candidates = flat[drawn] * scale
    chosen = greedy_coreset(candidates, section.memory, seed=seed)
    return PatchMemory(np.ascontiguousarray(candidates[chosen]), scale), drawn[chosen] // patches.shape[1]


def _positions(patches: FloatArray, section: AnomalySection, seed: int) -> PositionGaussians:
    """PaDiM: for each cell mean and covariance of `channels` drawn channels, 0.01 added to its diagonal.

    Defard et al., ICPR 2021, arXiv:2011.08785, section 3.
    """
    images, cells, channels = patches.shape
    drawn = np.sort(np.random.default_rng(seed).permutation(channels)[: section.channels])
    mean = np.empty((cells, len(drawn)), np.float32)
    whitening = np.empty((cells, len(drawn), len(drawn)), np.float32)
    for cell in range(cells):
        rows = patches[:, cell, drawn].astype(np.float64)
        mean[cell] = rows.mean(axis=0)
        around = rows - rows.mean(axis=0)
        covariance = around.T @ around / (images - 1) + 0.01 * np.eye(len(drawn))
        whitening[cell] = np.linalg.cholesky(np.linalg.inv(covariance))
    return PositionGaussians(mean, whitening, drawn)


def with_units(detector: Detector, local: FloatArray | None, image: FloatArray | None, whole: float = 1.0) -> Detector:
    """The detector whose parts are in units of their spread among images it has not seen.

    `local` (N,) are their local scores and `image` (N,) their own distances, None where a part is not used. The spread
    is the standard deviation, found robustly; `whole` weighs the image's distance in the score. In the map both weigh
    the same, and together as much as in the score of the median image. With one part only the unit is that part's
    median, so that 1 is a usual normal image.
    """
    single = detector.local is None or detector.whole is None
    unit = _middle if single else _spread
    local_unit = 1.0 if local is None else unit(local)
    image_unit = 1.0 if image is None else unit(image) / (1.0 if single else max(whole, 1e-6))
    found = replace(detector, local_unit=local_unit, whole_unit=image_unit)
    if local is None or image is None or single:
        return found
    parts = _middle(local) / local_unit, _middle(image) / unit(image)
    share = sum(parts) / (parts[0] + parts[1] * max(whole, 1e-6))
    return replace(found, map_units=(local_unit * share, unit(image) * share))


def _middle(values: FloatArray) -> float:
    return max(float(np.median(values)), 1e-12)


def _spread(values: FloatArray) -> float:
    """The standard deviation that a normal distribution with the same quartiles has."""
    low, high = np.quantile(values.astype(np.float64), [0.25, 0.75])
    return max(float(high - low) / 1.349, 1e-6 * _middle(values))


def judge(
    patches: FloatArray, statistics: FloatArray, groups: Sequence[str], section: AnomalySection, *, seed: int = 0
) -> Suspicion:
    """Which training images look bad beside the others: each is scored by detectors that have not seen its group.

    `patches` (N, P, C) and `statistics` (N, S) as for `fit_detector`. In a second round the images found are left out
    of all detectors, since bad images widen what counts as normal. Scores are robust z-scores of the image's greatest
    patch distances and of its own distance, whichever is larger.
    """
    n = len(patches)
    suspect = np.zeros(n, bool)
    scores = np.zeros(n, np.float32)
    if n < 2 * FOLDS:
        return Suspicion(scores, suspect)
    fold = folds_of(groups, n, seed)
    for _ in range(2):
        local, whole = np.empty(n, np.float32), np.empty(n, np.float32)
        for k in range(FOLDS):
            own, others = fold == k, (fold != k) & ~suspect
            if own.any() and others.sum() > 1:
                local[own], whole[own] = _from_others(patches, statistics, own, others, section, seed)
        scores = np.maximum(_robust(local, ~suspect), _robust(whole, ~suspect))
        suspect = scores > FAR_OUT
    return Suspicion(scores, suspect)


def _from_others(
    patches: FloatArray,
    statistics: FloatArray,
    own: npt.NDArray[np.bool_],
    others: npt.NDArray[np.bool_],
    section: AnomalySection,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    small = section.model_copy(
        update={
            "method": "combined",
            "memory": min(section.memory, SMALL_MEMORY),
            "candidates": min(section.candidates, SMALL_CANDIDATES),
        }
    )
    cells = (1, patches.shape[1])
    detector = fit_detector(patches[others], statistics[others], cells, small, seed=seed)
    parts = detector.parts(ImageFeatures(patches[own][:, None], statistics[own]))
    if parts.local is None or parts.whole is None:
        raise AssertionError("a combined detector has both parts")
    return top_mean(parts.local, detector.top), parts.whole


def folds_of(groups: Sequence[str], n: int, seed: int) -> Rows:
    """The fold (n,) of each image, whole groups together; an image whose group is "" is alone."""
    unit = {name: i for i, name in enumerate(dict.fromkeys(group or f"\0{i}" for i, group in enumerate(groups)))}
    order = np.random.default_rng(seed).permutation(len(unit))
    return np.array([order[unit[group or f"\0{i}"]] % FOLDS for i, group in enumerate(groups)], np.int64)


def _robust(values: FloatArray, kept: npt.NDArray[np.bool_]) -> FloatArray:
    """Distances above the median in units of the spread, by the logarithm, of those kept: distances are skewed."""
    logs = np.log(np.maximum(values, 1e-12))
    middle = float(np.median(logs[kept]))
    spread = float(np.median(np.abs(logs[kept] - middle))) * 1.4826
    scores: FloatArray = ((logs - middle) / max(spread, 1e-9)).astype(np.float32)
    return scores
