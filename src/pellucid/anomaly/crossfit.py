"""A detector of all normal images, and for each fold one that has not learnt from the images of that fold.

A threshold needs scores of normal images that the detector has not learnt from. Setting images apart for that makes the
detector worse and leaves few scores. Here every image is scored by the detector of its own fold, which learnt from all
others; the detector that is kept learns from all. The memory is chosen once: a fold's own patches are taken out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray
from ..recipe_anomaly import AnomalySection
from .detector import Detector, ImageFeatures, PatchMemory, PositionGaussians
from .fitting import FOLDS, fit_detector, fit_memory, fit_positions, folds_of, put_together
from .memory import Rows, top_mean
from .places import placed_by_others, usual_places

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CrossFit:
    """The detector `whole` of all normal images that are kept, the fold of each image (N,), and a detector a fold."""

    whole: Detector
    fold: Rows
    detectors: tuple[Detector, ...]


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Scores (N,) of images before they are added up, in the units of the features: None where a part is not used.

    `cells` (N, h, w) are the distances that `local` was made of, and `shares` (N, h, w) how `image` divides among
    cells, where both are known.
    """

    local: FloatArray | None
    image: FloatArray | None
    cells: FloatArray | None = None
    shares: FloatArray | None = None

    def _fields(self) -> tuple[FloatArray | None, ...]:
        return self.local, self.image, self.cells, self.shares

    @staticmethod
    def joined(parts: Sequence[OutOfFold]) -> OutOfFold:
        """Those of several lots of images."""
        found = []
        for field in zip(*(p._fields() for p in parts), strict=True):
            known = [part for part in field if part is not None]
            found.append(np.concatenate(known) if len(known) == len(field) else None)
        return OutOfFold(*found) if found else OutOfFold(None, None)

    def take(self, rows: Rows | Mask) -> OutOfFold:
        """Those of some images."""
        return OutOfFold(*(None if part is None else part[rows] for part in self._fields()))

    def placed(self, detector: Detector) -> tuple[Detector, OutOfFold]:
        """The detector with what is usual in each cell, and each image's local score, measured against the others."""
        if self.cells is None:
            return detector, self
        places, cells = usual_places(self.cells, self.shares), placed_by_others(self.cells)
        shares = None if self.shares is None else self.shares - places.shares
        local = top_mean(cells, detector.top)
        return replace(detector, places=places), replace(self, local=local, cells=cells, shares=shares)

    def shown_above(self, detector: Detector, share: float, *, gathers: bool) -> Detector:
        """The detector whose map shows what is above the usual, in units of how far its score goes above its own.

        Usual is what a quarter of all cells stay below, and for a score the median. A map's greatest cell is above the
        usual by as much as the score is, where each is exceeded by this `share` of the images.
        """
        scores = self.scores(detector)
        if self.cells is None and self.shares is None:
            return replace(detector, usual=float(np.median(scores)))
        maps = detector.added(self.cells, self.shares)
        usual = float(np.quantile(maps, 0.25))
        of_scores = float(np.quantile(scores, 1 - share) - np.median(scores))
        of_maps = float(np.quantile(maps.max(axis=(1, 2)), 1 - share)) - usual
        factor = of_scores / of_maps if min(of_scores, of_maps) > 1e-6 * abs(usual) else 1.0
        units = tuple(unit / factor for unit in detector.units_of_map)
        return replace(detector, map_units=(units[0], units[1]), usual=usual * factor, gathers=gathers)

    def scores(self, detector: Detector) -> FloatArray:
        """The scores (N,) in the units of a detector."""
        parts = ((self.local, detector.local_unit), (self.image, detector.whole_unit))
        found = [part / np.float32(unit) for part, unit in parts if part is not None]
        return np.asarray(sum(found[1:], found[0]), np.float32)


def cross_fit(
    patches: FloatArray,
    statistics: FloatArray,
    grid: tuple[int, int],
    section: AnomalySection,
    *,
    kept: Mask,
    groups: Sequence[str] = (),
    seed: int = 0,
) -> CrossFit:
    """Fit to the images that are `kept` (N,), and once more without each of five folds, which keep groups together.

    `patches` (N, P, C) and `statistics` (N, S) are those of `fit_detector`, whose units all detectors have: 1. An image
    that is not kept has a fold too. Raises InputError for too few images.
    """
    fold = folds_of(groups or [""] * len(patches), len(patches), seed)
    memory, owner = None, np.zeros(0, np.int64)
    used = patches if kept.all() else patches[kept]  # a copy may be hundreds of megabytes
    if section.method in ("combined", "patch-memory"):
        memory, owner = fit_memory(used, section, seed)
    whole = fit_detector(used, statistics[kept], grid, section, seed=seed, memory=memory)
    del used
    detectors = []
    for k in range(FOLDS):
        others = kept & (fold != k)
        if not (fold == k).any() or others.sum() < 2:
            detectors.append(whole)
            continue
        local: PatchMemory | PositionGaussians | None = None
        if memory is not None:
            theirs = fold[kept][owner] != k
            rest = PatchMemory(memory.rows[theirs], memory.scale) if theirs.any() else None
            local = rest or fit_memory(patches[others], section, seed)[0]
        elif section.method == "gaussian":
            local = fit_positions(patches[others], section, seed)
        detectors.append(put_together(local, statistics[others], grid, section))
    return CrossFit(whole, fold, tuple(detectors))


def scored(detector: Detector, features: ImageFeatures) -> OutOfFold:
    """What a detector says of images, before it is put together."""
    parts = detector.parts(features)
    if parts.local is None:
        return OutOfFold(None, parts.whole)
    shares = detector.shares(features) if features.maps and detector.whole is not None else None
    return OutOfFold(detector.local_scores(parts.local, features), parts.whole, parts.local, shares)
