"""How an image's features are spread as a whole, and how its distance from normal images divides among its cells.

For every channel of every layer: the mean over the image, and the logarithms of the standard deviation and of the root
mean square step from cell to cell, down and to the right, which tell coarse from fine and lying from standing structure
(on tiles: cracks). A Gaussian of these, fitted to normal images, gives an image's distance d = |L (z - mu)|. With the
gradient w = L'L (z - mu) / d the distance is w'(z - mu) exactly, and each of the statistics is a mean over cells, so
that d is the mean of a map. Rippel et al. (ICPR 2020, arXiv:2005.14140) use the means alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..preprocessing import FloatArray
from .gaussian import Gaussian

KINDS = 4
"""Statistics of a channel: mean, log standard deviation, and log root mean square step down and to the right."""
LEAST = 1e-6
"""Added to a mean square: a channel that is the same everywhere has a logarithm too."""


def deviations(values: FloatArray, mean: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What is squared in the statistics of feature maps (N, C, h, w): from the `mean` (N, C), and from cell to cell.

    The steps are to the next row and to the next column; those of the last are 0.
    """
    down, right = np.zeros_like(values), np.zeros_like(values)
    down[:, :, :-1] = values[:, :, 1:] - values[:, :, :-1]
    right[..., :-1] = values[..., 1:] - values[..., :-1]
    return values - mean[..., None, None], down, right


def moments(values: FloatArray) -> FloatArray:
    """Statistics (N, 4 C) of feature maps (N, C, h, w): all means, then each kind of log root mean square."""
    mean = values.mean(axis=(2, 3))
    squares = [(part * part).mean(axis=(2, 3)) + np.float32(LEAST) for part in deviations(values, mean)]
    found: FloatArray = np.concatenate([mean, *(np.log(square) / 2 for square in squares)], axis=1)
    return found


def statistics_of(maps: Sequence[FloatArray]) -> FloatArray:
    """Statistics (N, S) of several layers' maps, one after the other."""
    return np.concatenate([moments(values) for values in maps], axis=1)


def contributions(
    maps: Sequence[FloatArray], statistics: FloatArray, gaussian: Gaussian, grid: tuple[int, int]
) -> FloatArray:
    """The map (N, *grid) whose mean over the image is its distance from the Gaussian, up to the resampling of cells.

    `maps` are those of which `statistics` (N, S) were taken. The part of a mean goes to a cell by its value, that of a
    mean square by the share that the cell gives; half of a step belongs to either cell.
    """
    around = statistics - gaussian.mean
    distances = np.maximum(gaussian.distances(statistics), np.finfo(np.float32).tiny)
    weights = (around @ gaussian.whitening) @ gaussian.whitening.T / distances[:, None]
    found = np.zeros((len(statistics), *grid), np.float32)
    start = 0
    for values in maps:
        channels, height, width = values.shape[1:]
        mean, *logs = (slice(start + k * channels, start + (k + 1) * channels) for k in range(KINDS))
        above = values - gaussian.mean[mean, None, None]
        cells = np.einsum("nc,nchw->nhw", weights[:, mean], above)
        shares = []
        for kind, part in zip(logs, deviations(values, statistics[:, mean]), strict=True):
            scaled = part / np.exp(statistics[:, kind, None, None])
            shares.append(np.einsum("nc,nchw->nhw", weights[:, kind] * around[:, kind], scaled * scaled))
        cells += shares[0] + halves(height) @ shares[1] + shares[2] @ halves(width).T
        found += resampling(height, grid[0]) @ cells @ resampling(width, grid[1]).T
        start += KINDS * channels
    return found


def halves(cells: int) -> FloatArray:
    """Weights (cells, cells) that give a step, which stands at its first cell, to that and to the next."""
    weights: FloatArray = np.zeros((cells, cells), np.float32)
    weights[np.arange(cells), np.arange(cells)] = 0.5
    weights[np.arange(1, cells), np.arange(cells - 1)] = 0.5
    return weights


def resampling(cells: int, wanted: int) -> FloatArray:
    """Weights (wanted, cells) of linear interpolation between cell centres, the outermost reaching to the edge."""
    place = np.clip((np.arange(wanted) + 0.5) * cells / wanted - 0.5, 0, cells - 1)
    lower = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    share = place - lower
    weights = np.zeros((wanted, cells), np.float32)
    weights[np.arange(wanted), lower] = 1 - share
    weights[np.arange(wanted), np.minimum(lower + 1, cells - 1)] += share
    return weights
