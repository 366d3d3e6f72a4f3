"""From the distances of cells to a map that is easy to read: gathered from cells that look alike, and pointed.

Distances are coarse, and spread to cells beside a defect, whose features reach that far. A part that looks the same
throughout is normal or anomalous throughout: each cell of a finer grid takes the mean of all cells of the image,
weighed by how much they look like it in an early layer of the network (the guide) and how near they are. That is joint
bilateral upsampling (Kopf et al., SIGGRAPH 2007) with features as the guide. Then what is raised beside a much higher
cell is lowered.
"""

from __future__ import annotations

import numpy as np

from ..preprocessing import FloatArray
from .moments import resampling

LIKENESS = 0.35
"""Squared distance of two cells' features at which one counts e times less for the other, in units of its mean between
neighbours. In those units the same value serves images of one texture and of many; it and NEARNESS were chosen on tiles
and on films with pasted defects (docs/benchmarks.md)."""
NEARNESS = 5.0
"""How quickly weights fall with the squared distance of two cells, in sides of the image."""
LEAST = 1e-6
"""Added to the mean squared distance of neighbours: an image may be the same everywhere."""
MOST_PAIRS = 3_000_000
"""Pairs of cells at most: four bytes each, for each image that is in work at the same time."""


def gathered(maps: FloatArray, guide: FloatArray) -> FloatArray:
    """Maps (N, h, w) on the finer grid of the `guide` (N, C, H, W): each cell the mean of those that look like it."""
    images, channels = guide.shape[:2]
    grid, fine = maps.shape[1:], guide.shape[2:]
    apart = between_places(fine, (grid[0], grid[1]))
    rows, columns = resampling(fine[0], grid[0]), resampling(fine[1], grid[1])
    found = np.empty((images, *fine), np.float32)
    for i in range(images):
        coarse = rows @ guide[i] @ columns.T
        keys = coarse.reshape(channels, -1)
        middle = keys.mean(axis=1, keepdims=True)
        keys, asked = keys - middle, guide[i].reshape(channels, -1) - middle
        squares = np.einsum("cp,cp->p", keys, keys)
        unit = np.float32(LIKENESS * (_between_neighbours(coarse) + LEAST))
        likeness = (2 * asked.T @ keys - squares) / unit - apart
        weights = np.exp(likeness - likeness.max(axis=1, keepdims=True))
        found[i] = ((weights @ maps[i].ravel()) / weights.sum(axis=1)).reshape(fine)
    return found


def _between_neighbours(cells: FloatArray) -> float:
    """The mean squared distance of cells (C, h, w) from those below and beside them."""
    found = 0.0
    for axis in (1, 2):
        step = np.diff(cells, axis=axis)
        found += float(np.sum(step * step)) / max(step[0].size, 1) / 2
    return found


def between_places(fine: tuple[int, ...], grid: tuple[int, int]) -> FloatArray:
    """By how much the weight of each cell of a grid, for each of a finer one, falls with distance: (H W, h w)."""
    sides = zip(fine, grid, strict=True)
    across = [((np.arange(f) + 0.5)[:, None] / f - (np.arange(g) + 0.5) / g) ** 2 for f, g in sides]
    squares = across[0][:, None, :, None] + across[1][None, :, None, :]
    return np.ascontiguousarray(NEARNESS * squares.reshape(fine[0] * fine[1], -1), np.float32)


def pointed(maps: FloatArray) -> FloatArray:
    """Maps (N, h, w) in which each value above 0 is multiplied by its share of its image's greatest.

    The greatest stays as it is, and values below 0, too.
    """
    top = np.maximum(maps.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(np.minimum(maps, 0) + np.maximum(maps, 0) ** 2 / top, np.float32)
