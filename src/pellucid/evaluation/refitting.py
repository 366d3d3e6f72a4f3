"""What can be refitted to a new place from few labelled images: threshold, calibration, mix; never the network.

Each is one or two numbers, so that 30 to 300 images can carry it. What it gives is judged on images that it was not
fitted to: folds by group, each answered by what the others gave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..classifier import Task, gives_score, probabilities_from_logits
from ..errors import DataError, InputError
from ..preprocessing import FloatArray
from .calibration import NEW_PLACE, Calibration, Method, fit_calibration
from .intervals import LEVEL, Indices, Resampling, Values
from .operating_point import OperatingPoint, choose_operating_point

Part = Literal["threshold", "calibration", "mix"]
PARTS: tuple[Part, ...] = ("threshold", "calibration", "mix")
FOLDS = 5
FEWEST = 10
"""Least number of images (or groups) of each class to refit and to test."""
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Rule:
    """What turns logits into answers: a calibration and a threshold on the probability of the second class."""

    calibration: Calibration | None
    threshold: float
    operating_point: OperatingPoint | None = None

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Class probabilities (N, K) of logits (N, L)."""
        return probabilities_from_logits(logits if self.calibration is None else self.calibration.logits(logits))

    def predicted(self, logits: FloatArray) -> Indices:
        """The answered class (N,)."""
        probabilities = self.probabilities(logits)
        if probabilities.shape[1] > 2:
            most: Indices = probabilities.argmax(axis=1)
            return most
        return (probabilities[:, 1].astype(np.float64) >= self.threshold).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images of a new place: logits (N, L), labels (N,), and the group of each ("" where unknown)."""

    logits: FloatArray
    labels: Indices
    groups: tuple[str, ...]

    def of(self, chosen: npt.NDArray[np.bool_]) -> Labelled:
        """Some of the images."""
        rows = np.arange(len(self.labels))[chosen]
        return Labelled(self.logits[rows], self.labels[rows], tuple(self.groups[i] for i in rows))


@dataclass(frozen=True, slots=True)
class Judged:
    """A figure before and after, on images that nothing was fitted to, and the difference with its 95 % interval."""

    name: str
    before: float
    after: float
    difference: float
    low: float
    high: float


def refit(
    rule: Rule, images: Labelled, parts: Sequence[Part], *, task: Task, trained_mix: Sequence[float], asked: str
) -> Rule:
    """The rule refitted to images.

    `mix` moves the probabilities to the new share of classes, `calibration` fits them again, `threshold` chooses the
    operating point `asked` on what comes out.
    `trained_mix` (K,) are the shares of the classes that the rule was fitted to. Raises InputError for what does not
    fit the task, DataError for too few images of a class.
    """
    check_parts(parts, task)
    counts = np.bincount(images.labels, minlength=len(trained_mix))
    if counts.min() == 0:
        raise DataError("Images of every class are needed to refit anything, and one class has none.")
    calibration = rule.calibration
    if "mix" in parts:
        calibration = moved_to_mix(calibration, trained_mix, counts / counts.sum(), len(images.labels))
    if "calibration" in parts:
        method: Method = "temperature" if task == "multiclass" else "platt"
        calibration = fit_calibration(method, images.logits, images.labels, images.groups)
        calibration = calibration.model_copy(update={"fitted_on": "a new place"})
    point, threshold = rule.operating_point, rule.threshold
    if "threshold" in parts:
        scores = Rule(calibration, threshold).probabilities(images.logits)[:, 1]
        point = choose_operating_point(asked, labels=images.labels, scores=scores, groups=images.groups, of=NEW_PLACE)
        threshold = point.threshold
    return Rule(calibration, threshold, point)


def check_parts(parts: Sequence[Part], task: Task) -> None:
    """InputError where the parts do not fit each other or the task."""
    if not parts:
        raise InputError(f"Say what to refit: `keep=` takes {', '.join(PARTS)}.")
    if gives_score(task):
        what = "An anomaly detector" if task == "anomaly" else "A regression"
        raise InputError(f"{what} has no class mix and no calibration: choose its threshold by `evaluate`.")
    if task == "multiclass" and set(parts) != {"calibration"}:
        raise InputError("With more than two classes only the calibration can be refitted: `keep='calibration'`.")
    if {"mix", "calibration"} <= set(parts):
        raise InputError("A calibration fitted to the new images has their mix already: `keep=` one of the two.")


def moved_to_mix(
    calibration: Calibration | None, old: Sequence[float], new: Sequence[float] | Values, images: int
) -> Calibration:
    """The calibration moved from one share of classes (negative, positive) to another: the logit by a constant.

    By Bayes' theorem log-odds change by that of the priors, as long as images of each class look as before (Saerens et
    al., Neural Computation 14 (2002) 21).
    """
    scale, shift = (1.0, 0.0) if calibration is None else (calibration.scale, calibration.shift)
    moved = math.log(new[1] / new[0]) - math.log(old[1] / old[0])
    return Calibration(method="platt", scale=scale, shift=shift + moved, images=images, fitted_on="a new place")


def check_enough(images: Labelled, classes: Sequence[str]) -> None:
    """DataError for classes with fewer than 10 independent images or groups, which it names."""
    units = Resampling.of(len(images.labels), images.groups, RESAMPLES, seed=0)
    counts = [len(np.unique(units.unit_of[images.labels == label])) for label in range(len(classes))]
    few = [f"{c} has {n}" for c, n in zip(classes, counts, strict=True) if n < FEWEST]
    if few:
        unit = "groups" if any(images.groups) else "images"
        raise DataError(
            f"At least {FEWEST} independent {unit} of each class are needed to refit and to test what that gives: "
            f"{', '.join(few)}."
        )


def crossfitted(
    rule: Rule, images: Labelled, parts: Sequence[Part], *, task: Task, trained_mix: Sequence[float], asked: str
) -> list[Judged]:
    """Figures before and after refitting, each image answered by a rule fitted to the folds without its group.

    `images` are as many as `check_enough` asks for.
    """
    units = Resampling.of(len(images.labels), images.groups, RESAMPLES, seed=0)
    fold = _folds(images.labels, units.unit_of)
    probabilities = np.zeros((len(images.labels), len(trained_mix)))
    predicted = np.zeros(len(images.labels), np.int64)
    for number in range(FOLDS):
        own = fold == number
        fitted = refit(rule, images.of(~own), parts, task=task, trained_mix=trained_mix, asked=asked)
        probabilities[own], predicted[own] = (
            fitted.probabilities(images.logits[own]),
            fitted.predicted(images.logits[own]),
        )
    before = _per_image(
        rule.probabilities(images.logits).astype(np.float64), rule.predicted(images.logits), images.labels
    )
    after = _per_image(probabilities, predicted, images.labels)
    return [_judged(name, before[name], after[name], units) for name in before]


def _folds(labels: Indices, units: Indices) -> Indices:
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(labels), np.int64)
    for number, (_, tested) in enumerate(StratifiedGroupKFold(FOLDS).split(labels, labels, units)):
        fold[tested] = number
    return fold


def _per_image(probabilities: Values, predicted: Indices, labels: Indices) -> dict[str, tuple[Values, Values]]:
    """Of each figure what an image adds to its sum, and to the number that the sum is divided by."""
    right, all_of_them = (predicted == labels).astype(float), np.ones(len(labels))
    loss = -np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1))
    rows = {"accuracy": (right, all_of_them), "loss": (loss, all_of_them)}
    if probabilities.shape[1] == 2:
        positive = (labels == 1).astype(float)
        rows["sensitivity"] = (right * positive, positive)
        rows["specificity"] = (right * (1 - positive), 1 - positive)
    return rows


def _judged(name: str, before: tuple[Values, Values], after: tuple[Values, Values], units: Resampling) -> Judged:
    values, drawn = before[0].sum() / before[1].sum(), after[0].sum() / after[1].sum()
    differences = []
    for weights in units.weights():
        with np.errstate(invalid="ignore", divide="ignore"):
            differences.append(
                (after[0] @ weights) / (after[1] @ weights) - (before[0] @ weights) / (before[1] @ weights)
            )
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(np.concatenate(differences), [tail, 100 - tail])
    return Judged(name, float(values), float(drawn), float(drawn - values), float(low), float(high))
