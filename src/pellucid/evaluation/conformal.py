"""Prediction sets and intervals with a promised coverage, by split-conformal prediction.

A score says how badly a class fits an image. Every class of a new image whose score is at most a quantile of the true
classes' scores on validation images belongs to the image's set. If new images come from where the validation images
came from, the true class is in the set for at least the promised share of images, whatever the model is worth (Vovk,
Gammerman, Shafer, Algorithmic Learning in a Random World, 2005). The share holds on average over validation sets; what
one validation set gives lies in the band of `coverage_band`.

Images of one group (a patient) are not independent. Each group then counts once, shared equally by its images, which
promises the coverage for a random image of a random new group (Lee, Barber, Willett, "Distribution-free inference with
hierarchical data", JRSS B 2025, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..documents import FiniteDocument
from ..errors import InputError
from .difficulty import Difficulty
from .intervals import LEVEL, Indices, Resampling, Values
from .risk import ROUNDING

SetScore = Literal["lac", "aps", "raps"]
Conditional = Literal["all", "class", "subgroup"]
Members = npt.NDArray[np.bool_]

COVERAGE = 0.95
PENALTY, FREE = 0.1, 2
"""RAPS: what each class beyond the first two adds to the score."""


def needed(coverage: float) -> int:
    """The fewest validation images (or groups) that a coverage is promised from: 10 for 90 %, 20 for 95 %.

    The quantile is finite from one image fewer on; this rule, which MAPIE has as well, keeps clear of that edge.
    """
    return math.ceil(1 / (1 - coverage) - 1e-9)


def conformal_quantile(scores: npt.ArrayLike, coverage: float, groups: Sequence[str] = ()) -> float:
    """The score that a new one stays at or below with a probability of at least `coverage`.

    Of n independent `scores` (N,) the ceil((n + 1) * coverage)-th smallest, and infinite where that exceeds n. With
    `groups` (N,), the images of one group weigh 1 / its size each, and n counts groups; an image whose group is "" is a
    group of its own. Raises InputError for a coverage that is not between 0 and 1, or scores that are not numbers.
    """
    given = np.asarray(scores, np.float64)
    if not 0 < coverage < 1:
        raise InputError(f"A coverage is a share between 0 and 1, and {coverage:g} is not: 0.9, say.")
    if given.ndim != 1 or np.isnan(given).any():
        raise InputError(f"Scores must be one number for each image, and have the shape {given.shape}, or are NaN.")
    if not len(given):
        return math.inf
    units = Resampling.of(len(given), groups, resamples=100, seed=0)
    weights = 1 / np.bincount(units.unit_of)[units.unit_of]
    order = np.argsort(given, kind="stable")
    place = int(np.searchsorted(np.cumsum(weights[order]), (units.units + 1) * coverage - 1e-9))
    return float(given[order[place]]) if place < len(given) else math.inf


def set_scores(probabilities: npt.ArrayLike, score: SetScore, *, left_out: float | npt.ArrayLike = 1.0) -> Values:
    """How badly each class fits, (N, K), of probabilities (N, K): the lower, the better.

    `lac` is one minus the probability and gives the smallest sets (Sadinle, Lei, Wasserman, J. Am. Stat. Assoc. 114
    (2019) 223). `aps` sums the probabilities of the classes from the most probable one down to this, of which the share
    `left_out` is not counted: 1 makes sets that always hold the most probable class, 0 counts it whole, and a uniform
    number for each image (N, 1) gives the exact coverage of the randomised sets (Romano, Sesia, Candès, NeurIPS 2020).
    `raps` adds 0.1 for each class after the second (Angelopoulos and others, ICLR 2021).
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] < 2 or not np.isfinite(p).all():
        raise InputError(f"Probabilities must be finite and of shape (images, classes), not {p.shape}.")
    if score == "lac":
        least: Values = 1 - p
        return least
    order = np.argsort(-p, axis=1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=1)
    sums = np.cumsum(sorted_p, axis=1) - np.asarray(left_out, np.float64) * sorted_p
    if score == "raps":
        sums = sums + PENALTY * np.maximum(np.arange(1, p.shape[1] + 1) - FREE, 0)
    scores = np.empty_like(p)
    np.put_along_axis(scores, order, sums, axis=1)
    return scores


