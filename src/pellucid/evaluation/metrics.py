"""The metrics: each one function of weighted counts, and one row of the catalogue.

Weights are the trick. A bootstrap resample is a multiplicity for every image, so a metric that takes weights (N, B)
gives its value in B resamples at once. All but the areas under curves are functions of weighted sums, which is one
matrix product; the areas need the images sorted by score, once for all resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..classifier import Task
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
        roc = _ratio(np.einsum("nb,nb->b", own, beaten), 2 * positives * negatives)
        average = np.where(both, _ratio(np.einsum("nb,nb->b", own, precision), positives), np.nan)
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
        return _ratio(np.where(counted, values, 0).sum(axis=0), counted.sum(axis=0))


class Answers:
    """What a model answered on N images, arranged once so that any weighting of the images is scored quickly.

    `scores` (N, K) are probabilities, or (N, 1) the outputs of a regression whose target is the class index. `labels`
    and `predicted` (N,) are class indices below `classes`. Without
    `ranked` the areas under curves, which take the longest, are not known.
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
        self.task, self.classes, self.labels, self.predicted = task, classes, labels, predicted
        columns = np.column_stack([-scores, scores]) if scores.shape[1] == 1 else scores
        ranked_classes = range(classes if ranked else 0)
        self._rankings = [Ranking.of(columns[:, k], labels == k) for k in ranked_classes]
        self._blocks = {
            "actual": _indicator(labels, classes),
            "predicted": _indicator(predicted, classes),
            "correct": _indicator(labels, classes, (labels == predicted).astype(np.float64)),
            **(_regression(labels, scores[:, 0]) if task == "regression" else _probabilistic(labels, scores)),
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


def _ratio(part: Values, whole: npt.NDArray[Any]) -> Values:
    """Division that gives NaN where there is nothing to divide by."""
    quotient = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


def _mean(t: Tally, name: str) -> Values:
    """The weighted mean over images of one of the sums."""
    return _ratio(t.sums[name][0], t.total)


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


def precision_by_class(t: Tally) -> Values:
    """Of the images said to be of a class, the share that is. (K, B), NaN where none was."""
    return _ratio(t.correct, t.predicted)


def recall_by_class(t: Tally) -> Values:
    """Of the images of a class, the share that was found. (K, B)."""
    return _ratio(t.correct, t.actual)


def specificity_by_class(t: Tally) -> Values:
    """Of the images of the other classes, the share that was not taken for this one. (K, B)."""
    return _ratio(t.rightly_rejected, t.total - t.actual)


def npv_by_class(t: Tally) -> Values:
    """Of the images said not to be of a class, the share that is not. (K, B)."""
    return _ratio(t.rightly_rejected, t.total - t.predicted)


def f1_by_class(t: Tally) -> Values:
    """Harmonic mean of precision and recall, as 2 TP / (2 TP + FP + FN). (K, B)."""
    return _ratio(2 * t.correct, t.actual + t.predicted)


def accuracy(t: Tally) -> Values:
    """The share of images that were answered rightly."""
    return _ratio(t.correct.sum(axis=0), t.total)


def balanced_accuracy(t: Tally) -> Values:
    """Mean recall over the classes that have images; NaN with fewer than two of them."""
    present = (t.actual > 0).sum(axis=0)
    return np.where(present > 1, _ratio(np.nan_to_num(recall_by_class(t)).sum(axis=0), present), np.nan)


def precision(t: Tally) -> Values:
    """Precision of the positive class; the mean over K classes, where one that is never predicted counts as 0."""
    values = precision_by_class(t)
    return t.summary(values if len(values) == 2 else np.nan_to_num(values))


def recall(t: Tally) -> Values:
    """Recall of the positive class, or the mean over K classes."""
    return t.summary(recall_by_class(t))


def specificity(t: Tally) -> Values:
    """Specificity of the positive class, or the mean over K classes."""
    return t.summary(specificity_by_class(t))


def npv(t: Tally) -> Values:
    """Negative predictive value of the positive class, or the mean over K classes."""
    return t.summary(npv_by_class(t))


def f1(t: Tally) -> Values:
    """F1 of the positive class, or the mean over K classes."""
    return t.summary(f1_by_class(t))


def mcc(t: Tally) -> Values:
    """Matthews' correlation for K classes: 0 when one class is always predicted, NaN when only one has images.

    Reference: Gorodkin, Comput. Biol. Chem. 28 (2004) 367.
    """
    covariance = t.correct.sum(axis=0) * t.total - (t.actual * t.predicted).sum(axis=0)
    spread_actual = t.total**2 - (t.actual**2).sum(axis=0)
    spread_predicted = t.total**2 - (t.predicted**2).sum(axis=0)
    value = np.nan_to_num(_ratio(covariance, np.sqrt(spread_actual * spread_predicted)))
    return np.where(spread_actual > 0, value, np.nan)


def roc_auc(t: Tally) -> Values:
    """Area under the ROC curve, ties counted half; the mean of one class against the rest over K classes.

    Reference: Fawcett, Pattern Recognit. Lett. 27 (2006) 861.
    """
    return t.summary(t.roc_area)


def pr_auc(t: Tally) -> Values:
    """Area under the precision-recall curve as average precision (steps, no interpolation); mean over K classes.

    Reference: Davis and Goadrich, ICML 2006, on why straight lines between points would be wrong.
    """
    return t.summary(t.average_precision)


def loss(t: Tally) -> Values:
    """Cross-entropy in nats: minus the mean log probability of the true class, no probability below 1.2e-7."""
    return _mean(t, "loss")


def brier(t: Tally) -> Values:
    """The Brier score: (p - y)^2 of the positive class, or summed over K classes (0..2), mean over images.

    Reference: Brier, Mon. Weather Rev. 78 (1950) 1.
    """
    return _mean(t, "squared")


def ece(t: Tally) -> Values:
    """Expected calibration error: mean distance of confidence and outcome in 15 bins of equal width.

    Of the positive class's probability for two classes, of the most likely class's for more. Reference: Guo et al.,
    ICML 2017.
    """
    return _ratio(np.abs(t.sums["gaps"]).sum(axis=0), t.total)


def mae(t: Tally) -> Values:
    """Mean absolute error of a regression's output, in units of the class index."""
    return _mean(t, "absolute")


def rmse(t: Tally) -> Values:
    """Root of the mean squared error of a regression's output, in units of the class index."""
    return np.sqrt(_mean(t, "squared"))


def r2(t: Tally) -> Values:
    """Share of the target's variance that a regression explains: 1 perfect, 0 the mean, below 0 worse than that."""
    target, squares = t.sums["target"][0], t.sums["target_squared"][0]
    unexplained = _ratio(t.sums["squared"][0], squares - target**2 / t.total)
    return 1 - unexplained


Base = Literal["all", "actual", "not-actual", "predicted", "not-predicted", "pairs", ""]
"""What a proportion is a share of: all images, those of a class, those said to be of it, ... or "" for no proportion.

"pairs" are pairs of one image of the class and one of another.
"""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of the catalogue; `compute` gives its value under each of B weightings."""

    title: str
    compute: Callable[[Tally], Values]
    tasks: tuple[Task, ...]
    higher_is_better: bool
    base: Base = ""


_CLASSIFYING: tuple[Task, ...] = ("binary", "multiclass")
_REGRESSING: tuple[Task, ...] = ("regression",)
_EVERY: tuple[Task, ...] = (*_CLASSIFYING, *_REGRESSING)

METRICS: dict[str, MetricRow] = {
    "mae": MetricRow("Mean absolute error", mae, _REGRESSING, False),
    "rmse": MetricRow("Root mean squared error", rmse, _REGRESSING, False),
    "r2": MetricRow("R²", r2, _REGRESSING, True),
    "accuracy": MetricRow("Accuracy", accuracy, _EVERY, True, "all"),
    "roc_auc": MetricRow("ROC-AUC", roc_auc, _EVERY, True, "pairs"),
    "sensitivity": MetricRow("Sensitivity", recall, _EVERY, True, "actual"),
    "specificity": MetricRow("Specificity", specificity, _EVERY, True, "not-actual"),
    "ppv": MetricRow("Positive predictive value", precision, _EVERY, True, "predicted"),
    "npv": MetricRow("Negative predictive value", npv, _EVERY, True, "not-predicted"),
    "f1": MetricRow("F1", f1, _EVERY, True),
    "balanced_accuracy": MetricRow("Balanced accuracy", balanced_accuracy, _EVERY, True),
    "mcc": MetricRow("Matthews correlation", mcc, _EVERY, True),
    "pr_auc": MetricRow("PR-AUC", pr_auc, _EVERY, True),
    "precision": MetricRow("Precision", precision, _EVERY, True, "predicted"),
    "recall": MetricRow("Recall", recall, _EVERY, True, "actual"),
    "loss": MetricRow("Cross-entropy", loss, _CLASSIFYING, False),
    "brier": MetricRow("Brier score", brier, _CLASSIFYING, False),
    "ece": MetricRow("Expected calibration error", ece, _CLASSIFYING, False),
}
"""Every metric by its stable name, most important first."""

CLASS_METRICS: dict[str, MetricRow] = {
    "precision": MetricRow("Precision", precision_by_class, _EVERY, True, "predicted"),
    "recall": MetricRow("Recall", recall_by_class, _EVERY, True, "actual"),
    "f1": MetricRow("F1", f1_by_class, _EVERY, True),
    "specificity": MetricRow("Specificity", specificity_by_class, _EVERY, True, "not-actual"),
    "npv": MetricRow("Negative predictive value", npv_by_class, _EVERY, True, "not-predicted"),
    "roc_auc": MetricRow("ROC-AUC", lambda t: t.roc_area, _EVERY, True, "pairs"),
    "pr_auc": MetricRow("PR-AUC", lambda t: t.average_precision, _EVERY, True),
}
"""Metrics of one class against the rest, by their stable names; `compute` gives (K, B)."""
