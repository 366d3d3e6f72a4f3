"""Several detectors of unusual images as one: an image is as unusual as they find it together.

What the network sees and how the image looks tell different things: a photograph is far in the network's features, a
film of another device often only in its grey levels and its detail. Each part's distance is put on a common scale: 1 is
usual, and e (2.7) what one image in forty exceeds. The joint distance is the root of their weighted mean square, so
that one threshold at one level holds for all parts together. Against their maximum, the mean of their logarithms and
other scales, it told images of other sources as well, and lost least of what a part alone tells of other things.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .detectors import Floats, OutsideDetector, read_detector
from .intervals import Values
from .looks import LOOKS
from .outside import Surroundings, all_finite

LOOKING = "looks"
"""The part that takes the last columns of the features, how the image looks; the others take what is before them."""
_FAR = 50.0
_SCALES = ("usual", "spread", "weights")
_SMALLEST, _SHRINKAGE, _POWER = 0.01, 0.05, 0.75


@dataclass(frozen=True)
class Joint:
    """Detectors by name, with the usual value and the spread of the logarithm of each one's distances, (P,).

    `weights` (P,) say how much each counts. Behind the features of the explained layer lie `looks` columns that say how
    the image looks.
    """

    parts: Mapping[str, OutsideDetector]
    usual: Values
    spread: Values
    weights: Values
    looks: int = LOOKS

    def distances(self, features: npt.ArrayLike, logits: npt.ArrayLike | None = None) -> Values:
        """Distances (N,): the weighted root mean square of the parts' scaled distances; infinite where a part's is."""
        given = np.asarray(features)
        if given.ndim != 2:
            raise InputError(f"Features must have the shape (N, C), not {given.shape}.")
        rows = zip(*(found.tolist() for found in self._of_parts(given, logits)), strict=True)
        together = np.array([_together(row, self._scales) for row in rows], np.float64)
        return np.where(all_finite(given), together, np.inf)

    def distance(self, features: Floats, logits: Floats | None = None) -> float:
        """The distance of one image with features (C,) and logits (L,)."""
        if self.parts.keys() <= {LOOKING, "energy"} and not np.isfinite(features).all():
            return math.inf  # every other part finds so itself
        place = len(features) - self.looks
        own, looks = features[:place], features[place:]
        found = [part.distance(looks if name == LOOKING else own, logits) for name, part in self.parts.items()]
        return _together(found, self._scales)

    @cached_property
    def _scales(self) -> list[tuple[float, float, float]]:
        """The usual value, the spread and the weight of each part."""
        return list(zip(*(getattr(self, name).tolist() for name in _SCALES), strict=True))

    def fitted(self, features: npt.ArrayLike, logits: npt.ArrayLike | None) -> Joint:
        """The same with the scale of each part from images like those to come: median, and from there to 97.5 %."""
        # A network that learnt nothing may give distances of 0, or none that is a number.
        found = np.nan_to_num(self._logarithms(np.asarray(features), logits), True, _FAR, _FAR, -_FAR)
        usual, high = np.quantile(found, [0.5, 0.975], axis=0)
        return replace(self, usual=usual, spread=np.maximum(high - usual, 1e-3))

    def _logarithms(self, features: npt.NDArray[np.floating], logits: npt.ArrayLike | None) -> Values:
        """Logarithms of the parts' distances (N, P)."""
        with np.errstate(divide="ignore"):
            return np.log(np.column_stack(self._of_parts(features, logits)))

    def _of_parts(self, features: npt.NDArray[np.floating], logits: npt.ArrayLike | None) -> list[Values]:
        """Each part's distances (N,)."""
        place = features.shape[1] - self.looks
        own, looks = features[:, :place], features[:, place:]
        return [part.distances(looks if name == LOOKING else own, logits) for name, part in self.parts.items()]

    def to_bytes(self) -> bytes:
        """The arrays of all parts, each array's name after the part's."""
        arrays: dict[str, npt.NDArray[np.floating]] = {name: getattr(self, name) for name in _SCALES}
        for name, part in self.parts.items():
            with np.load(io.BytesIO(part.to_bytes())) as own:
                arrays |= {f"{name}.{key}": own[key] for key in own.files}
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        return stream.getvalue()


def _together(distances: Sequence[float], scales: Sequence[tuple[float, float, float]]) -> float:
    """The joint distance of one image from those of the parts and each one's usual value, spread and weight."""
    squares = total = 0.0
    for distance, (usual, spread, weight) in zip(distances, scales, strict=True):
        if not distance < math.inf:
            return math.inf
        surprise = (math.log(distance) - usual) / spread if distance > 0 else -_FAR
        squares += weight * math.exp(2 * min(max(surprise, -_FAR), _FAR))
        total += weight
    return math.sqrt(squares / total)


def joined(parts: Mapping[str, OutsideDetector], weights: Mapping[str, float] | None = None) -> Joint:
    """Detectors as one, before their scales are fitted; without `weights` they count alike."""
    counts = np.array([1.0 if weights is None else weights[name] for name in parts])
    return Joint(dict(parts), np.zeros(len(parts)), np.ones(len(parts)), counts)


def describe_looks(looks: npt.ArrayLike) -> Surroundings:
    """How training images look, (N, 31): Mahalanobis's distance in which rare directions count less.

    A direction counts by its variance to the power of -0.75 instead of -1: along those in which training images hardly
    vary, images of their own kind stray as well. So exports of the same films are not flagged, nothing varies by less
    than 0.01.
    """
    given = np.asarray(looks, np.float64)
    mean, deviation = given.mean(axis=0), np.maximum(given.std(axis=0), _SMALLEST)
    standard = (given - mean) / deviation
    variances, directions = np.linalg.eigh(standard.T @ standard / max(len(given) - 1, 1))
    kept = (1 - _SHRINKAGE) * np.maximum(variances, 0) + _SHRINKAGE
    # All directions are components, so that nothing lies across.
    return Surroundings(mean, deviation, directions.T, kept**_POWER, float(kept.sum()))


def read_joint(arrays: Mapping[str, npt.NDArray[np.floating]]) -> Joint:
    """The detector whose `to_bytes` gave these arrays. Raises UnknownNameError, KeyError or ValueError for others."""
    names = tuple(dict.fromkeys(key.partition(".")[0] for key in arrays if key.partition(".")[1]))
    own = {name: {k.partition(".")[2]: v for k, v in arrays.items() if k.partition(".")[0] == name} for name in names}
    parts = {name: read_detector("mahalanobis" if name == LOOKING else name, of) for name, of in own.items()}
    usual, spread, weights = (arrays[key].astype(np.float64) for key in _SCALES)
    if not names or any(scale.shape != (len(names),) for scale in (usual, spread, weights)):
        raise ValueError("its arrays do not fit each other")
    return Joint(parts, usual, spread, weights)
