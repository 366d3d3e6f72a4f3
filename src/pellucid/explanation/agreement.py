"""How alike two maps are: Spearman's rank correlation, which asks for order and not for scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..preprocessing import FloatArray

Doubles = npt.NDArray[np.float64]

CELLS = 28
"""Maps are compared in at most as many cells along a side, so that grain finer than that does not decide."""


def coarse(maps: FloatArray, cells: int = CELLS) -> FloatArray:
    """Maps (..., h, w) as the means of blocks, at most `cells` along each side; smaller maps stay as they are."""
    for axis in (-2, -1):
        length = maps.shape[axis]
        if length > cells:
            starts = (np.arange(cells) * length) // cells
            sizes = np.diff(np.append(starts, length)).astype(np.float32)
            sums = np.add.reduceat(maps, starts, axis=axis)
            maps = np.asarray(sums / (sizes[:, None] if axis == -2 else sizes), np.float32)
    return maps


def rank_correlation(one: FloatArray, other: FloatArray) -> Doubles:
    """Spearman's correlation (N,) of maps (N, h, w) image by image, -1 to 1; NaN where a map is the same everywhere.

    Ties have their mean rank. Raises InputError for maps of different shapes.
    """
    if one.shape != other.shape:
        raise InputError(f"Maps of one shape can be compared, not {one.shape} and {other.shape}.")
    from scipy.stats import rankdata

    ranks = [rankdata(m.reshape(len(m), -1), axis=1) for m in (one, other)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    found: Doubles = np.divide((a * b).sum(axis=1), scale, out=np.full(len(one), np.nan), where=scale > 0)
    return found


def agreement(maps: Mapping[str, FloatArray]) -> Doubles:
    """Rank correlations (M, M, N) between M methods' maps (N, h, w) of the same N images, cell by cell."""
    small = [coarse(m) for m in maps.values()]
    found = np.ones((len(small), len(small), len(small[0]) if small else 0))
    for i, one in enumerate(small):
        for j in range(i):
            found[i, j] = found[j, i] = rank_correlation(one, small[j])
    return found
