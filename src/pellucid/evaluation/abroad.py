"""What a figure is worth on images from elsewhere: each source left out in turn, with a cheap head on fixed features.

Features come from layers that were never trained on these images, so that nothing of a source that is left out is
known. A head is trained on the rest and asked about the source; the same head, trained and tested at random by group,
says what it does at home. The loss from one to the other is what a random split cannot show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ..data.areas import Area, clustered_area
from ..data.sources import ImageSource
from .heads import FOLDS, answers_of_head, folds_of
from .second_head import AnsweredSide, KeptOut, measure_kept_out

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

Z = NormalDist().inv_cdf(0.975)
FEWEST_TESTED = 10
"""Least number of images of each class to test on, and to train on."""


@dataclass(frozen=True, slots=True)
class SourceResult:
    """The head on a source that it was not trained on, and what it loses against home on the same images.

    `area` is the AUC, `accuracy` the mean of the classes' rates; `area_loss` and `accuracy_loss` are the differences.
    `kept` has what estimates without labels are built on, None for fewer than 30 images.
    """

    kind: str
    value: str
    images: int
    area: Area
    accuracy: Area
    area_loss: Area
    accuracy_loss: Area
    kept: KeptOut | None = None

    @property
    def sure(self) -> bool:
        """Whether the interval of a loss lies above 0."""
        return self.area_loss.low > 0 or self.accuracy_loss.low > 0


@dataclass(frozen=True, slots=True)
class Abroad:
    """The head at home (AUC, and mean of the classes' rates), and with each source left out."""

    area: Area
    accuracy: Area
    left_out: tuple[SourceResult, ...]


def leave_sources_out(
    features: Values, labels: Labels, units: Labels, sources: Sequence[ImageSource], seed: int = 0
) -> Abroad | None:
    """Judge a head on features (N, D) at home and with each source left out; `units` (N,) number groups.

    Sources that hold one class only are left out together, one of each class, as another hospital would bring both.
    Images of a unit never stand on both sides. None where a class has fewer than 10 units.
    """
    classes = len(np.unique(labels))
    if min(len(np.unique(units[labels == c])) for c in np.unique(labels)) < FEWEST_TESTED:
        return None
    fold = folds_of(labels, units, seed)
    home = np.zeros((len(labels), classes))
    for number in range(FOLDS):
        home[fold == number] = answers_of_head(features, labels, fold != number, fold == number)
    tested = [_left_out(features, labels, units, source, fold, home) for source in combined(sources, labels)]
    left_out = tuple(t for t in tested if t is not None)
    return Abroad(_area(home, labels, units), _accuracy(home, labels, units), left_out)


def combined(sources: Sequence[ImageSource], labels: Labels) -> list[ImageSource]:
    """Sources of several classes as they are; those of one class joined with others of their kind, by size.

    The k-th of each class belong together; a class with fewer sources of its own goes through them again.
    """
    alone: dict[str, dict[int, list[ImageSource]]] = {}
    several = []
    for source in sources:
        held = [c for c in np.unique(labels) if (source.rows & (labels == c)).sum() >= FEWEST_TESTED]
        if len(held) == 1:
            alone.setdefault(source.kind, {}).setdefault(int(held[0]), []).append(source)
        else:
            several.append(source)
    return [joined for of_class in alone.values() for joined in _joined(of_class)] + several


def _joined(of_class: Mapping[int, Sequence[ImageSource]]) -> Iterator[ImageSource]:
    ordered = [sorted(own, key=lambda s: -s.images) for own in of_class.values()]
    for k in range(max(len(own) for own in ordered)):
        parts = [own[k % len(own)] for own in ordered]
        rows = np.logical_or.reduce([p.rows for p in parts])
        yield ImageSource(parts[0].kind, " + ".join(dict.fromkeys(p.value for p in parts)), rows)


def _left_out(
    features: Values, labels: Labels, units: Labels, source: ImageSource, fold: Labels, home: Values
) -> SourceResult | None:
    """One source left out. Classes that it lacks are tested on a fold of the others, which is left out too."""
    away, tested = source.rows, images_of(source, labels, fold)
    train = ~np.isin(units, np.unique(units[tested]))
    enough = all((tested & (labels == c)).sum() >= FEWEST_TESTED for c in np.unique(labels))
    if not enough or any((train & (labels == c)).sum() < FEWEST_TESTED for c in np.unique(labels)):
        return None
    answers, own, unit = answers_of_head(features, labels, train, tested), labels[tested], units[tested]
    area, accuracy = _area(answers, own, unit), _accuracy(answers, own, unit)
    before = _area(home[tested], own, unit), _accuracy(home[tested], own, unit)
    lost = _difference(before[0], area), _difference(before[1], accuracy)
    kept = _kept(features, labels, units, train, fold, tested)
    return SourceResult(source.kind, source.value, int(away.sum()), area, accuracy, *lost, kept)


def _kept(features: Values, labels: Labels, units: Labels, train: Mask, fold: Labels, tested: Mask) -> KeptOut | None:
    """The source against home, with a fold of home as the validation images that a real training would have."""
    validation = train & (fold == 1)
    asked = validation | tested
    scores = np.zeros((len(labels), len(np.unique(labels))))
    scores[asked] = answers_of_head(features, labels, train & ~validation, asked)
    home, away = (
        AnsweredSide(scores[rows], features[rows], labels[rows], units[rows]) for rows in (validation, tested)
    )
    return measure_kept_out(home, away)


def judge_source(source: ImageSource, home: AnsweredSide, away: AnsweredSide) -> SourceResult | None:
    """A model that was trained without a source, on validation images of home and on the source.

    The losses are those between the two sets of images. None where a class has fewer than 10 images on a side.
    """
    classes = np.arange(home.logits.shape[1])
    if any(min((side.labels == c).sum() for c in classes) < FEWEST_TESTED for side in (home, away)):
        return None
    areas = [_area(side.logits, side.labels, side.units) for side in (away, home)]
    rates = [_accuracy(side.logits, side.labels, side.units) for side in (away, home)]
    lost = _difference(areas[1], areas[0]), _difference(rates[1], rates[0])
    kept = measure_kept_out(home, away)
    return SourceResult(source.kind, source.value, source.images, areas[0], rates[0], *lost, kept)


def judge_home(home: AnsweredSide) -> tuple[Area, Area]:
    """Area under the curve, and mean of the classes' rates, of a model on images from home."""
    return _area(home.logits, home.labels, home.units), _accuracy(home.logits, home.labels, home.units)


def images_of(source: ImageSource, labels: Labels, fold: Labels) -> Mask:
    """The images that a source is tested on: its own, and a fold of home for classes that it lacks."""
    lacking = [c for c in np.unique(labels) if (source.rows & (labels == c)).sum() < FEWEST_TESTED]
    beside: Mask = np.isin(labels, lacking) & (fold == 0)
    return source.rows | beside


def _difference(before: Area, after: Area) -> Area:
    """What is lost. The same images are scored by heads of other trainings: taken as independent, the safe side."""
    half = math.hypot((before.high - before.low) / 2, (after.high - after.low) / 2)
    lost = before.value - after.value
    return Area(lost, lost - half, lost + half)


def _area(scores: Values, labels: Labels, units: Labels) -> Area:
    """The area under the curve of two classes, or the mean of each against the rest."""
    if scores.shape[1] == 2:
        return clustered_area((scores[:, 1] - scores[:, 0])[:, None], labels, units)
    return clustered_area(scores, labels, units)


def _accuracy(scores: Values, labels: Labels, units: Labels) -> Area:
    """The mean of the classes' rates of right answers, with its 95 % interval; residuals are summed within units."""
    right = (scores.argmax(axis=1) == labels).astype(np.float64)
    influence, rates = np.zeros(len(labels)), []
    classes = np.unique(labels)
    for label in classes:
        own = labels == label
        rate = right[own].mean()
        rates.append(rate)
        # Agresti and Coull's two extra of each kind keep a width where all are right.
        shrunk = (right[own].sum() + 2) / (own.sum() + 4)
        residual = right[own] - rate if 0 < rate < 1 else np.full(own.sum(), math.sqrt(shrunk * (1 - shrunk)))
        influence[own] = residual / (own.sum() * len(classes))
    per_unit = np.bincount(
        np.unique(units, return_inverse=True)[1], weights=np.abs(influence) if 1 in rates else influence
    )
    half = Z * math.sqrt(float((per_unit**2).sum()))
    value = float(np.mean(rates))
    return Area(value, max(0.0, value - half), min(1.0, value + half))
