"""Additive models of a classifier's score over superpixels, fitted to samples with some superpixels hidden.

LIME and KernelSHAP are two such fits: they differ in what is hidden together, and in what a sample weighs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray
from .masking import Subject
from .superpixels import Labels, visible_pixels

Coalitions: TypeAlias = npt.NDArray[np.bool_]
"""Which superpixels are visible in each sample, (n, S)."""

Doubles: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights (S, T) in the score's unit, their standard errors (S, T) from sampling, and R² (T,) of the fit."""

    weights: Doubles
    standard_errors: Doubles
    r2: Doubles


@dataclass(frozen=True, slots=True)
class Samples:
    """What is to be asked and how the answers are fitted.

    `units` (n,) numbers the independent draws; rows of one draw follow each other, and rows that were not drawn at
    random have -1. `fit` takes coalitions and scores (n, T).
    """

    coalitions: Coalitions
    units: npt.NDArray[np.intp]
    fit: Callable[[Coalitions, Doubles], Fit]


def least_squares(
    design: Doubles, scores: Doubles, weights: Doubles, *, paired: bool = False
) -> tuple[Doubles, Doubles]:
    """Coefficients (p, T) and their standard errors, by weighted least squares of scores (n, T) on a design (n, p).

    All targets share one factorisation. Standard errors are those of random sampling and allow for scatter that differs
    between samples: the sandwich with jackknifed residuals (HC3, MacKinnon and White 1985); when `paired`, rows 2i and
    2i + 1 are one draw. A design that does not determine the coefficients gives the shortest ones.
    """
    bread = np.linalg.pinv((design.T * weights) @ design, rcond=1e-10, hermitian=True)
    influence = design @ bread
    fitted = influence.T @ (weights[:, None] * scores)
    residuals = scores - design @ fitted
    leverage = weights * (influence * design).sum(axis=1)
    pull = weights[:, None] * residuals / np.maximum(1 - leverage, 0.05)[:, None]
    variance = np.square(influence).T @ np.square(pull)
    if paired:
        variance += 2 * (influence[0::2] * influence[1::2]).T @ (pull[0::2] * pull[1::2])
    return fitted, np.sqrt(np.maximum(variance, 0))


def r_squared(scores: Doubles, predicted: Doubles, weights: Doubles) -> Doubles:
    """The share (T,) of the weighted scatter of scores (n, T) that is predicted; 1 where they do not differ.

    It can be below 0 for a prediction that is not the best in the least squares of these scores, as KernelSHAP's.
    """
    spread = weights @ np.square(scores - weights @ scores / max(weights.sum(), np.finfo(float).tiny))
    return np.asarray(1 - weights @ np.square(scores - predicted) / np.where(spread > 0, spread, 1.0))


def scores_of_coalitions(subject: Subject, labels: Labels, coalitions: Coalitions) -> Doubles:
    """The scores (n, T) of the image with only some superpixels visible."""
    masks = (visible_pixels(coalitions[chunk], labels) for chunk in subject.slices(0, len(coalitions)))
    found = [scores for _, scores in subject.answers(masks)]
    return np.concatenate(found).astype(np.float64) if found else np.zeros((0, len(subject.targets)))


def fit_until_stable(
    subject: Subject, labels: Labels, samples: Samples, *, top: int, stable: float
) -> tuple[Fit, dict[str, Any]]:
    """Ask until the `top` superpixels of two independent halves of the samples agree, or all samples were asked.

    The halves are compared after a quarter, a half and all of the samples, but never on fewer than four per superpixel.
    Gives the fit to all that was asked, and what is to be said of it.
    """
    total, count = samples.coalitions.shape
    stops = [stop for stop in (2 * (total // 8), 2 * (total // 4)) if stop >= 4 * count]
    scores = np.zeros((0, len(subject.targets)))
    agreement = 0.0
    for stop in (*stops, total):
        asked = scores_of_coalitions(subject, labels, samples.coalitions[len(scores) : stop])
        scores = np.concatenate([scores, asked])
        agreement = _agreement_of_halves(samples, scores, top)
        if agreement >= stable:
            break
    fit = samples.fit(samples.coalitions[: len(scores)], scores)
    agreed = agreement >= stable
    remark = {"samples": len(scores), "stable": agreed, "jaccard": round(agreement, 4)}
    return fit, {**remark, "stopped_by": "stable" if agreed else "budget"}


def _agreement_of_halves(samples: Samples, scores: Doubles, top: int) -> float:
    units, coalitions = samples.units[: len(scores)], samples.coalitions[: len(scores)]
    halves = []
    for half in (0, 1):
        rows = (units < 0) | (units % 2 == half)
        halves.append(samples.fit(coalitions[rows], scores[rows]).weights)
    return min(jaccard(*(top_superpixels(h[:, t], top) for h in halves)) for t in range(scores.shape[1]))


def top_superpixels(weights: Doubles, top: int) -> list[int]:
    """The numbers of the `top` superpixels of greatest weight (S,) either way, greatest first; none that weigh 0."""
    strength = np.abs(weights)
    order = np.argsort(-strength, kind="stable")[:top]
    return [int(s) for s in order if strength[s] > 0]


def jaccard(one: Sequence[int], other: Sequence[int]) -> float:
    """Size of the intersection over that of the union; 1 for two empty sets."""
    union = set(one) | set(other)
    return len(set(one) & set(other)) / len(union) if union else 1.0


def painted(weights: Doubles, labels: Labels) -> FloatArray:
    """Every pixel with the weight of its superpixel: (T, h, w) float32 from weights (S, T)."""
    return np.asarray(weights.T.astype(np.float32)[:, labels])


def described(subject: Subject, fit: Fit, remark: dict[str, Any], top: int) -> dict[str, Any]:
    """What is kept beside the map, in plain JSON values.

    Per target: `r2`, the `top` superpixels, and the weight and standard error of each superpixel in order of number.
    """
    targets = {
        name: {
            "r2": _short(fit.r2[t]),
            "top": top_superpixels(fit.weights[:, t], top),
            "weights": [_short(w) for w in fit.weights[:, t]],
            "standard_errors": [_short(e) for e in fit.standard_errors[:, t]],
        }
        for t, name in enumerate(subject.targets)
    }
    return {"superpixels": len(fit.weights), **remark, "targets": targets}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
