"""RISE: where visibility goes with a higher score, over random soft masks. Petsiuk et al. 2018, arXiv:1806.07421."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray
from .maps import Answer
from .masking import Hiding, Subject, check_at_least, check_between, explain_each


@dataclass(frozen=True, slots=True, kw_only=True)
class RiseSettings(Hiding):
    """How RISE asks.

    `samples` is the budget in forward passes, at least 16; asking ends earlier when the maps of two halves correlate by
    at least `stable` (above 1: never). Masks are random grids of `cells` across each side of the image, a cell being
    visible with the chance `visible`, made smooth and laid with a random shift.
    """

    samples: int = 2000
    cells: int = 7
    visible: float = 0.5
    stable: float = 0.9

    def __post_init__(self) -> None:
        Hiding.__post_init__(self)
        check_at_least("samples", self.samples, 16)
        check_at_least("cells", self.cells, 1)
        check_between("visible", self.visible, 0, 1)


class RandomMasks:
    """Soft masks, all drawn at once but made only when asked for.

    A mask is the bilinear interpolation of a random 0/1 lattice whose spacing is a cell, under a shift drawn evenly
    from a whole cell: every pixel, at the border too, is visible by `visible` on average, with the same spread.
    """

    def __init__(self, size: tuple[int, int], settings: RiseSettings) -> None:
        random = np.random.default_rng(settings.seed)
        points = settings.cells + 2
        self._lattices = random.random((settings.samples, points, points)) < settings.visible
        self._shifts = random.random((settings.samples, 2), np.float32)
        self._axes = [((np.arange(n) + 0.5) * settings.cells / n).astype(np.float32) for n in size]
        self._points = np.arange(points, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._lattices)

    def __getitem__(self, chunk: slice) -> FloatArray:
        down, across = (
            np.maximum(0, 1 - np.abs((self._shifts[chunk, d, None] + axis)[..., None] - self._points))
            for d, axis in enumerate(self._axes)
        )
        masks: FloatArray = down @ self._lattices[chunk].astype(np.float32) @ across.transpose(0, 2, 1)
        return masks


class RunningCovariance:
    """Sums over samples from which the map, its standard error and its two halves follow; as much memory as 8 maps.

    The map is `E[score * mask] / visible - E[score]`: the mean score while a pixel is visible, minus the mean score.
    It is estimated by the sample covariance of score and mask over `visible`, which is unbiased.
    """

    def __init__(self, targets: int, pixels: int, visible: float) -> None:
        self.count = 0
        self._visible = np.float32(visible)
        self._centre: FloatArray | None = None
        self._totals = np.zeros((2, targets + 1))
        self._products = np.zeros((2, targets + 1, pixels), np.float32)
        self._squares = np.zeros((2 * targets + 1, pixels), np.float32)

    def add(self, masks: FloatArray, scores: FloatArray) -> None:
        """Take in masks (b, pixels), which are changed, and scores (b, T); every other sample belongs to one half."""
        if self._centre is None:
            # Single precision suffices for the sums once about the mean has been taken off.
            self._centre = scores.mean(axis=0)
        rest = np.concatenate([(scores - self._centre).T, np.ones((1, len(scores)), np.float32)])
        odd = (np.arange(self.count, self.count + len(scores)) % 2).astype(np.float32)
        halves = np.stack([rest * (1 - odd), rest * odd])
        masks -= self._visible
        self.count += len(scores)
        self._totals += halves.sum(axis=2, dtype=np.float64)
        self._products += halves @ masks
        np.square(masks, out=masks)
        self._squares += np.concatenate([np.square(rest[:-1]), rest]) @ masks

    def values(self) -> FloatArray:
        """The map (T, pixels) float32 from all samples."""
        return self._map(self._totals.sum(axis=0), self._products.sum(axis=0))

    def standard_errors(self) -> FloatArray:
        """Of `values`, from the scatter of score times mask over the samples; (T, pixels) float32."""
        mean = self._means(self._totals.sum(axis=0))
        fourth, third, second = np.split(self._squares, [len(mean), 2 * len(mean)])
        scatter = (fourth - 2 * mean * third + mean**2 * second) / self.count
        scatter -= np.square(self.values() * self._visible)
        return np.asarray(np.sqrt(np.maximum(scatter, 0) / self.count) / self._visible, np.float32)

    def agreement(self) -> float:
        """The correlation between the maps of the two halves, least over the targets; 1 for two empty maps."""
        maps = [self._map(*sums) for sums in zip(self._totals, self._products, strict=True)]
        one, other = (half - half.mean(axis=1, keepdims=True) for half in maps)
        scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
        products = (one * other).sum(axis=1)
        return float(np.divide(products, scale, out=np.ones_like(scale), where=scale > 0).min())

    @staticmethod
    def _means(totals: npt.NDArray[np.float64]) -> FloatArray:
        return np.asarray((totals[:-1] / totals[-1])[:, None], np.float32)

    def _map(self, totals: npt.NDArray[np.float64], products: FloatArray) -> FloatArray:
        covariance = (products[:-1] - self._means(totals) * products[-1]) / np.float32(totals[-1] - 1)
        return np.asarray(covariance / self._visible, np.float32)


def sampled(subject: Subject, settings: RiseSettings) -> RunningCovariance:
    """Ask until the maps of two halves of the samples agree, looking after a quarter, a half and all of the budget."""
    masks = RandomMasks(subject.size, settings)
    sums = RunningCovariance(len(subject.targets), subject.size[0] * subject.size[1], settings.visible)
    for stop in (len(masks) // 4, len(masks) // 2, len(masks)):
        chunks = (masks[chunk] for chunk in subject.slices(sums.count, stop))
        for visible, scores in subject.answers(chunks):
            sums.add(visible.reshape(len(visible), -1), scores)
        if sums.agreement() >= settings.stable:
            break
    return sums


def explain_one(subject: Subject, settings: RiseSettings) -> Answer:
    """Map (T, h, w) of one image: the mean score while a pixel is visible, minus the mean over all masks.

    It is signed and blurred over about a cell. The remark has the typical (root mean square) standard error per target.
    """
    sums = sampled(subject, settings)
    agreement = sums.agreement()
    agreed = agreement >= settings.stable
    typical = np.sqrt(np.square(sums.standard_errors()).mean(axis=1))
    return sums.values().reshape(-1, *subject.size), {
        "samples": sums.count,
        "stable": agreed,
        "correlation_of_halves": round(agreement, 4),
        "stopped_by": "stable" if agreed else "budget",
        "targets": {
            name: {"standard_error": float(f"{e:.4g}")} for name, e in zip(subject.targets, typical, strict=True)
        },
    }


rise = explain_each(explain_one)
