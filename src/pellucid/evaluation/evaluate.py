"""From labels and predictions to every metric with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..classifier import Task
from ..errors import InputError
from ..preprocessing import FloatArray
from .calibration import Calibration
from .checks import check_same_length, checked_labels, checked_scores
from .intervals import LEVEL, Indices, Resampling, Values, percentiles, wilson
from .metrics import CLASS_METRICS, METRICS, Answers, Base, Tally
from .operating_point import OperatingPoint
from .prevalence import check_prevalence, restate
from .result import EvaluationResult, Metric, Restated

FEW_UNITS = 50
"""Below so many images or groups the bootstrap's intervals are too narrow (measured at 60: 87 to 92 % for 95 %)."""


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

    Proportions of images have Wilson's interval; everything else, and proportions too where there are groups, the
    bootstrap's. Where the bootstrap has no width because a proportion is exactly 0 or 1, it is Wilson's again, counting
    groups. What cannot be computed is NaN, and a note says why.

    Raises DataError when there are no images or a label is not an index of `classes`, and InputError when the arrays do
    not fit each other, hold values that are not finite, or are not probabilities.
    """
    names = tuple(classes)
    truth = checked_labels(labels, len(names), split)
    n = len(truth)
    check_same_length("paths", len(paths), n)
    if len(groups):
        check_same_length("groups", len(groups), n)
    if len(names) < 2 or (task != "multiclass" and len(names) != 2):
        wanted = "at least two classes" if task == "multiclass" else "exactly two classes"
        raise InputError(f"A {task} evaluation needs {wanted}, and got {len(names)}: {', '.join(names)}.")
    if not math.isfinite(threshold):
        raise InputError(f"The threshold must be a finite number, and is {threshold}.")
    scores, shares = checked_scores(task, probabilities, outputs, len(names), paths, n)
    at = None if task == "multiclass" else float(threshold)
    # Compared in single precision, as EvaluationResult.predicted does: a score of 0.3f must count as at least 0.3.
    predicted = scores.argmax(axis=1) if at is None else (scores[:, -1] >= at).astype(np.int64)

    answers = Answers(task, len(names), truth, predicted, scores)
    resampling = Resampling.of(n, groups, resamples, seed)
    drawn = _Drawn.of(answers, resampling)
    table = _Table([name for name, row in METRICS.items() if task in row.tasks], len(names))
    found, notes = _with_bounds(table, answers, drawn)
    top = len(table.metrics)
    metrics = dict(zip(table.metrics, found[:top], strict=True))
    raw = None if uncalibrated is None else checked_scores(task, uncalibrated, None, len(names), paths, n)[1]
    far = None if outside is None else np.asarray(outside, np.float32)
    if far is not None:
        check_same_length("outside scores", len(far), n)
    return EvaluationResult(
        task=task,
        classes=names,
        split=split,
        paths=tuple(paths),
        labels=truth,
        probabilities=shares,
        metrics=metrics,
        per_class=_per_class(names, truth, found[top:]),
        confusion=np.bincount(truth * len(names) + predicted, minlength=len(names) ** 2).reshape(len(names), -1),
        threshold=at,
        interval=resampling.in_words(),
        outputs=scores[:, 0] if task == "regression" else None,
        groups=tuple(groups),
        notes=(
            *_notes_on_data(names, truth, predicted, split, resampling),
            *notes,
            *_notes_on_promise(operating_point, metrics, split),
        ),
        calibration=calibration,
        uncalibrated=raw,
        before={} if raw is None else _scores_of(raw, answers, resampling),
        outside=far,
        flagged=None if far is None else _share(far > 1, resampling),
        operating_point=operating_point,
        restated=None if prevalence is None else _restated(prevalence, drawn, metrics, len(names)),
    )


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

    As in scikit-learn, a class that is never predicted counts with precision 0 in the means; classes without images are
    left out of them.
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


class _Table:
    """All figures of an evaluation as the rows of one array: the metrics, then each class metric class by class."""

    def __init__(self, metrics: Sequence[str], classes: int, *, per_class: bool = True) -> None:
        self.metrics = list(metrics)
        self.class_metrics = CLASS_METRICS if per_class else {}
        # What each row is called, what it is a share of, and which class that is about.
        overall = 1 if classes == 2 else None
        self.rows: list[tuple[str, Base, int]] = []
        for name in self.metrics:
            base = METRICS[name].base
            about_class = base not in ("", "all")
            self.rows.append((name, "" if about_class and overall is None else base, overall or 0))
        self.rows += [(name, row.base, k) for name, row in self.class_metrics.items() for k in range(classes)]

    def compute(self, tally: Tally) -> Values:
        """Every figure under each of B weightings, (rows, B)."""
        top = [METRICS[name].compute(tally)[None] for name in self.metrics]
        return np.concatenate([*top, *(row.compute(tally) for row in self.class_metrics.values())])


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The counts of all images as they are, and of every resample; of no resample where there is one unit only."""

    resampling: Resampling
    point: Tally
    tallies: list[Tally]

    @classmethod
    def of(cls, answers: Answers, resampling: Resampling) -> _Drawn:
        point = answers.tally(np.ones((len(answers.labels), 1)))
        weights = resampling.weights() if resampling.units > 1 else ()
        return cls(resampling, point, [answers.tally(w) for w in weights])


