"""Weighted counts of an evaluation, from which every metric is computed.

Weights are the trick. A bootstrap resample is a multiplicity for every image, so a metric that takes weights (N, B)
gives its value in B resamples at once. All but the areas under curves are functions of weighted sums, which is one
matrix product; the areas need the images sorted by score, once for all resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..classifier import Task, gives_score
from .intervals import Indices, Values

CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Ranking:
    """N images arranged by one score, so that areas under ROC and precision-recall curves are quick for any weights.

    `positives` and `negatives` index the images of either kind, by rising score. For each positive, `negatives_below`
    and `negatives_upto` count the negatives with a lower and with no higher score, and `positives_below` the positives
    with a lower one: this is how ties are counted exactly.
    """

    positives: Indices
    negatives: Indices
    negatives_below: Indices
    negatives_upto: Indices
    positives_below: Indices

    @classmethod
    def of(cls, scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> Ranking:
        """Rank images by `scores` (N,), of which those marked `positive` (N,) should score high."""
        order = np.argsort(scores, kind="stable")
        positives, negatives = order[positive[order]], order[~positive[order]]
        high, low = scores[positives], scores[negatives]
        return cls(
            positives,
            negatives,
            np.searchsorted(low, high, "left"),
            np.searchsorted(low, high, "right"),
            np.searchsorted(high, high, "left"),
        )

    def areas(self, weights: Values) -> tuple[Values, Values]:
        """ROC-AUC and average precision for image weights (N, B), shape (B,) each; NaN without both kinds."""
        own, below = weights[self.positives], _running_sum(weights[self.negatives])
        positives, negatives = own.sum(axis=0), below[-1]
        beaten = below[self.negatives_below]
        false_alarms = negatives - beaten
        hits = positives - _running_sum(own)[self.positives_below]
        precision = np.divide(hits, hits + false_alarms, out=np.zeros_like(hits), where=hits > 0)
        beaten += below[self.negatives_upto]
        both = (positives > 0) & (negatives > 0)
        roc = ratio(np.einsum("nb,nb->b", own, beaten), 2 * positives * negatives)
        average = np.where(both, ratio(np.einsum("nb,nb->b", own, precision), positives), np.nan)
        return roc, average


@dataclass(frozen=True, slots=True)
class Tally:
    """Weighted counts of one evaluation under B weightings of its images.

    `total` (B,). `actual`, `predicted` and `correct` (K, B) count the images of a class, those said to be of it, and
    those rightly said so. `roc_area` and `average_precision` (K, B) are one class against the rest. `sums` holds what
    only some tasks have: `loss`, `squared` and `absolute` (1, B), `gaps` (bins, B), `target` and `target_squared`.
    """

    total: Values
    actual: Values
    predicted: Values
    correct: Values
    roc_area: Values
    average_precision: Values
    sums: dict[str, Values]

    @property
    def wrongly_predicted(self) -> Values:
        """False positives of each class, (K, B)."""
        return self.predicted - self.correct

    @property
    def rightly_rejected(self) -> Values:
        """True negatives of each class, (K, B)."""
        rejected: Values = self.total - self.actual - self.wrongly_predicted
        return rejected

    def summary(self, values: Values) -> Values:
        """One figure (B,) from one per class (K, B).

        The positive class's own for two classes, otherwise the plain mean over the classes that have images.
        """
        if len(values) == 2:
            positive: Values = values[1]
            return positive
        counted = (self.actual > 0) & ~np.isnan(values)
        return ratio(np.where(counted, values, 0).sum(axis=0), counted.sum(axis=0))


class Answers:
    """What a model answered on N images, arranged once so that any weighting of the images is scored quickly.

    `scores` (N, K) are probabilities, or (N, 1) the outputs of a regression whose target is the class index. `labels`
    and `predicted` (N,) are class indices below `classes`. Without `ranked` the areas under curves, which take the
    longest, are not known.
    """

    def __init__(
        self,
        task: Task,
        classes: int,
        labels: Indices,
        predicted: Indices,
        scores: npt.NDArray[Any],
        *,
        ranked: bool = True,
    ) -> None:
        self.task, self.classes, self.scores = task, classes, scores
        self.labels, self.predicted = labels, predicted
        columns = np.column_stack([-scores, scores]) if scores.shape[1] == 1 else scores
        ranked_classes = range(classes if ranked else 0)
        self._rankings = [Ranking.of(columns[:, k], labels == k) for k in ranked_classes]
        self._blocks = {
            "actual": _indicator(labels, classes),
            "predicted": _indicator(predicted, classes),
            "correct": _indicator(labels, classes, (labels == predicted).astype(np.float64)),
            **(_regression(labels, scores[:, 0]) if gives_score(task) else _probabilistic(labels, scores)),
        }

    def tally(self, weights: Values) -> Tally:
        """The counts under each of B weightings, `weights` (N, B)."""
        unknown = np.full((self.classes, 2, weights.shape[1]), np.nan)
        areas = np.array([ranking.areas(weights) for ranking in self._rankings]) if self._rankings else unknown
        sums: dict[str, Values] = {name: np.asarray(block @ weights) for name, block in self._blocks.items()}
        counts = {name: sums.pop(name) for name in ("actual", "predicted", "correct")}
        return Tally(weights.sum(axis=0), **counts, roc_area=areas[:, 0], average_precision=areas[:, 1], sums=sums)


def _running_sum(rows: Values) -> Values:
    """Sums of the first 0, 1, ..., n rows: (n + 1, B)."""
    sums = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows, axis=0, out=sums[1:])
    return sums


def ratio(part: Values, whole: npt.NDArray[Any]) -> Values:
    """Division that gives NaN where there is nothing to divide by."""
    quotient = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


def _indicator(keys: Indices, rows: int, values: Values | None = None) -> Any:
    """A sparse matrix (rows, N) with `values` (ones by default) of image n in row `keys[n]`."""
    from scipy.sparse import csr_array

    n = len(keys)
    return csr_array((np.ones(n) if values is None else values, (keys, np.arange(n))), shape=(rows, n))


def _regression(labels: Indices, outputs: npt.NDArray[Any]) -> dict[str, Values]:
    """Terms (1, N) whose weighted sums give the errors of a regression."""
    target = labels.astype(np.float64)[None]
    error = outputs.astype(np.float64) - target
    return {"absolute": np.abs(error), "squared": error**2, "target": target, "target_squared": target**2}


def _probabilistic(labels: Indices, probabilities: npt.NDArray[Any]) -> dict[str, Any]:
    """Terms (1, N) and (bins, N) whose weighted sums give the scores of probabilities."""
    p = probabilities.astype(np.float64)
    rows = np.arange(len(p))
    # Probabilities are float32: one of exactly 0 stands for anything below this.
    likelihood = np.clip(p[rows, labels], np.finfo(np.float32).eps, 1)
    if p.shape[1] == 2:
        confidence, outcome = p[:, 1], labels == 1
        squared = (confidence - outcome) ** 2
    else:
        confidence, outcome = p.max(axis=1), p.argmax(axis=1) == labels
        squared = (p**2).sum(axis=1) - 2 * p[rows, labels] + 1
    bins = np.clip((confidence * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
    gaps = _indicator(bins, CALIBRATION_BINS, confidence - outcome)
    return {"loss": -np.log(likelihood)[None], "squared": squared[None], "gaps": gaps}
