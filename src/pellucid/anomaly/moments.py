"""How an image's features are spread as a whole, and how its distance from normal images divides among its cells.

For every channel of every layer: the mean over the image, and the logarithm of the standard deviation. A Gaussian of
these, fitted to normal images, gives an image's distance d = |L (z - mu)|. With the gradient
w = L'L (z - mu) / d the distance is w'(z - mu) exactly, and each of the statistics is a mean over cells, so that d is
the mean of a map. Rippel et al. (ICPR 2020, arXiv:2005.14140) use the means alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..preprocessing import FloatArray
from .gaussian import Gaussian

KINDS = 2
"""Statistics of a channel: mean and log standard deviation."""
LEAST = 1e-6
"""Added to a variance: a channel that is the same everywhere has a logarithm too."""


def moments(values: FloatArray) -> FloatArray:
    """Statistics (N, 2 C) of feature maps (N, C, h, w): all means, then all log deviations."""
    mean = values.mean(axis=(2, 3), keepdims=True)
    around = values - mean
    variance = (around * around).mean(axis=(2, 3), keepdims=True) + np.float32(LEAST)
    found: FloatArray = np.concatenate([mean[..., 0, 0], np.log(variance[..., 0, 0]) / 2], axis=1)
    return found


def statistics_of(maps: Sequence[FloatArray]) -> FloatArray:
    """Statistics (N, S) of several layers' maps, one after the other."""
    return np.concatenate([moments(values) for values in maps], axis=1)


def contributions(
    maps: Sequence[FloatArray], statistics: FloatArray, gaussian: Gaussian, grid: tuple[int, int]
) -> FloatArray:
    """The map (N, *grid) whose mean over the image is its distance from the Gaussian, up to the resampling of cells.

    `maps` are those of which `statistics` (N, S) were taken. The part of a mean goes to a cell by its value, that of a
    log deviation by the share of the variance that the cell gives.
    """
    around = statistics - gaussian.mean
    distances = np.maximum(gaussian.distances(statistics), np.finfo(np.float32).tiny)
    weights = (around @ gaussian.whitening) @ gaussian.whitening.T / distances[:, None]
    found = np.zeros((len(statistics), *grid), np.float32)
    start = 0
    for values in maps:
        n, channels, height, width = values.shape
        mean, log = (slice(start + k * channels, start + (k + 1) * channels) for k in range(KINDS))
        flat = values.reshape(n, channels, -1)
        scaled = (flat - statistics[:, mean, None]) / np.exp(statistics[:, log, None])
        each = np.einsum("nc,ncp->np", weights[:, mean], flat - gaussian.mean[mean, None]) + np.einsum(
            "nc,ncp->np", weights[:, log] * around[:, log], scaled * scaled
        )
        rows, columns = resampling(height, grid[0]), resampling(width, grid[1])
        found += rows @ each.reshape(n, height, width) @ columns.T
        start += KINDS * channels
    return found


def resampling(cells: int, wanted: int) -> FloatArray:
    """Weights (wanted, cells) of linear interpolation between cell centres, the outermost reaching to the edge."""
    place = np.clip((np.arange(wanted) + 0.5) * cells / wanted - 0.5, 0, cells - 1)
    lower = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    share = place - lower
    weights = np.zeros((wanted, cells), np.float32)
    weights[np.arange(wanted), lower] = 1 - share
    weights[np.arange(wanted), np.minimum(lower + 1, cells - 1)] += share
    return weights
