"""An anomaly detector as arrays: features to a map of distances and a score. The ONNX graph computes the same.

There are two parts, each in units of how much it varies among held-out normal images. The local part is, in each cell,
the distance of its patch to the nearest of a memory of normal patches (PatchCore), or to the Gaussian of its position
(PaDiM). The whole part is the distance of the image's statistics from those of normal images, divided among the cells
(`moments.py`). Both are measured against what is usual at their place in the image, since a network says other things
at its border than within (`places.py`). The map is the sum of both above what is usual, gathered from cells that look
alike (`gathering.py`); the score is the mean of the greatest cells of the local part, and the mean over all cells of
the whole part, which weighs more in it: it tells best that something is wrong, and the local part tells best where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import BundleError
from ..preprocessing import FloatArray
from .gathering import gathered, pointed
from .gaussian import Gaussian
from .memory import nearest, reweighted_scores, top_mean
from .moments import contributions
from .places import UsualPlaces


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What a backbone says of N images: `patches` (N, h, w, C), `statistics` (N, S), and the layers' `maps` if kept.

    `guide` (N, G, H, W) is an earlier layer that says which cells look alike, if there is one.
    """

    patches: FloatArray
    statistics: FloatArray
    maps: tuple[FloatArray, ...] = ()
    guide: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.patches)

    def take(self, rows: npt.NDArray[np.bool_]) -> ImageFeatures:
        """Those of some images."""
        guide = None if self.guide is None else self.guide[rows]
        return ImageFeatures(self.patches[rows], self.statistics[rows], tuple(m[rows] for m in self.maps), guide)


@dataclass(frozen=True, slots=True)
class Parts:
    """Distances of N images before they are put together: `local` (N, h, w) and `whole` (N,), None where not used."""

    local: FloatArray | None
    whole: FloatArray | None


@dataclass(frozen=True, slots=True)
class PatchMemory:
    """Normal patches `rows` (M, C), after each channel was multiplied by `scale` (C,)."""

    rows: FloatArray
    scale: FloatArray

    def scaled(self, patches: FloatArray) -> FloatArray:
        """Patches (..., C) in the memory's units."""
        scaled: FloatArray = patches * self.scale
        return scaled

    def distances(self, patches: FloatArray) -> FloatArray:
        """Distances (N, h, w) of patches (N, h, w, C) to the nearest row."""
        n, h, w, channels = patches.shape
        found = np.empty((n, h * w), np.float32)
        for i in range(n):  # image by image: scaled copies of all patches would double the memory that is needed
            found[i] = nearest(self.scaled(patches[i]).reshape(-1, channels), self.rows)[0][:, 0]
        return found.reshape(n, h, w)


@dataclass(frozen=True, slots=True)
class PositionGaussians:
    """A Gaussian for each of P cells: `mean` (P, D) and `whitening` (P, D, D) of the `channels` (D,) that are used."""

    mean: FloatArray
    whitening: FloatArray
    channels: npt.NDArray[np.int64]

    def distances(self, patches: FloatArray) -> FloatArray:
        """Mahalanobis distances (N, h, w) of patches (N, h, w, C), each to the Gaussian of its own cell."""
        n, h, w, _ = patches.shape
        cells = patches[..., self.channels].reshape(n, h * w, -1).transpose(1, 0, 2) - self.mean[:, None]
        white = cells @ self.whitening
        found: FloatArray = np.sqrt(np.einsum("pnd,pnd->np", white, white)).reshape(n, h, w)
        return found


