"""ROC, precision-recall and risk-coverage curves with bootstrap bands, as arrays for the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import DataError, InputError, UnknownNameError
from .intervals import Resampling, Values, percentiles
from .result import EvaluationResult

GRID = np.linspace(0, 1, 201)
"""Where curves are given: every half percent."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve `y` over `x` and its pointwise 95 % band from `low` to `high`, all (P,) float64 within 0..1."""

    x: Values
    y: Values
    low: Values
    high: Values


def roc_curve(result: EvaluationResult, target: str | None = None, *, resamples: int = 2000, seed: int = 0) -> Curve:
    """Sensitivity over the false-positive rate (1 - specificity), starting at (0, 0) and then on a grid.

    `target` is the class to find; by default the positive class. The band is vertical: sensitivity at a given
    false-positive rate. Ties are straight lines. Raises DataError when the split lacks images of either kind, and
    InputError for more than two classes without a `target`. Reference: Fawcett, Pattern Recognit. Lett. 27 (2006) 861.
    """
    y, low, high = _curve(result, target, _sensitivity_at, resamples, seed)
    start = np.zeros(1)
    return Curve(*(np.concatenate([start, values]) for values in (GRID, y, low, high)))


def pr_curve(result: EvaluationResult, target: str | None = None, *, resamples: int = 2000, seed: int = 0) -> Curve:
    """Precision over recall on a grid, as steps: the precision of the strictest threshold with at least that recall.

    The same arguments and errors as `roc_curve`. Reference: Davis and Goadrich, ICML 2006.
    """
    return Curve(GRID, *_curve(result, target, _precision_at, resamples, seed))


def risk_coverage(
    result: EvaluationResult,
    by: Literal["confidence", "outside"] = "confidence",
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Curve:
    """The share of wrong answers over the share of images answered, when the least sure are left to a person.

    `by` is what decides which are left out first: the least `confidence` (for two classes and for a regression, the
    least distance to the threshold), or those farthest `outside` of what was trained on. Images of equal rank are
    taken together, in proportion. Raises InputError when nothing is known of what is outside. Reference: El-Yaniv and
    Wiener, J. Mach. Learn. Res. 11 (2010) 1605.
    """
    rank = _sureness(result, by)
    order = np.argsort(-rank, kind="stable")
    wrong = (result.predicted != result.labels)[order].astype(np.float64)
    last_of_ties = np.append(np.flatnonzero(np.diff(rank[order])), len(rank) - 1)

    def curves(weights: Values) -> Values:
        weights = weights[order]
        answered = np.cumsum(weights, axis=0)[last_of_ties]
        errors = np.cumsum(weights * wrong[:, None], axis=0)[last_of_ties]
        return np.stack([_risk_at(a, e) for a, e in zip(answered.T, errors.T, strict=True)])

    y = curves(np.ones((len(rank), 1)))[0]
    resampling = Resampling.of(len(rank), result.groups, resamples, seed)
    if resampling.units < 2:
        unknown = np.full(len(GRID), np.nan)
        return Curve(GRID, y, unknown, unknown)
    low, high = percentiles(np.concatenate([curves(w) for w in resampling.weights()]).T)
    return Curve(GRID, y, low, high)


def _risk_at(answered: Values, errors: Values) -> Values:
    """The share of errors at each coverage of the grid; at coverage 0, that of the most confident answers."""
    wanted = GRID * answered[-1]
    counted = np.interp(wanted, np.concatenate([[0.0], answered]), np.concatenate([[0.0], errors]))
    first = int(np.flatnonzero(answered)[0])
    risk: Values = np.divide(counted, wanted, out=np.full(len(GRID), errors[first] / answered[first]), where=wanted > 0)
    return risk


def _sureness(result: EvaluationResult, by: Literal["confidence", "outside"]) -> Values:
    """What images (N,) are ranked by, the most confident answers highest."""
    if by == "outside":
        if result.outside is None:
            raise InputError("This model knows nothing of what is outside: train it again, or rank by confidence.")
        nearness: Values = -result.outside.astype(np.float64)
        return nearness
    if result.outputs is not None:
        distance: Values = np.abs(result.outputs.astype(np.float64) - (result.threshold or 0.0))
        return distance
    if result.threshold is None:
        highest: Values = result.probabilities.max(axis=1).astype(np.float64)
        return highest
    edge = min(max(result.threshold, 1e-6), 1 - 1e-6)
    inside = np.clip(result.probabilities[:, 1].astype(np.float64), 1e-7, 1 - 1e-7)
    sureness: Values = np.abs(np.log(inside / (1 - inside)) - np.log(edge / (1 - edge)))
    return sureness


def _curve(
    result: EvaluationResult,
    target: str | None,
    follow: Callable[[Values, Values], Values],
    resamples: int,
    seed: int,
) -> tuple[Values, Values, Values]:
    """A curve on the grid and its band. `follow` makes one from running counts of hits and of false alarms."""
    scores, positive = _one_against_rest(result, target)
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order].astype(np.float64)
    last_of_ties = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)

    def curves(weights: Values) -> Values:
        weights = weights[order]
        hits = np.cumsum(weights * positive[:, None], axis=0)[last_of_ties]
        alarms = np.cumsum(weights * (1 - positive[:, None]), axis=0)[last_of_ties]
        return np.stack([follow(h, a) for h, a in zip(hits.T, alarms.T, strict=True) if h[-1] and a[-1]] or [nothing])

    nothing = np.full(len(GRID), np.nan)
    y = curves(np.ones((len(scores), 1)))[0]
    resampling = Resampling.of(len(scores), result.groups, resamples, seed)
    if resampling.units < 2:
        return y, nothing, nothing
    low, high = percentiles(np.concatenate([curves(w) for w in resampling.weights()]).T)
    return y, low, high


def _sensitivity_at(hits: Values, alarms: Values) -> Values:
    """Sensitivity at each false-positive rate of the grid; at the top of the step where there is one."""
    rates = np.concatenate([[0.0], alarms / alarms[-1]])
    found = np.concatenate([[0.0], hits / hits[-1]])
    sensitivity: Values = np.interp(GRID, rates, found)
    return sensitivity


def _precision_at(hits: Values, alarms: Values) -> Values:
    """Precision at each recall of the grid; at recall 0, of the first threshold that finds anything."""
    # Half a hit is less than any step of the counts, and more than any rounding.
    wanted = np.maximum(GRID * hits[-1] - 1e-6, 0.5)
    first = np.searchsorted(hits, wanted, "left")
    precision: Values = hits[first] / (hits[first] + alarms[first])
    return precision


def _one_against_rest(result: EvaluationResult, target: str | None) -> tuple[Values, np.ndarray]:
    """Scores (N,) for the wanted class and which images are of it (N,)."""
    if target is None and len(result.classes) > 2:
        raise InputError(f"With more than two classes a curve needs a target: one of {', '.join(result.classes)}.")
    if target is not None and target not in result.classes:
        raise UnknownNameError("class", target, result.classes)
    index = 1 if target is None else result.classes.index(target)
    positive = result.labels == index
    if positive.all() or not positive.any():
        raise DataError(
            f"A curve for {result.classes[index]} needs images of it and of something else, and the"
            f" {result.split} split has {positive.sum()} of {len(positive)}."
        )
    if result.outputs is None:
        return result.probabilities[:, index].astype(np.float64), positive
    return result.outputs.astype(np.float64) * (1 if index == 1 else -1), positive
