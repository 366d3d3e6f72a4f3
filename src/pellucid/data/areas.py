"""Areas under the ROC curve of images that come in units (patients), and differences of two such areas, with intervals.

The variance is Obuchowski's: the structural components of DeLong, summed within units.

References: Obuchowski, Biometrics 53 (1997) 567; DeLong et al., Biometrics 44 (1988) 837.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Area:
    """An area under the ROC curve, or a difference of two, and its 95 % interval."""

    value: float
    low: float
    high: float


UNDEFINED = Area(math.nan, math.nan, math.nan)


def clustered_area(scores: Values, labels: IntArray, units: IntArray, level: float = 0.95) -> Area:
    """The area under the ROC curve with its interval; the mean of several curves.

    `scores` is (N, 1), high for label 1 of two, or (N, K) with a column for each of K labels, each against the rest.
    Labels without images are left out of the mean. With images of one label only, all three numbers are NaN.
    `units` (N,) number what images belong together. The interval is symmetric on the logit scale. Where the classes are
    told without a miss it ends at `0.025 ** (1 / m)`, m being the images of the smaller class.
    """
    if len(np.unique(labels)) < 2:
        return UNDEFINED
    area, influence = _area_and_influence(scores, labels)
    error = _standard_error(influence, units)
    if not 0 < area < 1:
        smallest = min(int((labels == k).sum()) for k in np.unique(labels))
        edge = ((1 - level) / 2) ** (1 / smallest)
        return Area(area, edge, 1.0) if area else Area(area, 0.0, 1 - edge)
    logit = math.log(area / (1 - area))
    half = NormalDist().inv_cdf(0.5 + level / 2) * error / (area * (1 - area))
    low, high = (0.5 * (1 + math.tanh((logit + side * half) / 2)) for side in (-1, 1))
    return Area(area, low, high)


def area_lost(before: Values, after: Values, labels: IntArray, units: IntArray, level: float = 0.95) -> Area:
    """How much area under the curve is lost from the scores `before` to `after` of the same images: -1 to 1.

    Shapes, and what is not defined, as of `clustered_area`. The interval is that of paired areas; it is empty where the
    scores rank alike.
    """
    if len(np.unique(labels)) < 2:
        return UNDEFINED
    (first, of_first), (second, of_second) = _area_and_influence(before, labels), _area_and_influence(after, labels)
    half = NormalDist().inv_cdf(0.5 + level / 2) * _standard_error(of_first - of_second, units)
    lost = first - second
    return Area(lost, max(-1.0, lost - half), min(1.0, lost + half))


def _area_and_influence(scores: Values, labels: IntArray) -> tuple[float, Values]:
    targets = [1] if scores.shape[1] == 1 else list(range(scores.shape[1]))
    targets = [k for k in targets if (labels == k).any()]
    parts = [_components(scores[:, -1 if scores.shape[1] == 1 else k], labels == k) for k in targets]
    influence: Values = np.mean([c for _, c in parts], axis=0)
    return float(np.mean([a for a, _ in parts])), influence


def _standard_error(influence: Values, units: IntArray) -> float:
    sums = np.bincount(np.unique(units, return_inverse=True)[1], weights=influence)
    return math.sqrt(len(sums) / max(len(sums) - 1, 1) * float((sums**2).sum()))


def _components(scores: Values, positive: npt.NDArray[np.bool_]) -> tuple[float, Values]:
    """The area of one curve, and by how much each image (N,) moves it."""
    from scipy.stats import rankdata

    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores)
    # For a positive, the share of negatives below it (ties count half); for a negative, that of positives above it.
    beaten = np.empty(len(scores))
    beaten[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    beaten[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    area = float(beaten[positive].mean())
    return area, np.where(positive, (beaten - area) / m, (beaten - area) / n)


def clustered_mean(values: Values, units: IntArray, level: float = 0.95) -> Area:
    """The mean of values (N,) that come in units, with the normal interval of a ratio of sums over units."""
    mean = float(values.mean())
    half = NormalDist().inv_cdf(0.5 + level / 2) * _standard_error((values - mean) / len(values), units)
    return Area(mean, mean - half, mean + half)