@dataclass(frozen=True, slots=True)
class Detector:
    """A fitted detector. `local_unit` and `whole_unit` divide the two parts; `top` cells make up the local score.

    `map_units` divide them in the map, where they may weigh otherwise; None: as in the score. With `reweighted` the
    local score is PatchCore's: see `memory.reweighted_scores`. `places`, if any, says what is usual in each cell.
    `usual` is what is subtracted from the whole map, and `gathers` says that it is gathered and pointed.
    """

    local: PatchMemory | PositionGaussians | None
    whole: Gaussian | None
    grid: tuple[int, int]
    local_unit: float = 1.0
    whole_unit: float = 1.0
    top: int = 1
    reweighted: bool = False
    map_units: tuple[float, float] | None = None
    places: UsualPlaces | None = None
    usual: float = 0.0
    gathers: bool = False

    @property
    def units_of_map(self) -> tuple[float, float]:
        """What divides the local part and that of the image in the map."""
        return self.map_units or (self.local_unit, self.whole_unit)

    @property
    def memory_rows(self) -> int:
        """How many patches are kept."""
        return len(self.local.rows) if isinstance(self.local, PatchMemory) else 0

    def parts(self, features: ImageFeatures) -> Parts:
        """The two distances, in the units of the features."""
        return Parts(
            self._distances(features),
            None if self.whole is None else self.whole.distances(features.statistics),
        )

    def _distances(self, features: ImageFeatures) -> FloatArray | None:
        """The distances (N, h, w) of the cells, None without a local part."""
        if self.local is None:
            return None
        found = self.local.distances(features.patches)
        return found if self.places is None else found / self.places.cells

    def shares(self, features: ImageFeatures) -> FloatArray:
        """How the image's distance divides among the cells (N, h, w) of images whose layers' maps were kept."""
        if self.whole is None:
            return np.zeros((len(features), *self.grid), np.float32)
        found = contributions(features.maps, features.statistics, self.whole, self.grid)
        return found if self.places is None else found - self.places.shares

    def maps(self, features: ImageFeatures) -> FloatArray:
        """The map (N, h, w), or (N, H, W) of the guide's grid, of images whose layers' maps were kept."""
        shares = None if self.whole is None else self.shares(features)
        found = self.added(self._distances(features), shares) - np.float32(self.usual)
        if not self.gathers:
            return found
        return pointed(found if features.guide is None else gathered(found, features.guide))

    def added(self, local: FloatArray | None, shares: FloatArray | None) -> FloatArray:
        """Distances of cells and shares of the image's distance, (N, h, w) each, as one map before the rest is done."""
        units = zip((local, shares), self.units_of_map, strict=True)
        parts = [values / np.float32(unit) for values, unit in units if values is not None]
        return np.asarray(sum(parts[1:], parts[0]), np.float32)

    def local_scores(self, local: FloatArray, features: ImageFeatures | None = None) -> FloatArray:
        """The local scores (N,) of distances (N, h, w); `features` are needed with `reweighted` alone."""
        if self.reweighted and isinstance(self.local, PatchMemory) and features is not None:
            return reweighted_scores(local, self.local.scaled(features.patches), self.local.rows)
        return top_mean(local, self.top)

    def scores(self, features: ImageFeatures) -> FloatArray:
        """The scores (N,) of images."""
        parts = self.parts(features)
        found = np.zeros(len(features), np.float32)
        if parts.local is not None:
            found += self.local_scores(parts.local, features) / np.float32(self.local_unit)
        if parts.whole is not None:
            found += parts.whole / np.float32(self.whole_unit)
        return found

    def arrays(self) -> dict[str, FloatArray]:
        """Everything fitted, by name: what a bundle keeps beside its graph."""
        found: dict[str, FloatArray] = {
            "units": np.array([self.local_unit, self.whole_unit, *self.units_of_map], np.float32),
            "score": np.array([self.top, self.reweighted, *self.grid], np.float32),
            "map": np.array([self.usual, self.gathers], np.float32),
        }
        if isinstance(self.local, PatchMemory):
            found |= {"memory": self.local.rows, "memory.scale": self.local.scale}
        elif self.local is not None:
            found |= {
                "cells.mean": self.local.mean,
                "cells.whitening": self.local.whitening,
                "cells.channels": self.local.channels.astype(np.float32),
            }
        if self.whole is not None:
            found |= {"image.mean": self.whole.mean, "image.whitening": self.whole.whitening}
        if self.places is not None:
            found |= {"places.cells": self.places.cells, "places.shares": self.places.shares}
        return found


def detector_of(arrays: Mapping[str, FloatArray]) -> Detector:
    """The detector of `Detector.arrays`; BundleError where arrays are missing."""
    try:
        local: PatchMemory | PositionGaussians | None = None
        if "memory" in arrays:
            local = PatchMemory(arrays["memory"], arrays["memory.scale"])
        elif "cells.mean" in arrays:
            channels = arrays["cells.channels"].astype(np.int64)
            local = PositionGaussians(arrays["cells.mean"], arrays["cells.whitening"], channels)
        whole = Gaussian(arrays["image.mean"], arrays["image.whitening"]) if "image.mean" in arrays else None
        places = UsualPlaces(arrays["places.cells"], arrays["places.shares"]) if "places.cells" in arrays else None
        units, (top, reweighted, height, width) = arrays["units"].tolist(), arrays["score"]
    except (KeyError, ValueError) as error:
        raise BundleError(f"The weights of the anomaly detector lack {error}. Copy the bundle again.") from error
    grid = int(height), int(width)
    of_map = (units[2], units[3]) if len(units) > 2 else None  # detectors of before weighed the map as the score
    usual, gathers = arrays["map"].tolist() if "map" in arrays else (0.0, False)  # and kept it as it was
    return Detector(
        local, whole, grid, units[0], units[1], int(top), bool(reweighted), of_map, places, usual, bool(gathers)
    )