class ClassSets(FiniteDocument):
    """The rule that makes prediction sets, and what it was fitted to.

    A class belongs to an image's set when its `score` is at most the class's entry in `thresholds` (K,); None: always.
    `by` says for what the `coverage` is promised: for `all` images together, for the images of each `class`, or of each
    named `subgroup`. `images` (and `groups`, where there are any) of each class were used, in the order of the classes.
    """

    score: SetScore
    coverage: float = Field(gt=0, lt=1)
    by: Conditional = "all"
    thresholds: tuple[float | None, ...]
    images: tuple[int, ...]
    groups: tuple[int, ...] | None = None

    def members(self, probabilities: npt.ArrayLike, *, never_empty: bool = True) -> Members:
        """Which classes belong to the sets of images with probabilities (N, K): (N, K).

        With `never_empty` the most probable class is always in, which can only raise the coverage: the plain LAC rule
        leaves the set empty where no class is probable enough.
        """
        scores = set_scores(probabilities, self.score)
        limits = np.array([math.inf if t is None else t for t in self.thresholds])
        inside: Members = scores <= limits
        if never_empty:
            inside[np.arange(len(inside)), np.asarray(probabilities).argmax(axis=1)] = True
        return inside

    @property
    def units(self) -> tuple[int, ...]:
        """How many independent units of each class were used: groups where there are any, else images."""
        return self.groups or self.images


def fit_sets(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    coverage: float = COVERAGE,
    score: SetScore = "lac",
    by: Conditional = "all",
    groups: Sequence[str] = (),
    subgroups: Sequence[str] = (),
) -> ClassSets:
    """Fit the rule of prediction sets to validation images with labels (N,) and probabilities (N, K).

    `groups` (N,) name what is not independent, such as patients. `subgroups` (N,) name kinds of images, such as
    devices: with `by="subgroup"` the widest threshold of any subgroup is taken, so that each is covered although the
    subgroup of a new image is not known. With `by="class"` a class of too few images belongs to every set. Raises
    InputError for arrays that do not fit each other.
    """
    truth, p = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    scores = set_scores(p, score)
    if truth.shape != (len(p),) or (len(truth) and not 0 <= truth.min() <= truth.max() < p.shape[1]):
        raise InputError(f"There must be one label below {p.shape[1]} for each of {len(p)} images.")
    own, named = scores[np.arange(len(p)), truth], tuple(groups) or ("",) * len(p)
    classes = range(p.shape[1])
    if by == "class":
        limits = [_limit(own, named, truth == k, coverage) for k in classes]
    elif by == "subgroup":
        kinds = np.array([str(s) for s in subgroups] or [""] * len(p))
        limits = [max(_limit(own, named, kinds == kind, coverage) for kind in np.unique(kinds))] * p.shape[1]
    else:
        limits = [_limit(own, named, np.ones(len(p), bool), coverage)] * p.shape[1]
    units = Resampling.of(len(p), named, resamples=100, seed=0)
    return ClassSets(
        score=score,
        coverage=coverage,
        by=by,
        thresholds=tuple(None if math.isinf(t) else t + ROUNDING * abs(1 - t) for t in limits),
        images=tuple(int((truth == k).sum()) for k in classes),
        groups=tuple(units.units_among(truth == k) for k in classes) if units.grouped else None,
    )


def _limit(scores: Values, groups: Sequence[str], chosen: Members, coverage: float) -> float:
    named = [g for g, c in zip(groups, chosen, strict=True) if c]
    return conformal_quantile(scores[chosen], coverage, named)


