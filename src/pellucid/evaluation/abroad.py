"""What a figure is worth on images from elsewhere: each source left out in turn, with a cheap head on fixed features.

Features come from layers that were never trained on these images, so that nothing of a source that is left out is
known. A head is trained on the rest and asked about the source; the same head, trained and tested at random by group,
says what it does at home. The loss from one to the other is what a random split cannot show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.areas import Area, clustered_area
from ..data.sources import ImageSource

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FOLDS = 5
COMPONENTS = 128
FEWEST_TESTED = 10
"""At least so many images of each class are needed to test on, and to train on."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The head on a source that it was not trained on: its AUC, that at home on the same classes, and the loss."""

    kind: str
    value: str
    images: int
    area: Area
    loss: Area

    @property
    def sure(self) -> bool:
        """Whether the interval of the loss lies above 0."""
        return self.loss.low > 0


@dataclass(frozen=True, slots=True)
class Abroad:
    """The head at home, and with each source left out. Without sources the figure abroad is unknown."""

    home: Area
    left_out: tuple[LeftOut, ...]

    @property
    def range(self) -> tuple[float, float] | None:
        """The least and the greatest AUC with a source left out."""
        values = [s.area.value for s in self.left_out]
        return (min(values), max(values)) if values else None

    @property
    def worst(self) -> LeftOut | None:
        """The source with the greatest loss."""
        return max(self.left_out, key=lambda s: s.loss.value, default=None)


def leave_sources_out(
    features: Values, labels: Labels, units: Labels, sources: Sequence[ImageSource], seed: int = 0
) -> Abroad | None:
    """Judge a head on features (N, D) at home and with each source left out; `units` (N,) number groups.

    Images of a unit never stand on both sides. None where a class has fewer than 10 units.
    """
    classes = len(np.unique(labels))
    if min(len(np.unique(units[labels == c])) for c in np.unique(labels)) < FEWEST_TESTED:
        return None
    fold = _folds(labels, units, seed)
    home = np.zeros((len(labels), classes))
    for number in range(FOLDS):
        home[fold == number] = _answers(features, labels, fold != number, fold == number)
    at_home = _area(home, labels, units)
    tested = [_left_out(features, labels, units, source, fold, home) for source in sources]
    return Abroad(at_home, tuple(t for t in tested if t is not None))


def _left_out(
    features: Values, labels: Labels, units: Labels, source: ImageSource, fold: Labels, home: Values
) -> LeftOut | None:
    """One source left out. Classes that it lacks are tested on a fold of the others, which is left out too."""
    away = source.rows.copy()
    lacking = [c for c in np.unique(labels) if (away & (labels == c)).sum() < FEWEST_TESTED]
    tested = away | (np.isin(labels, lacking) & (fold == 0))
    train = ~np.isin(units, np.unique(units[tested]))
    enough = all((tested & (labels == c)).sum() >= FEWEST_TESTED for c in np.unique(labels))
    if not enough or any((train & (labels == c)).sum() < FEWEST_TESTED for c in np.unique(labels)):
        return None
    area = _area(_answers(features, labels, train, tested), labels[tested], units[tested])
    before = _area(home[tested], labels[tested], units[tested])
    # The same images, but scored by heads of other trainings: the two are taken as independent, which is the safe side.
    half = math.hypot(_half(area), _half(before))
    lost = before.value - area.value
    return LeftOut(source.kind, source.value, int(away.sum()), area, Area(lost, lost - half, lost + half))


def _half(area: Area) -> float:
    return (area.high - area.low) / 2


def _folds(labels: Labels, units: Labels, seed: int) -> Labels:
    """The fold (N,) of each image: units whole, classes spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(labels), np.int64)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, tested) in enumerate(splitter.split(labels, labels, units)):
        fold[tested] = number
    return fold


def _answers(features: Values, labels: Labels, train: Mask, tested: Mask) -> Values:
    """Scores (n, K) of the tested images by a head on principal components of the training images' features."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    most = min(COMPONENTS, int(train.sum()) - 1, features.shape[1])
    head = make_pipeline(
        StandardScaler(),
        PCA(most, svd_solver="randomized", random_state=0),
        StandardScaler(),
        LogisticRegression(C=0.03, class_weight="balanced", max_iter=300),
    )
    head.fit(features[train], labels[train])
    given: Values = head.predict_log_proba(features[tested])
    return given


def _area(scores: Values, labels: Labels, units: Labels) -> Area:
    """The area under the curve of two classes, or the mean of each against the rest."""
    if scores.shape[1] == 2:
        return clustered_area((scores[:, 1] - scores[:, 0])[:, None], labels, units)
    return clustered_area(scores, labels, units)