def _with_bounds(table: _Table, answers: Answers, drawn: _Drawn) -> tuple[list[Metric], list[str]]:
    """Every row of the table with its interval, and what must be said about them."""
    resampling, point, tallies = drawn.resampling, drawn.point, drawn.tallies
    values = table.compute(point)[:, 0]
    low, high = np.full((2, len(values)), np.nan)
    if tallies:
        low, high = percentiles(np.concatenate([table.compute(tally) for tally in tallies], axis=1))
        if "ece" in table.metrics:
            row = table.metrics.index("ece")
            low[row], high[row] = _calibration_bounds(values[row], low[row], point, tallies)
    exact, flat = [], []
    for row, (name, base, k) in enumerate(table.rows):
        extreme = bool(base) and values[row] in (0, 1)
        if extreme or (base not in ("", "pairs") and not resampling.grouped):
            n = _base_units(base, k, answers, resampling)
            low[row], high[row] = wilson(round(float(np.nan_to_num(values[row])) * n), n)
            if resampling.grouped or base == "pairs":
                exact.append(name)
        elif low[row] == high[row]:
            low[row] = high[row] = math.nan
            flat.append(name)
    found = [Metric(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]
    return found, _notes_on_bounds(exact, flat, resampling)


def _scores_of(probabilities: FloatArray, answers: Answers, resampling: Resampling) -> dict[str, Metric]:
    """Loss, Brier score and calibration error of other probabilities for the same images."""
    other = Answers(answers.task, answers.classes, answers.labels, answers.predicted, probabilities, ranked=False)
    table = _Table(("loss", "brier", "ece"), answers.classes, per_class=False)
    found, _ = _with_bounds(table, other, _Drawn.of(other, resampling))
    return dict(zip(table.metrics, found, strict=True))


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


def _restated(prevalence: float, drawn: _Drawn, metrics: dict[str, Metric], classes: int) -> Restated:
    check_prevalence(prevalence, classes)
    return restate(prevalence, drawn.point, drawn.tallies, metrics["sensitivity"], metrics["specificity"])


def _notes_on_promise(point: OperatingPoint | None, metrics: dict[str, Metric], split: str) -> list[str]:
    """Whether the rate that the threshold was chosen for is seen on these images."""
    if point is None or point.bounded not in ("sensitivity", "specificity"):
        return []
    asked, found = float(point.asked.partition(">=")[2]), metrics[point.bounded]
    if math.isnan(found.value):
        return []
    seen = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    short = "less than asked, which may be chance" if found.high >= asked else "less than asked"
    verdict = "as asked" if found.value >= asked else short
    where = f"the {split} images" if split else "these images"
    again = " The threshold was chosen anew after these images had been seen once." if point.revision else ""
    return [f"The threshold was chosen for {point.asked}; the {point.bounded} on {where} is {seen}: {verdict}.{again}"]


def _calibration_bounds(value: float, low: float, point: Tally, tallies: list[Tally]) -> tuple[float, float]:
    """Bounds of the calibration error, whose percentile interval would lie above both the value and the truth.

    Chance alone gives every bin a gap, and pushes the error up once in the sample and once more in each resample. The
    upper bound is reflected about the value, which takes the push out (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 5.2). For the lower one: the error differs from the truth by no more than the bins' gaps
    do in sum, so it is taken off the value; a calibrated model's lower bound is then 0.
    """
    gap = point.sums["gaps"] / point.total
    noise = np.concatenate([np.abs(t.sums["gaps"] / t.total - gap).sum(axis=0) for t in tallies])
    return max(0.0, value - float(np.quantile(noise, (1 + LEVEL) / 2))), max(value, 2 * value - low)


def _base_units(base: Base, k: int, answers: Answers, resampling: Resampling) -> int:
    """How many images, or groups of them, a share is a share of."""
    actual, predicted = answers.labels == k, answers.predicted == k
    if base == "pairs":
        # The variance of an area A is at most A (1 - A) / min(positives, negatives), that of a proportion of so many
        # (Birnbaum and Klose, Ann. Math. Stat. 28 (1957) 933), so Wilson's interval for that number is a safe one.
        return min(resampling.units_among(actual), resampling.units_among(~actual))
    among = {
        "all": np.ones_like(actual),
        "actual": actual,
        "not-actual": ~actual,
        "predicted": predicted,
        "not-predicted": ~predicted,
    }
    return resampling.units_among(among[base])


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


def _notes_on_data(
    names: tuple[str, ...], truth: Indices, predicted: Indices, split: str, resampling: Resampling
) -> list[str]:
    """Sentences about what the data cannot tell."""
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


def _notes_on_bounds(exact: list[str], flat: list[str], resampling: Resampling) -> list[str]:
    """Sentences about the intervals that are not the bootstrap's."""
    notes = []
    if exact:
        notes.append(
            f"Exactly 0 or 1, where a bootstrap has no width, so with Wilson's interval, counting"
            f" {resampling.unit_name}: {_listed(exact)}."
        )
    if flat:
        notes.append(
            "Without an interval, because every resample gives the same value, which shows that there is too little"
            f" to tell and not that there is no doubt: {_listed(flat)}."
        )
    return notes


def _listed(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))
