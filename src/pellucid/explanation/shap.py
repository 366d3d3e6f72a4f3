"""KernelSHAP: the score shared out over superpixels by Shapley's rule. Lundberg and Lee 2017, arXiv:1705.07874."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .additive import (
    Coalitions,
    Doubles,
    Fit,
    Samples,
    described,
    fit_until_stable,
    least_squares,
    painted,
    r_squared,
    scores_of_coalitions,
)
from .maps import Answer
from .masking import Hiding, Subject, check_at_least, explain_each
from .superpixels import Labels, cut


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapSettings(Hiding):
    """How KernelSHAP asks.

    `samples` is the budget in forward passes, at least 4 per superpixel. When all subsets of the superpixels fit into
    it (10 superpixels into 1,024) the values are exact; otherwise asking ends earlier when the `top` superpixels of two
    halves have a Jaccard index of at least `stable` (above 1: never). `superpixels` is about how many pieces the image
    is cut into, `compactness` how square they are.
    """

    samples: int = 1024
    superpixels: int = 60
    compactness: float = 10.0
    top: int = 5
    stable: float = 0.9

    def __post_init__(self) -> None:
        Hiding.__post_init__(self)
        check_at_least("superpixels", self.superpixels, 1)
        check_at_least("samples (4 per superpixel)", self.samples, 4 * self.superpixels)
        check_at_least("top", self.top, 1)
        check_at_least("compactness", self.compactness, 1e-6)


def fit_shap(coalitions: Coalitions, scores: Doubles, weights: Doubles, *, paired: bool) -> Fit:
    """Shapley values (S, T) by least squares that sum to the score of the whole image minus that of the hidden one.

    The first row of the coalitions (n, S) shows all superpixels, the second none; `weights` (n - 2,) are for the rest.
    When every superpixel has been given its even share of the sum, least squares on centred rows finds the deviations
    from it, which sum to 0.
    """
    total = scores[0] - scores[1]
    rows, count = coalitions[2:].astype(np.float64), coalitions.shape[1]
    share = rows.mean(axis=1, keepdims=True)
    gains = scores[2:] - scores[1]
    deviations, errors = least_squares(rows - share, gains - share * total, weights, paired=paired)
    values = deviations + total / count
    return Fit(values, errors, r_squared(gains, rows @ values, weights))


def shap_samples(count: int, settings: ShapSettings) -> Samples:
    """All and none of `count` superpixels, then pairs of a random subset and its complement.

    Sizes k are drawn in proportion to 1 / (k (count - k)), the weight that KernelSHAP gives to all subsets of a size
    together, so that every sample weighs the same. Pairs cancel all that an even number of superpixels do together
    (Covert and Lee 2021, arXiv:2012.01536).
    """
    random = np.random.default_rng(settings.seed)
    pairs = (settings.samples - 2) // 2
    sizes = np.arange(1, count)
    likely = 1 / (sizes * (count - sizes))
    drawn = random.choice(sizes, pairs, p=likely / likely.sum())
    ranks = random.permuted(np.tile(np.arange(count), (pairs, 1)), axis=1)
    subsets = ranks < drawn[:, None]
    coalitions = np.empty((2 + 2 * pairs, count), np.bool_)
    coalitions[0], coalitions[1], coalitions[2::2], coalitions[3::2] = True, False, subsets, ~subsets
    units = np.repeat(np.arange(-1, pairs), 2)
    return Samples(coalitions, units, lambda z, y: fit_shap(z, y, np.ones(len(z) - 2), paired=True))


def exact_shap(subject: Subject, labels: Labels, count: int) -> tuple[Fit, dict[str, Any]]:
    """Shapley values from all 2^count subsets, without error of sampling."""
    numbers = np.arange(2**count)
    numbers[[0, 1]], numbers[2:] = (2**count - 1, 0), np.arange(1, 2**count - 1)
    coalitions = (numbers[:, None] >> np.arange(count)) & 1 == 1
    scores = scores_of_coalitions(subject, labels, coalitions)
    size = coalitions[2:].sum(axis=1)
    subsets = np.array([math.comb(count, k) for k in range(count + 1)], np.float64)
    fit = fit_shap(coalitions, scores, 1 / (subsets[size] * size * (count - size)), paired=False)
    remark = {"samples": len(scores), "stable": True, "jaccard": 1.0, "stopped_by": "all subsets"}
    return Fit(fit.weights, np.zeros_like(fit.weights), fit.r2), remark


def explain_one(subject: Subject, settings: ShapSettings) -> Answer:
    """Map (T, h, w) of one image: each pixel has the Shapley value of its superpixel."""
    labels = cut(subject.classifier.preprocessing.to_pixels(subject.image), settings)
    count = int(labels.max()) + 1
    if 2**count <= settings.samples:
        fit, remark = exact_shap(subject, labels, count)
    else:
        samples = shap_samples(count, settings)
        fit, remark = fit_until_stable(subject, labels, samples, top=settings.top, stable=settings.stable)
    return painted(fit.weights, labels), described(subject, fit, remark, settings.top)


kernel_shap = explain_each(explain_one)
