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

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FOLDS = 5
Z = NormalDist().inv_cdf(0.975)
FEWEST_TESTED = 10
"""Least number of images of each class to test on, and to train on."""


@dataclass(frozen=True, slots=True)
class SourceResult:
    """The head on a source that it was not trained on, and what it loses against home on the same images.

    `area` is the AUC, `accuracy` the mean of the classes' rates; `area_loss` and `accuracy_loss` are the differences.
    """

    kind: str
    value: str
    images: int
    area: Area
    accuracy: Area
    area_loss: Area
    accuracy_loss: Area

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
    fold = _folds(labels, units, seed)
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
    away = source.rows.copy()
    lacking = [c for c in np.unique(labels) if (away & (labels == c)).sum() < FEWEST_TESTED]
    tested = away | (np.isin(labels, lacking) & (fold == 0))
    train = ~np.isin(units, np.unique(units[tested]))
    enough = all((tested & (labels == c)).sum() >= FEWEST_TESTED for c in np.unique(labels))
    if not enough or any((train & (labels == c)).sum() < FEWEST_TESTED for c in np.unique(labels)):
        return None
    answers, own, unit = answers_of_head(features, labels, train, tested), labels[tested], units[tested]
    area, accuracy = _area(answers, own, unit), _accuracy(answers, own, unit)
    before = _area(home[tested], own, unit), _accuracy(home[tested], own, unit)
    lost = _difference(before[0], area), _difference(before[1], accuracy)
    return SourceResult(source.kind, source.value, int(away.sum()), area, accuracy, *lost)


def _difference(before: Area, after: Area) -> Area:
    """What is lost. The same images are scored by heads of other trainings: taken as independent, the safe side."""
    half = math.hypot((before.high - before.low) / 2, (after.high - after.low) / 2)
    lost = before.value - after.value
    return Area(lost, lost - half, lost + half)


def _folds(labels: Labels, units: Labels, seed: int) -> Labels:
    """The fold (N,) of each image: units whole, classes spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(labels), np.int64)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, tested) in enumerate(splitter.split(labels, labels, units)):
        fold[tested] = number
    return fold


def answers_of_head(features: Values, labels: Labels, train: Mask, tested: Mask) -> Values:
    """Scores (n, K) of the tested images by ridge regression of the classes on standardised features.

    Every class weighs the same, and the penalty is the number of training images: one closed solution, in which nothing
    is chosen.
    """
    from scipy.linalg import cho_factor, cho_solve

    known, own = features[train], labels[train]
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1)
    standard = (known - mean) / deviation
    counts = np.bincount(own, minlength=int(labels.max()) + 1)
    weights = len(own) / (len(counts) * np.maximum(counts, 1))[own]
    targets = np.eye(len(counts))[own] - 1 / len(counts)
    scaled = standard * np.sqrt(weights)[:, None]
    root = np.sqrt(weights)[:, None] * targets
    if len(own) < standard.shape[1]:
        gram = scaled @ scaled.T
        gram[np.diag_indices_from(gram)] += len(own)
        coefficients = scaled.T @ cho_solve(cho_factor(gram), root)
    else:
        gram = scaled.T @ scaled
        gram[np.diag_indices_from(gram)] += len(own)
        coefficients = cho_solve(cho_factor(gram), scaled.T @ root)
    scores: Values = ((features[tested] - mean) / deviation) @ coefficients
    return scores


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
