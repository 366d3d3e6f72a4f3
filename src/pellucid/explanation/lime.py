"""LIME: the score near the image as a weighted sum over visible superpixels. Ribeiro et al. 2016, arXiv:1602.04938."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .additive import Coalitions, Doubles, Fit, Samples, described, fit_until_stable, least_squares, painted, r_squared
from .maps import Answer
from .masking import Hiding, Subject, check_at_least, explain_each
from .superpixels import cut


@dataclass(frozen=True, slots=True, kw_only=True)
class LimeSettings(Hiding):
    """How LIME asks.

    `samples` is the budget in forward passes, at least 4 per superpixel; asking ends earlier when the `top` superpixels
    of two halves have a Jaccard index of at least `stable` (above 1: never). `superpixels` is about how many pieces the
    image is cut into, `compactness` how square they are. `kernel_width` is how fast samples lose weight with the share
    hidden, as in the authors' package.
    """

    samples: int = 1000
    superpixels: int = 60
    compactness: float = 10.0
    kernel_width: float = 0.25
    top: int = 5
    stable: float = 0.9

    def __post_init__(self) -> None:
        Hiding.__post_init__(self)
        check_at_least("superpixels", self.superpixels, 1)
        check_at_least("samples (4 per superpixel)", self.samples, 4 * self.superpixels)
        check_at_least("top", self.top, 1)
        check_at_least("compactness", self.compactness, 1e-6)
        check_at_least("kernel_width", self.kernel_width, 1e-3)


def proximity(coalitions: Coalitions, kernel_width: float) -> Doubles:
    """What samples (n, S) weigh: exp(-d² / (2 width²)), d the cosine distance to the whole image."""
    distance = 1 - np.sqrt(coalitions.mean(axis=1))
    return np.asarray(np.exp(-np.square(distance / kernel_width) / 2))


def fit_lime(coalitions: Coalitions, scores: Doubles, kernel_width: float = 0.25) -> Fit:
    """Weights (S, T) by weighted least squares with a constant, from coalitions (n, S) and scores (n, T).

    No ridge, unlike the authors' package: an additive score gives back its own weights.
    """
    design = np.concatenate([coalitions, np.ones((len(coalitions), 1))], axis=1)
    kernel = proximity(coalitions, kernel_width)
    # Minus the first score, so that equal scores give weights of exactly 0.
    changes = scores - scores[0]
    found, errors = least_squares(design, changes, kernel)
    return Fit(found[:-1], errors[:-1], r_squared(changes, design @ found, kernel))


def lime_samples(count: int, settings: LimeSettings) -> Samples:
    """The whole image, then samples with each of `count` superpixels visible by the toss of a coin."""
    coalitions = np.random.default_rng(settings.seed).random((settings.samples, count)) < 0.5
    coalitions[0] = True
    return Samples(coalitions, np.arange(-1, len(coalitions) - 1), lambda z, y: fit_lime(z, y, settings.kernel_width))


def explain_one(subject: Subject, settings: LimeSettings) -> Answer:
    """Map (T, h, w) of one image: each pixel has its superpixel's weight, the change in score when that is shown."""
    labels = cut(subject.classifier.preprocessing.to_pixels(subject.image), settings)
    samples = lime_samples(int(labels.max()) + 1, settings)
    fit, remark = fit_until_stable(subject, labels, samples, top=settings.top, stable=settings.stable)
    return painted(fit.weights, labels), described(subject, fit, remark, settings.top)


lime = explain_each(explain_one)
