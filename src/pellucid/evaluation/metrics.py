"""The metrics: each one function of weighted counts, and one row of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..classifier import Task
from .intervals import Values
from .tally import Tally, ratio


def _mean(t: Tally, name: str) -> Values:
    """The weighted mean over images of one of the sums."""
    return ratio(t.sums[name][0], t.total)


def precision_by_class(t: Tally) -> Values:
    """Of the images said to be of a class, the share that is. (K, B), NaN where none was."""
    return ratio(t.correct, t.predicted)


def recall_by_class(t: Tally) -> Values:
    """Of the images of a class, the share that was found. (K, B)."""
    return ratio(t.correct, t.actual)


def specificity_by_class(t: Tally) -> Values:
    """Of the images of the other classes, the share that was not taken for this one. (K, B)."""
    return ratio(t.rightly_rejected, t.total - t.actual)


def npv_by_class(t: Tally) -> Values:
    """Of the images said not to be of a class, the share that is not. (K, B)."""
    return ratio(t.rightly_rejected, t.total - t.predicted)


def f1_by_class(t: Tally) -> Values:
    """Harmonic mean of precision and recall, as 2 TP / (2 TP + FP + FN). (K, B)."""
    return ratio(2 * t.correct, t.actual + t.predicted)


def accuracy(t: Tally) -> Values:
    """The share of images that were answered rightly."""
    return ratio(t.correct.sum(axis=0), t.total)


def balanced_accuracy(t: Tally) -> Values:
    """Mean recall over the classes that have images; NaN with fewer than two such classes."""
    present = (t.actual > 0).sum(axis=0)
    return np.where(present > 1, ratio(np.nan_to_num(recall_by_class(t)).sum(axis=0), present), np.nan)


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
    value = np.nan_to_num(ratio(covariance, np.sqrt(spread_actual * spread_predicted)))
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
    return ratio(np.abs(t.sums["gaps"]).sum(axis=0), t.total)


def mae(t: Tally) -> Values:
    """Mean absolute error of a regression's output, in units of the class index."""
    return _mean(t, "absolute")


def rmse(t: Tally) -> Values:
    """Root of the mean squared error of a regression's output, in units of the class index."""
    return np.sqrt(_mean(t, "squared"))


def r2(t: Tally) -> Values:
    """Share of the target's variance that a regression explains: 1 perfect, 0 the mean, below 0 worse than that."""
    target, squares = t.sums["target"][0], t.sums["target_squared"][0]
    unexplained = ratio(t.sums["squared"][0], squares - target**2 / t.total)
    return 1 - unexplained


