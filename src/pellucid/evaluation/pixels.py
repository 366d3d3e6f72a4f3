"""How well maps find the pixels of defects: pixel ROC-AUC and AUPRO, streamed over images of any sizes.

Values are counted in 65,536 levels between the least and the greatest, so that memory does not grow with the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .intervals import Values

LEVELS = 65_536
LIMIT = 0.3
"""AUPRO's usual range of false-positive rates, 0 to 0.3."""

Counts = npt.NDArray[np.int64]


@dataclass(slots=True)
class PixelTally:
    """Counts of pixel values, by level, of sound pixels and of each defect region.

    `low` and `high` are the least and greatest value that any map has. `add` takes the images one after another.
    """

    low: float
    high: float
    sound: Counts = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    defective: Counts = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    regions: list[tuple[str, Counts, Counts]] = field(default_factory=list)

    def add(self, values: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_] | None, kind: str = "") -> None:
        """Count one image: its map (H, W), its defect mask (H, W) or None for a normal one, and the kind of defect.

        Raises InputError for a mask of another shape, and for values outside `low` to `high`.
        """
        if mask is not None and mask.shape != values.shape:
            raise InputError(f"A map of shape {values.shape} cannot be compared with a mask of shape {mask.shape}.")
        level = self._levels(values)
        if mask is None:
            self.sound += np.bincount(level.ravel(), minlength=LEVELS)
            return
        self.sound += np.bincount(level[~mask], minlength=LEVELS)
        self.defective += np.bincount(level[mask], minlength=LEVELS)
        for region in connected(mask):
            present, counts = np.unique(level[region], return_counts=True)
            self.regions.append((kind, present.astype(np.int64), counts.astype(np.int64)))

    def _levels(self, values: npt.NDArray[np.floating]) -> Counts:
        if values.min() < self.low - 1e-4 * abs(self.low) or values.max() > self.high + 1e-4 * abs(self.high):
            raise InputError(f"Values lie outside {self.low:g} to {self.high:g}: give the range of all maps.")
        width = max(self.high - self.low, np.finfo(np.float64).tiny)
        scaled = (values.astype(np.float64) - self.low) * ((LEVELS - 1) / width)
        return np.clip(np.rint(scaled), 0, LEVELS - 1).astype(np.int64)

    def roc_auc(self) -> float:
        """Area under the ROC curve of pixels, ties counted half; NaN without sound or without defective pixels."""
        if not self.sound.sum() or not self.defective.sum():
            return float("nan")
        below = np.cumsum(self.sound) - self.sound
        won = (self.defective * (below + self.sound / 2)).sum()
        return float(won / (float(self.sound.sum()) * float(self.defective.sum())))

    def aupro(self, limit: float = LIMIT, kind: str | None = None) -> float:
        """Area under the per-region-overlap curve up to a false-positive rate of `limit`, divided by it: 0 to 1.

        Every connected region (8 neighbours) counts the same. With `kind` only the regions of one kind of defect count.
        NaN without regions or sound pixels. Bergmann et al., CVPR 2019, section 4.2, "MVTec AD".
        """
        chosen = [(present, counts) for name, present, counts in self.regions if kind is None or name == kind]
        if not chosen or not self.sound.sum():
            return float("nan")
        gained = np.zeros(LEVELS)
        for present, counts in chosen:
            gained[present] += counts / counts.sum()
        overlap = np.concatenate([[0.0], np.cumsum(gained[::-1]) / len(chosen)])
        rate = np.concatenate([[0.0], np.cumsum(self.sound[::-1]) / self.sound.sum()])
        return _area_up_to(rate, overlap, limit) / limit

    def kinds(self) -> list[str]:
        """The kinds of defects that have regions, sorted."""
        return sorted({name for name, _, _ in self.regions})


def connected(mask: npt.NDArray[np.bool_]) -> Sequence[npt.NDArray[np.bool_]]:
    """The connected regions (8 neighbours) of a mask (H, W), as masks."""
    from scipy.ndimage import label

    numbered, many = label(mask, np.ones((3, 3), np.int64))
    return [numbered == i for i in range(1, many + 1)]


def _area_up_to(x: Values, y: Values, limit: float) -> float:
    """Area by the trapezoid rule under a curve with rising x, from 0 to `limit`, where it is cut by a straight line."""
    inside = int(np.searchsorted(x, limit, "right"))
    xs, ys = x[:inside], y[:inside]
    if inside < len(x):
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        xs, ys = np.append(xs, limit), np.append(ys, y[inside - 1] + share * (y[inside] - y[inside - 1]))
    return float(np.trapezoid(ys, xs))
