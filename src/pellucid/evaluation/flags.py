"""The flag on unusual images: a detector, and the distance beyond which an image is unusual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, UnknownNameError
from .detectors import Floats, OutsideDetector, read_detector
from .intervals import Resampling, Values
from .joint import Joint, read_joint
from .outside import Reference, read_arrays, unreadable
from .risk import ROUNDING, p_value

FLAGGED, SURE = 0.95, 0.7
"""The share of images like the validation images that stays within a new bundle's distance, and how sure that is."""


@dataclass(frozen=True)
class Flag:
    """A detector with the distance from which an image is unusual: what a loaded bundle asks.

    The features that it takes are the means over space of the explained layer, and behind these, with `looks`, how the
    image looks (see `looks_of`).
    """

    detector: OutsideDetector
    threshold: float = math.inf

    @property
    def looks(self) -> int:
        """How many columns of the features say how the image looks."""
        return self.detector.looks if isinstance(self.detector, Joint) else 0

    def scores(self, features: npt.ArrayLike, logits: npt.ArrayLike | None = None) -> Values:
        """Distances (N,) over the threshold: above 1 an image is unusual."""
        return self.detector.distances(features, logits) / self.threshold

    def score(self, features: Floats, logits: Floats | None = None) -> float:
        """The distance of one image with features (C,) and logits (L,) over the threshold."""
        return self.detector.distance(features, logits) / self.threshold

    def fitted(
        self,
        features: npt.ArrayLike,
        logits: npt.ArrayLike,
        groups: Sequence[str] = (),
        quantile: float = FLAGGED,
        confidence: float = SURE,
    ) -> Flag:
        """The same with the distance that a share `quantile` of images like these stays within, with `confidence`.

        That share of a new group's images, and of all images: groups of many images may be more unusual than others.
        """
        distances = self.detector.distances(features, logits)
        return Flag(self.detector, max(sure_distance(distances, of, quantile, confidence) for of in (groups, ())))


def sure_distance(distances: Values, groups: Sequence[str], quantile: float, confidence: float) -> float:
    """The least distance that a share `quantile` of new images stays within, with `confidence`.

    `distances` (N,) are of validation images, of which each group counts once. Of n images k may lie beyond: as many as
    so few would lie there by chance, if more than the share did, with a probability of 1 - `confidence` (Wilks, Ann.
    Math. Stat. 12 (1941) 91); among groups by the bounds of Hoeffding and Bentkus. With too few for that, the largest
    distance. On average over validation sets more than the share stays within, since any single set may be small.
    """
    units = Resampling.of(len(distances), groups, resamples=100, seed=0)
    sizes = np.bincount(units.unit_of)
    order = np.argsort(-distances, kind="stable")
    weights = (1 / sizes)[units.unit_of][order] / units.units
    ranked = distances[order]
    beyond = np.concatenate([[0.0], np.cumsum(weights)[:-1]])
    beyond = beyond[np.searchsorted(-ranked, -ranked)]  # equal distances are beyond together
    sure = p_value(beyond, units.units, 1 - quantile, bool((sizes > 1).any())) <= 1 - confidence
    return max(float(ranked[sure][-1] if sure.any() else ranked[0]) * (1 + ROUNDING), 1e-9)


def read_flag(path: Path, reference: Reference) -> Flag:
    """Read what a detector's `to_bytes` gave, as `reference` describes it. BundleError for any other file."""
    arrays = read_arrays(path)
    try:
        joint = reference.method == "joint"
        detector = read_joint(arrays) if joint else read_detector(reference.method, arrays)
    except UnknownNameError as error:
        raise BundleError(
            f"{path} is of a detector that this pellucid does not know ({reference.method}): upgrade it."
        ) from error
    except (ValueError, KeyError, IndexError) as error:
        raise unreadable(path, error) from error
    return Flag(detector, reference.threshold)