Base = Literal["all", "actual", "not-actual", "predicted", "not-predicted", "pairs", ""]
"""What a proportion is a share of: all images, those of a class, those said to be of it, ... or "" for no proportion.

"pairs" are pairs of one image of the class and one of another.
"""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric of the catalogue; `compute` gives its value under each of B weightings.

    `meaning` says in a few words what the value tells; it may name `{positive}` and `{negative}`. `by_class` marks a
    metric of one class, which is a mean over the classes when there are more than two. `label` is the name in tables
    for readers, where it is not the title. `twin_of` is set where this is a second name for another metric.
    """

    title: str
    compute: Callable[[Tally], Values]
    tasks: tuple[Task, ...]
    higher_is_better: bool
    meaning: str
    base: Base = ""
    by_class: bool = False
    label: str = ""
    twin_of: str | None = None

    def meaning_for(self, classes: Sequence[str]) -> str:
        """What the metric tells about these classes, in a few words."""
        if len(classes) == 2:
            return self.meaning.format(negative=classes[0], positive=classes[1])
        return "mean over the classes, each against the rest" if self.by_class else self.meaning


_CLASSIFYING: tuple[Task, ...] = ("binary", "multiclass")
_REGRESSING: tuple[Task, ...] = ("regression",)
_EVERY: tuple[Task, ...] = (*_CLASSIFYING, *_REGRESSING, "anomaly")


def _error(
    title: str, compute: Callable[[Tally], Values], tasks: tuple[Task, ...], meaning: str, *, label: str = ""
) -> MetricDefinition:
    """A metric of all classes together of which less is better."""
    return MetricDefinition(title, compute, tasks, False, meaning, label=label)


def _score(
    title: str, compute: Callable[[Tally], Values], meaning: str, base: Base = "", tasks: tuple[Task, ...] = _EVERY
) -> MetricDefinition:
    """A metric of all classes together of which more is better."""
    return MetricDefinition(title, compute, tasks, True, meaning, base)


def _of_class(
    title: str,
    compute: Callable[[Tally], Values],
    meaning: str,
    base: Base = "",
    *,
    label: str = "",
    twin_of: str | None = None,
) -> MetricDefinition:
    """A metric of one class against the rest, of which more is better."""
    return MetricDefinition(title, compute, _EVERY, True, meaning, base, True, label, twin_of)


_ECE, _GAP = "Expected calibration error", "mean gap between confidence and outcome, 0 is best"
_RIGHT = "share of the answers {positive} that are right, at this mix"
_RIGHT_NO = "share of the answers {negative} that are right, at this mix"
_FOUND, _LEFT_ALONE = "share of {positive} that is found", "share of {negative} left alone"
_ABOVE = "chance that {positive} scores above {negative}"
_HARMONIC, _AVERAGED = "harmonic mean of sensitivity and PPV", "precision averaged over every recall"

METRICS: dict[str, MetricDefinition] = {
    "mae": _error("Mean absolute error", mae, _REGRESSING, "mean distance of score and truth, 0 is best"),
    "rmse": _error("Root mean squared error", rmse, _REGRESSING, "the same, large errors counting more, 0 is best"),
    "r2": _score("R²", r2, "share of the variance explained, 1 is best", tasks=_REGRESSING),
    "accuracy": _score("Accuracy", accuracy, "share of all images answered rightly", "all"),
    "roc_auc": _of_class("ROC-AUC", roc_auc, _ABOVE, "pairs"),
    "sensitivity": _of_class("Sensitivity", recall, _FOUND, "actual", label="Sensitivity (recall)"),
    "specificity": _of_class("Specificity", specificity, _LEFT_ALONE, "not-actual"),
    "ppv": _of_class("Positive predictive value", precision, _RIGHT, "predicted", label="PPV (precision)"),
    "npv": _of_class("Negative predictive value", npv, _RIGHT_NO, "not-predicted", label="NPV"),
    "f1": _of_class("F1", f1, _HARMONIC),
    "balanced_accuracy": _score("Balanced accuracy", balanced_accuracy, "the same, every class counting equally"),
    "mcc": _score("Matthews correlation", mcc, "correlation of answer and truth, \N{MINUS SIGN}1 to 1"),
    "pr_auc": _of_class("PR-AUC", pr_auc, _AVERAGED),
    "precision": _of_class("Precision", precision, _RIGHT, "predicted", twin_of="ppv"),
    "recall": _of_class("Recall", recall, _FOUND, "actual", twin_of="sensitivity"),
    "loss": _error("Cross-entropy", loss, _CLASSIFYING, "surprise at the truth in nats, 0 is best"),
    "brier": _error("Brier score", brier, _CLASSIFYING, "squared error of the probabilities, 0 is best"),
    "ece": _error(_ECE, ece, _CLASSIFYING, _GAP, label="Calibration error (ECE)"),
}
"""Every metric by its stable name, most important first."""

CLASS_METRICS: dict[str, MetricDefinition] = {
    "precision": _of_class("Precision", precision_by_class, _RIGHT, "predicted"),
    "recall": _of_class("Recall", recall_by_class, _FOUND, "actual"),
    "f1": _of_class("F1", f1_by_class, _HARMONIC),
    "specificity": _of_class("Specificity", specificity_by_class, _LEFT_ALONE, "not-actual"),
    "npv": _of_class("Negative predictive value", npv_by_class, _RIGHT_NO, "not-predicted"),
    "roc_auc": _of_class("ROC-AUC", lambda t: t.roc_area, _ABOVE, "pairs"),
    "pr_auc": _of_class("PR-AUC", lambda t: t.average_precision, _AVERAGED),
}
"""Metrics of one class against the rest, by their stable names; `compute` gives (K, B)."""
