"""From features of normal images to a detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..preprocessing import FloatArray
from ..recipe_anomaly import AnomalySection
from .detector import Detector, PatchMemory, PositionGaussians
from .gaussian import Matrix, fit_gaussian
from .memory import BLOCK, Rows, greedy_coreset

FOLDS = 5


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
    local: PatchMemory | PositionGaussians | None = None
    if section.method in ("combined", "patch-memory"):
        local = memory or fit_memory(patches, section, seed)[0]
    elif section.method == "gaussian":
        local = fit_positions(patches, section, seed)
    return put_together(local, statistics, grid, section)


def put_together(
    local: PatchMemory | PositionGaussians | None,
    statistics: FloatArray,
    grid: tuple[int, int],
    section: AnomalySection,
) -> Detector:
    """The detector of a fitted local part and of the `statistics` (N, S) of normal images, its units still 1."""
    with_whole = section.method == "image-statistics" or (section.method == "combined" and section.whole > 0)
    return Detector(
        local=local,
        whole=fit_gaussian(statistics) if with_whole else None,
        grid=grid,
        top=max(1, round(section.top * grid[0] * grid[1])),
        reweighted=section.reweighted and section.method == "patch-memory",
    )


def fit_memory(patches: FloatArray, section: AnomalySection, seed: int) -> tuple[PatchMemory, Rows]:
    """A memory of patches (N, P, C), and for each of its rows the image (0 to N - 1) that it comes from.

    With `combined` each channel is scaled to a deviation of 1; `patch-memory` takes them as they are, as published.
    """
    flat = patches.reshape(-1, patches.shape[-1])
    scale = np.ones(flat.shape[1], np.float32)
    if section.method != "patch-memory":
        deviation = _deviation(flat)
        usable = deviation > 1e-6 * max(float(deviation.max()), 1e-30)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=usable).astype(np.float32)
    drawn = np.random.default_rng(seed).permutation(len(flat))[: section.candidates]
    candidates = flat[drawn]
    candidates *= scale
    chosen = greedy_coreset(candidates, section.memory, seed=seed)
    return PatchMemory(np.ascontiguousarray(candidates[chosen]), scale), drawn[chosen] // patches.shape[1]


def _deviation(rows: FloatArray) -> Matrix:
    """The standard deviations (C,) of rows (N, C); numpy's own takes a copy of all rows in float64."""
    mean = rows.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for start in range(0, len(rows), BLOCK):
        around = rows[start : start + BLOCK] - mean
        squares += np.einsum("nc,nc->c", around, around)
    found: Matrix = np.sqrt(squares / len(rows))
    return found


def fit_positions(patches: FloatArray, section: AnomalySection, seed: int) -> PositionGaussians:
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


def folds_of(groups: Sequence[str], n: int, seed: int) -> Rows:
    """The fold (n,) of each image, whole groups together; an image whose group is "" is alone."""
    unit = {name: i for i, name in enumerate(dict.fromkeys(group or f"\0{i}" for i, group in enumerate(groups)))}
    order = np.random.default_rng(seed).permutation(len(unit))
    return np.array([order[unit[group or f"\0{i}"]] % FOLDS for i, group in enumerate(groups)], np.int64)
