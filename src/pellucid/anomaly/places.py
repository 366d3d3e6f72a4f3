"""What is usual at each place of an image: at its border a network sees its own padding, and says other things.

On tiles the greatest distance of 95 of 100 normal images lay in an outermost cell, with distances in one unit for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..preprocessing import FloatArray

FEW = 10
"""Images as many as which the assumption counts that all places are alike."""


@dataclass(frozen=True, slots=True)
class UsualPlaces:
    """Of normal images: `cells` (h, w), their usual distance in units of its mean over the image; and `shares` (h, w).

    The latter is how much more or less than the mean a cell has of the image's distance. Its mean is 0, so that the
    shares that are left still add up to the image's distance.
    """

    cells: FloatArray
    shares: FloatArray


def usual_places(cells: FloatArray, shares: FloatArray | None) -> UsualPlaces:
    """The places of N normal images from their distances `cells` (N, h, w), and from `shares` (N, h, w) if there are.

    They are of detectors that have not learnt from these images: the distances that a detector has learnt to be short
    would be so everywhere.
    """
    usual = _usual(cells.mean(axis=0), len(cells))
    if shares is None:
        return UsualPlaces(usual, np.zeros_like(usual))
    above = shares.mean(axis=0)
    return UsualPlaces(usual, (_trust(len(cells)) * (above - above.mean())).astype(np.float32))


def placed_by_others(cells: FloatArray) -> FloatArray:
    """The distances `cells` (N, h, w) of each image in units of what is usual among the others at the same place.

    A new image is measured against others, too: scores that choose a threshold are then made as those that it judges.
    """
    others = max(len(cells) - 1, 1)
    found: FloatArray = cells / _usual((cells.sum(axis=0) - cells) / np.float32(others), others)
    return found


def _usual(mean: FloatArray, images: int) -> FloatArray:
    """Mean distances (..., h, w) of some images in units of their mean over the image, nearer to 1 for few."""
    middle = np.maximum(mean.mean(axis=(-2, -1), keepdims=True), np.float32(1e-12))
    return np.asarray(1 + _trust(images) * (mean / middle - 1), np.float32)


def _trust(images: int) -> float:
    return images / (images + FEW)