class ScoreInterval(FiniteDocument):
    """An interval for the target of a regression: the output plus and minus `half_width` times its difficulty.

    With a `normalised` interval the difficulty differs from image to image, as `difficulty` expects it; otherwise it is
    1. `by` says for what the `coverage` is promised: for `all` images together, or those of each named `subgroup`.
    """

    coverage: float = Field(gt=0, lt=1)
    half_width: float = Field(ge=0)
    normalised: bool = False
    difficulty: Difficulty | None = None
    by: Conditional = "all"
    images: int
    groups: int | None = None

    def around(self, outputs: npt.ArrayLike, outside: npt.ArrayLike | None = None) -> tuple[Values, Values]:
        """Lower and upper ends (N,) for outputs (N,) of images with `outside` scores (N,), if known."""
        return self.of(outputs, 1.0 if self.difficulty is None else self.difficulty.of(outputs, outside))

    def of(self, outputs: npt.ArrayLike, difficulty: npt.ArrayLike = 1.0) -> tuple[Values, Values]:
        """Lower and upper ends (N,) for outputs (N,), with the images' `difficulty` (N,) for a normalised interval."""
        centre = np.asarray(outputs, np.float64)
        half = self.half_width * (np.asarray(difficulty, np.float64) if self.normalised else 1.0)
        return centre - half, centre + half


def fit_interval(
    targets: npt.ArrayLike,
    outputs: npt.ArrayLike,
    *,
    coverage: float = COVERAGE,
    difficulty: npt.ArrayLike | None = None,
    groups: Sequence[str] = (),
    subgroups: Sequence[str] = (),
) -> ScoreInterval | None:
    """Fit an interval to the absolute residuals of validation images, or to these over a `difficulty` (N,) above 0.

    `targets` and `outputs` (N,). With `subgroups` (N,) the widest interval of any is taken, so that each is covered.
    None where there are too few images for the coverage. Raises InputError for arrays that do not fit each other, or a
    difficulty that is not above 0. Reference: Papadopoulos, Vovk, Gammerman, J. Artif. Intell. Res. 40 (2011) 815.
    """
    truth, given = np.asarray(targets, np.float64), np.asarray(outputs, np.float64)
    if truth.ndim != 1 or truth.shape != given.shape:
        raise InputError(f"There are targets of shape {truth.shape} and outputs of shape {given.shape}.")
    scale = np.ones(len(truth)) if difficulty is None else np.asarray(difficulty, np.float64)
    if scale.shape != truth.shape or not (scale > 0).all():
        raise InputError("The difficulty must be one number above 0 for each image.")
    far, named = np.abs(truth - given) / scale, tuple(groups) or ("",) * len(truth)
    kinds = np.array([str(s) for s in subgroups] or [""] * len(truth))
    half = max((_limit(far, named, kinds == kind, coverage) for kind in np.unique(kinds)), default=math.inf)
    if math.isinf(half):
        return None
    units = Resampling.of(len(truth), groups, resamples=100, seed=0)
    return ScoreInterval(
        coverage=coverage,
        half_width=half * (1 + ROUNDING),
        normalised=difficulty is not None,
        by="subgroup" if len(subgroups) else "all",
        images=len(truth),
        groups=units.units if units.grouped else None,
    )


@dataclass(frozen=True, slots=True)
class CoverageBand:
    """Between what the coverage of `new` images lies with `confidence`, when `fitted` independent ones were used."""

    low: float
    high: float
    mean: float


def coverage_band(fitted: int, coverage: float, new: int, confidence: float = LEVEL) -> CoverageBand:
    """What coverage is to be expected of `new` images after fitting to `fitted`, when scores do not tie.

    The number covered is beta-binomial with k and fitted + 1 - k, for k = ceil((fitted + 1) * coverage) (Angelopoulos
    and Bates, "Conformal prediction: a gentle introduction", 2023, appendix C). All are covered where k exceeds fitted.
    """
    from scipy.stats import betabinom

    k = math.ceil((fitted + 1) * coverage - 1e-9)
    if k > fitted:
        return CoverageBand(1.0, 1.0, 1.0)
    law, tail = betabinom(new, k, fitted + 1 - k), (1 - confidence) / 2
    return CoverageBand(float(law.ppf(tail)) / new, float(law.ppf(1 - tail)) / new, k / (fitted + 1))


def covered(members: Members, labels: Indices) -> Members:
    """Whether the set of each image (N, K) holds its label (N,)."""
    inside: Members = members[np.arange(len(labels)), labels]
    return inside
