"""From labels and predictions to every metric with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..classifier import Task, gives_score, reaches
from ..errors import InputError
from ..preprocessing import FloatArray
from .answered import JudgedAnswers, judge_answers
from .answering import AnsweringRules
from .bounds import MetricTable, ResampledTallies, with_bounds
from .calibration import Calibration
from .checks import check_same_length, checked_labels, checked_scores
from .intervals import Indices, Resampling, percentiles, wilson
from .metrics import CLASS_METRICS, METRICS
from .operating_point import OperatingPoint, parse_demand
from .prevalence import check_prevalence, restate
from .result import EvaluationResult, Metric, Restated
from .tally import Answers

FEW_UNITS = 50
"""With fewer images or groups the bootstrap's intervals are too narrow (measured at 60: 87 to 92 % for 95 %)."""


def evaluate_predictions(
    *,
    task: Task,
    classes: Sequence[str],
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike | None,
    outputs: npt.ArrayLike | None = None,
    paths: Sequence[str],
    groups: Sequence[str] = (),
    split: str,
    threshold: float = 0.5,
    uncalibrated: npt.ArrayLike | None = None,
    outside: npt.ArrayLike | None = None,
    calibration: Calibration | None = None,
    operating_point: OperatingPoint | None = None,
    prevalence: float | None = None,
    answering: AnsweringRules | None = None,
    subgroups: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> EvaluationResult:
    """Score the predictions of N images: every metric of the catalogue that suits `task`, with 95 % intervals.

    `labels` (N,) index `classes`; for two classes the second is the positive one. `probabilities` (N, K), rows summing
    to 1, for a classification. For a regression `outputs` (N,) instead, whose target is the class index, 0 or 1.
    `threshold` is applied to the positive-class probability or the output; for a multiclass task the most likely class
    counts. Where any of `groups` (N,) is not "", whole groups are resampled.

    `uncalibrated` (N, K) are the probabilities before `calibration`, whose scores are given beside, and `outside` (N,)
    is how far each image lies from those trained on (above 1 it is flagged). `operating_point` is how the threshold was
    chosen; a note says whether what it promised holds here. At a `prevalence` predictive values are restated.
    `answering` are the rules of what is answered, judged on these images, with `subgroups` (N,) "" for none.

    Proportions of images have Wilson's interval; everything else, and proportions too where there are groups, the
    bootstrap's. Where the bootstrap has no width because a proportion is exactly 0 or 1, it is Wilson's again, counting
    groups. What cannot be computed is NaN, and a note says why.

    Raises DataError when there are no images or a label is not an index of `classes`, and InputError when the arrays do
    not fit each other, hold values that are not finite, or are not probabilities.
    """
    names = tuple(classes)
    answers, shares, at = _checked(task, names, labels, probabilities, outputs, paths, groups, split, threshold)
    n = len(answers.labels)
    resampling = Resampling.of(n, groups, resamples, seed)
    drawn = ResampledTallies.of(answers, resampling)
    table = MetricTable([name for name, row in METRICS.items() if task in row.tasks], len(names))
    bounded, unusual = with_bounds(table, answers, drawn)
    top = len(table.metrics)
    metrics = dict(zip(table.metrics, bounded[:top], strict=True))
    raw = None if uncalibrated is None else checked_scores(task, uncalibrated, None, len(names), paths, n)[1]
    far = None if outside is None else np.asarray(outside, np.float32)
    if far is not None:
        check_same_length("outside scores", len(far), n)
    answered = _answered(answering, task, names, answers, threshold, far, groups, subgroups)
    notes = (
        *_notes_on_data(names, answers, split, resampling),
        *unusual.notes(names, resampling),
        *_notes_on_promise(operating_point, metrics, split),
    )
    return EvaluationResult(
        task=task,
        classes=names,
        split=split,
        paths=tuple(paths),
        labels=answers.labels,
        probabilities=shares,
        metrics=metrics,
        per_class=_per_class(names, answers.labels, bounded[top:]),
        confusion=_confusion(answers),
        threshold=at,
        interval=resampling.in_words(),
        outputs=answers.scores[:, 0] if gives_score(task) else None,
        groups=tuple(groups),
        notes=notes,
        calibration=calibration,
        uncalibrated=raw,
        before={} if raw is None else _scores_of(raw, answers, resampling),
        outside=far,
        flagged=None if far is None else _share(far > 1, resampling),
        operating_point=operating_point,
        restated=None if prevalence is None else _restated(prevalence, drawn, metrics, len(names)),
        answered=answered,
    )


def _answered(
    rules: AnsweringRules | None,
    task: Task,
    classes: tuple[str, ...],
    answers: Answers,
    threshold: float,
    outside: FloatArray | None,
    groups: Sequence[str],
    subgroups: Sequence[str],
) -> JudgedAnswers | None:
    if rules is None:
        return None
    return judge_answers(
        rules,
        task=task,
        classes=classes,
        labels=answers.labels,
        predicted=answers.predicted,
        scores=np.asarray(answers.scores, np.float32),
        threshold=threshold,
        outside=outside,
        groups=groups,
        subgroups=subgroups,
    )


def _checked(
    task: Task,
    classes: tuple[str, ...],
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike | None,
    outputs: npt.ArrayLike | None,
    paths: Sequence[str],
    groups: Sequence[str],
    split: str,
    threshold: float,
) -> tuple[Answers, FloatArray, float | None]:
    """The answers at the threshold, the probabilities (N, K) or (N, 0), and the threshold where the task has one."""
    truth = checked_labels(labels, len(classes), split)
    n = len(truth)
    check_same_length("paths", len(paths), n)
    if len(groups):
        check_same_length("groups", len(groups), n)
    if len(classes) < 2 or (task != "multiclass" and len(classes) != 2):
        wanted = "at least two classes" if task == "multiclass" else "exactly two classes"
        raise InputError(f"A {task} evaluation needs {wanted}, and got {len(classes)}: {', '.join(classes)}.")
    if not math.isfinite(threshold):
        raise InputError(f"The threshold must be a finite number, and is {threshold}.")
    scores, shares = checked_scores(task, probabilities, outputs, len(classes), paths, n)
    at = None if task == "multiclass" else float(threshold)
    predicted = scores.argmax(axis=1) if at is None else reaches(scores[:, -1], at).astype(np.int64)
    return Answers(task, len(classes), truth, predicted, scores), shares, at


def _confusion(answers: Answers) -> Indices:
    """Counts (K, K) of images, true class by predicted class."""
    k = answers.classes
    return np.bincount(answers.labels * k + answers.predicted, minlength=k * k).reshape(k, k)


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One line of a classification report; the averages have no intervals. `support` is a number of images."""

    name: str
    precision: Metric
    recall: Metric
    f1: Metric
    support: int


def classification_report(result: EvaluationResult) -> list[ReportLine]:
    """Precision, recall and F1 of each class, then their plain mean and their mean weighted by support.

    As in scikit-learn, a class that is never predicted counts with precision 0 in the means; classes without images do
    not count.
    """
    lines = [
        ReportLine(name, of["precision"], of["recall"], of["f1"], int(of["support"].value))
        for name, of in result.per_class.items()
    ]
    support = np.array([line.support for line in lines])
    for name, weights in (("macro average", support > 0), ("weighted average", support)):
        means = np.average(
            [np.nan_to_num([line.precision.value, line.recall.value, line.f1.value]) for line in lines[: len(support)]],
            axis=0,
            weights=weights,
        )
        precision, recall, f1 = (Metric(float(mean), math.nan, math.nan) for mean in means)
        lines.append(ReportLine(name, precision, recall, f1, int(support.sum())))
    return lines


def _scores_of(probabilities: FloatArray, answers: Answers, resampling: Resampling) -> dict[str, Metric]:
    """Loss, Brier score and calibration error of other probabilities for the same images."""
    other = Answers(answers.task, answers.classes, answers.labels, answers.predicted, probabilities, ranked=False)
    table = MetricTable(("loss", "brier", "ece"), answers.classes, per_class=False)
    bounded, _ = with_bounds(table, other, ResampledTallies.of(other, resampling))
    return dict(zip(table.metrics, bounded, strict=True))


def _share(marked: npt.NDArray[np.bool_], resampling: Resampling) -> Metric:
    """The share of images marked (N,), with Wilson's interval, or the bootstrap's over groups."""
    value, low, high = float(marked.mean()), math.nan, math.nan
    if not resampling.grouped or value in (0, 1):
        units = resampling.units
        low, high = wilson(value * units, units)
    elif resampling.units > 1:
        shares = np.concatenate([marked @ weights / weights.sum(axis=0) for weights in resampling.weights()])
        bounds = percentiles(shares[None])
        low, high = float(bounds[0][0]), float(bounds[1][0])
    return Metric(value, low, high)


def _restated(prevalence: float, drawn: ResampledTallies, metrics: dict[str, Metric], classes: int) -> Restated:
    check_prevalence(prevalence, classes)
    return restate(prevalence, drawn.point, drawn.tallies, metrics["sensitivity"], metrics["specificity"])


def _notes_on_promise(point: OperatingPoint | None, metrics: dict[str, Metric], split: str) -> list[str]:
    """Whether the rate that the threshold was chosen for is seen on these images."""
    if point is None or point.bounded not in ("sensitivity", "specificity"):
        return []
    asked, found = parse_demand(point.asked).number, metrics[point.bounded]
    if math.isnan(found.value):
        return []
    seen = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    short = "less than asked, which may be chance" if found.high >= asked else "less than asked"
    verdict = "as asked" if found.value >= asked else short
    where = f"the {split} images" if split else "these images"
    again = " The threshold was chosen again after the run's test images had been used once." if point.revision else ""
    return [f"The threshold was chosen for {point.asked}; the {point.bounded} on {where} is {seen}: {verdict}.{again}"]


def _per_class(names: tuple[str, ...], truth: Indices, found: list[Metric]) -> dict[str, dict[str, Metric]]:
    """The rows of the class metrics by class, with the number of images of each."""
    k = len(names)
    support = np.bincount(truth, minlength=k)
    return {
        name: {
            **{metric: found[m * k + c] for m, metric in enumerate(CLASS_METRICS)},
            "support": Metric(float(support[c]), math.nan, math.nan),
        }
        for c, name in enumerate(names)
    }


def _notes_on_data(names: tuple[str, ...], answers: Answers, split: str, resampling: Resampling) -> list[str]:
    """Sentences about what the data cannot tell."""
    truth, predicted = answers.labels, answers.predicted
    notes = []
    absent = [name for k, name in enumerate(names) if not (truth == k).any()]
    where = f"the {split} split" if split else "the data"
    if absent:
        remedy = "figures that need both kinds are left empty" if len(names) - len(absent) < 2 else "means leave it out"
        notes.append(f"There is no image of {' or '.join(absent)} in {where}: {remedy}.")
    unsaid = [name for k, name in enumerate(names) if (truth == k).any() and not (predicted == k).any()]
    if unsaid:
        notes.append(f"Nothing was predicted to be {' or '.join(unsaid)}, so its precision is not defined.")
    if resampling.units < FEW_UNITS:
        unit = resampling.unit_name if resampling.units > 1 else resampling.unit_name[:-1]
        notes.append(
            f"With {resampling.units} {unit} in {where} the intervals are rough and likely too narrow:"
            " evaluate on more before drawing conclusions."
        )
    return notes
