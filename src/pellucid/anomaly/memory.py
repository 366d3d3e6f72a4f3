"""A memory of normal patches: which patches are kept, and how far a new one is from the nearest kept.

Reference: Roth et al., "Towards total recall in industrial anomaly detection" (PatchCore), CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..preprocessing import FloatArray

Rows = npt.NDArray[np.int64]
BLOCK = 2048
"""Patches taken at a time, so that products with a memory, and copies, stay at some tens of megabytes."""
HEAD = 48
"""Leading coordinates by which a greedy choice sees which patches a new one may be nearest to."""
ROUNDING = 1e-5
"""Share of the largest square by which a bound in float32 may be off."""


def greedy_coreset(patches: FloatArray, size: int, *, seed: int = 0, known: FloatArray | None = None) -> Rows:
    """Rows of `patches` (N, C), `size` in number, that cover the rest: each is the farthest from those before it.

    This is the greedy 2-approximation of the k-centre problem (Gonzalez 1985), as PatchCore's algorithm 1 has it. The
    first is drawn by `seed`, or is the farthest from the `known` patches (M, C), which count as chosen. Fewer rows are
    given where fewer patches differ. Distances are Euclidean, in float32.
    """
    if patches.ndim != 2 or not len(patches):
        raise InputError(f"Patches must be an array (N, C) of at least one, not of shape {patches.shape}.")
    cloud = _Cloud.of(np.ascontiguousarray(patches, np.float32))
    chosen: list[int] = []
    if known is None or not len(known):
        chosen.append(int(np.random.default_rng(seed).integers(len(patches))))
        nearest_so_far = np.full(len(patches), np.inf, np.float32)
        cloud.lower(nearest_so_far, chosen[0])
    else:
        nearest_so_far = nearest(np.asarray(patches, np.float32), known)[0][:, 0] ** 2
    floor = 1e-6 * float(np.einsum("nc,nc->n", cloud.points, cloud.points).max())
    while len(chosen) < min(size, len(patches)):
        farthest = int(nearest_so_far.argmax())
        if nearest_so_far[farthest] <= floor:  # all others are the same as one that is kept
            break
        chosen.append(farthest)
        cloud.lower(nearest_so_far, farthest)
    return np.array(chosen, np.int64)


@dataclass(frozen=True, slots=True)
class _Cloud:
    """Points (N, C) turned to their principal axes, and their leading coordinates `head` (N, HEAD) with `squares` (N,).

    Turning keeps distances, and the distance in the leading coordinates is at most the whole one. Few points can
    therefore be nearer to a new one than to those before, and only these are measured in full.
    """

    points: FloatArray
    head: FloatArray
    squares: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> _Cloud:
        mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        points = np.empty_like(values)
        starts = range(0, len(values), BLOCK)
        axes = np.eye(values.shape[1], dtype=np.float32)
        if values.shape[1] > 2 * HEAD:
            products = np.zeros((values.shape[1], values.shape[1]))
            for start in starts:
                around = values[start : start + BLOCK] - mean
                products += around.T @ around
            axes = np.ascontiguousarray(np.linalg.eigh(products)[1][:, ::-1]).astype(np.float32)
        for start in starts:
            points[start : start + BLOCK] = (values[start : start + BLOCK] - mean) @ axes
        head = np.ascontiguousarray(points[:, :HEAD])
        return cls(points, head, np.einsum("nc,nc->n", head, head))

    def lower(self, squared: FloatArray, row: int) -> None:
        """Lower the squared distances (N,) in place where point `row` is nearer."""
        bound: FloatArray = self.head @ self.head[row]
        bound *= -2
        bound += self.squares
        bound += self.squares[row] - ROUNDING * float(self.squares.max())
        nearer = np.flatnonzero(bound < squared)
        for start in range(0, len(nearer), BLOCK):  # the first rows are nearest to all points
            places = nearer[start : start + BLOCK]
            around = self.points[places] - self.points[row]
            squared[places] = np.minimum(squared[places], np.einsum("nc,nc->n", around, around))


def nearest(patches: FloatArray, memory: FloatArray, neighbours: int = 1) -> tuple[FloatArray, Rows]:
    """Distances (N, k) of patches (N, C) to the k nearest rows of a memory (M, C), rising, and which rows these are."""
    if patches.shape[1] != memory.shape[1]:
        raise InputError(f"Patches have {patches.shape[1]} channels and the memory has {memory.shape[1]}.")
    k = min(neighbours, len(memory))
    # Taken from the memory's middle: the difference of two large squares would lose the digits of a small distance.
    middle = memory.mean(axis=0, dtype=np.float64).astype(np.float32)
    kept = memory - middle
    squares = np.einsum("mc,mc->m", kept, kept)
    distances = np.empty((len(patches), k), np.float32)
    rows = np.empty((len(patches), k), np.int64)
    for start in range(0, len(patches), BLOCK):
        part = patches[start : start + BLOCK] - middle
        squared = part @ kept.T
        squared *= -2
        squared += squares
        found = squared.argmin(axis=1)[:, None] if k == 1 else _smallest(squared, k)
        own = np.einsum("nc,nc->n", part, part)[:, None]
        least = np.take_along_axis(squared, found, axis=1) + own
        distances[start : start + BLOCK] = np.sqrt(np.maximum(least, 0))
        rows[start : start + BLOCK] = found
    return distances, rows


def _smallest(squared: FloatArray, k: int) -> Rows:
    found = np.argpartition(squared, k - 1, axis=1)[:, :k]
    order = np.argsort(np.take_along_axis(squared, found, axis=1), axis=1, kind="stable")
    rows: Rows = np.take_along_axis(found, order, axis=1)
    return rows


def top_mean(maps: FloatArray, cells: int) -> FloatArray:
    """The mean (N,) of the `cells` greatest values of each map (N, h, w)."""
    flat = maps.reshape(len(maps), -1)
    k = min(max(cells, 1), flat.shape[1])
    means: FloatArray = np.partition(flat, flat.shape[1] - k, axis=1)[:, -k:].mean(axis=1, dtype=np.float32)
    return means


def reweighted_scores(maps: FloatArray, patches: FloatArray, memory: FloatArray, neighbours: int = 9) -> FloatArray:
    """PatchCore's image scores (N,): the greatest distance, less where its nearest memory patch has near neighbours.

    `maps` (N, h, w) are the distances of `patches` (N, h, w, C) to the `memory`. With q the patch of the greatest
    distance s and m its nearest row, s is multiplied by 1 - softmax(d(q, n))[m] over the `neighbours` rows n nearest
    to m, m itself among them. Roth et al. 2022, equation 7, as anomalib computes it.
    """
    images = np.arange(len(maps))
    worst = maps.reshape(len(maps), -1).argmax(axis=1)
    queries = patches.reshape(len(maps), -1, patches.shape[-1])[images, worst]
    greatest, rows = nearest(queries, memory)
    near = nearest(memory[rows[:, 0]], memory, neighbours)[1]
    distances = np.linalg.norm(queries[:, None] - memory[near], axis=2)
    shifted = np.exp(distances - distances.max(axis=1, keepdims=True))
    weights = 1 - shifted[:, 0] / shifted.sum(axis=1)
    scores: FloatArray = (weights * greatest[:, 0]).astype(np.float32)
    return scores


def patches_of(maps: Sequence[FloatArray]) -> FloatArray:
    """Feature maps (N, C, h, w) of several layers on one grid as patches (N, h, w, sum of C)."""
    return np.ascontiguousarray(np.concatenate(list(maps), axis=1).transpose(0, 2, 3, 1))
