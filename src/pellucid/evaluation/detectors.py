"""Detectors of unusual images, one of which a bundle carries: the one that tells stand-ins for such images best.

Each gives an image a distance, from its features (N, C), the spatial means of the explained layer, or from its logits
(N, L). Divided by the distance that most validation images stay within, it is the outside score: above 1 an image does
not resemble the training images.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError, UnknownNameError
from .intervals import Indices, Values
from .outside import Surroundings, all_finite, describe_surroundings, one_product, principal, surroundings_of

Floats = npt.NDArray[np.floating]
Floats32 = npt.NDArray[np.float32]
NEAREST = 5
"""The training image of which rank gives the distance: 1 and 20 told raccoons from cats and dogs less well."""
PLANE = 128
"""The most principal components that angles are taken within: 64 and 256 told raccoons from cats and dogs less well."""
OTHERS_WEIGHT = 2.0
"""How much nearness to images of other things adds to a distance."""


class OutsideDetector(Protocol):
    """Distances of images from the training images; the arrays that describe it are written into the bundle."""

    def distances(self, features: npt.ArrayLike, logits: npt.ArrayLike | None = None) -> Values:
        """Distances (N,) of images with features (N, C) and logits (N, L); infinite where these are not finite."""
        ...

    def distance(self, features: Floats, logits: Floats | None = None) -> float:
        """The distance of one image with features (C,) and logits (L,), in a fraction of the time."""
        ...

    def to_bytes(self) -> bytes:
        """The arrays as an uncompressed .npz file."""
        ...


@dataclass(frozen=True)
class Neighbours:
    """The distance to the fifth nearest training image, by the angle between features as seen from their `mean` (C,).

    Angles are taken within the principal `components` (P, C) of the training images: what lies across these makes an
    image far from all. `rows` (M, P) are the training images there, centred and divided by their whole length; `others`
    (K, P) are images known to be of other things, if any. Nearness to these adds to the distance. Reference: Sun, Ming,
    Zhu, Li, "Out-of-distribution detection with deep nearest neighbors", ICML 2022.
    """

    mean: Floats32
    components: Floats32
    rows: Floats32
    others: Floats32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def distances(self, features: npt.ArrayLike, logits: npt.ArrayLike | None = None) -> Values:
        """Distances (N,), 0 to 2 without `others`."""
        given = np.asarray(features, np.float32)
        _check(given, len(self.mean))
        whole = all_finite(given)
        known = given if whole.all() else np.where(whole[:, None], given, np.float32(0))
        directions = _directions(known, self.mean, self.components)
        own = _nearest(directions, self.rows, NEAREST)
        if len(self.others):
            own = own + OTHERS_WEIGHT * np.maximum(own - _nearest(directions, self.others, 1), 0)
        return np.where(whole, own, np.inf)

    def distance(self, features: Floats, logits: Floats | None = None) -> float:
        """The distance of one image with features (C,)."""
        given = np.asarray(features, np.float32)
        _check(given[None], len(self.mean))
        centred = given - self.mean
        squared = one_product(centred[None], centred).item()
        if not 1e-24 < squared < math.inf:
            return float(self.distances(given[None])[0])
        direction = one_product(self.components, centred) / np.float32(math.sqrt(squared))
        own = _nearest_one(direction, self.rows, NEAREST)
        if len(self.others):
            own += OTHERS_WEIGHT * max(own - _nearest_one(direction, self.others, 1), 0)
        return own

    def to_bytes(self) -> bytes:
        """The arrays; features as float16."""
        halves = {"rows": self.rows.astype(np.float16), "others": self.others.astype(np.float16)}
        return _npz({"mean": self.mean, "components": self.components, **halves})


def describe_neighbours(features: npt.ArrayLike, others: npt.ArrayLike | None = None) -> Neighbours:
    """The neighbours of training images with features (N, C); `others` (K, C) are images of other things."""
    given = np.asarray(features, np.float64)
    if given.ndim != 2 or len(given) < 10 or not np.isfinite(given).all():
        raise InputError(f"At least ten images with finite features are needed, not an array of shape {given.shape}.")
    mean = given.mean(axis=0).astype(np.float32)
    _, found = principal(given - given.mean(axis=0), min(PLANE, len(given) // 2, given.shape[1]))
    components = found.astype(np.float32)
    beside = np.zeros((0, given.shape[1])) if others is None else np.asarray(others)
    # As they are read back from the bundle's file.
    rows, against = (
        _directions(values.astype(np.float32), mean, components).astype(np.float16).astype(np.float32)
        for values in (given, beside)
    )
    return Neighbours(mean, components, rows, against)


@dataclass(frozen=True)
class ByClass:
    """Mahalanobis's distance to the nearest class mean, with one covariance for all classes.

    `centres` (K, C) are the standardised features' class means; `within` describes what is left around them. Reference:
    Lee, Lee, Lee, Shin, NeurIPS 2018.
    """

    mean: Values
    deviation: Values
    centres: Values
    within: Surroundings

    def distances(self, features: npt.ArrayLike, logits: npt.ArrayLike | None = None) -> Values:
        """Distances (N,)."""
        given = np.asarray(features, np.float64)
        _check(given, len(self.mean))
        standard = (np.nan_to_num(given, posinf=0, neginf=0) - self.mean) / self.deviation
        nearest = np.min([self.within.distances(standard - centre) for centre in self.centres], axis=0)
        return np.where(np.isfinite(given).all(axis=1), nearest, np.inf)

    def distance(self, features: Floats, logits: Floats | None = None) -> float:
        """The distance of one image with features (C,)."""
        _check(features[None], len(self.mean))
        standard = (features - self.mean) / self.deviation
        return min(self.within.distance(standard - centre) for centre in self.centres)

    def to_bytes(self) -> bytes:
        """The arrays as float32."""
        inner = self.within
        arrays = {"mean": self.mean, "deviation": self.deviation, "centres": self.centres}
        arrays |= {f"within_{name}": getattr(inner, name) for name in ("mean", "deviation", "components", "variances")}
        return _npz(
            {name: a.astype(np.float32) for name, a in arrays.items()} | {"within_rest": np.array([inner.rest])}
        )


def describe_classes(features: npt.ArrayLike, labels: Indices) -> ByClass:
    """The classes of training images with features (N, C) and labels (N,)."""
    given = np.asarray(features, np.float64)
    mean, deviation = _standard(given)
    standard = (given - mean) / deviation
    held = np.unique(labels)
    centres = np.array([standard[labels == k].mean(axis=0) for k in held])
    within = describe_surroundings(standard - centres[np.searchsorted(held, labels)])
    return ByClass(mean, deviation, centres, within)


@dataclass(frozen=True)
class Energy:
    """The energy of the logits: minus the logarithm of the sum of their exponentials, the higher the less familiar.

    Of a single logit z the two classes have z / 2 and -z / 2. Reference: Liu, Wang, Owens, Li, NeurIPS 2020. `offset`
    makes the distances positive.
    """

    offset: float

    def distances(self, features: npt.ArrayLike, logits: npt.ArrayLike | None = None) -> Values:
        """Distances (N,); small for the most confident images. InputError without logits."""
        if logits is None:
            raise InputError("The energy is of the logits, and none are given.")
        energy = _energy(logits)
        return np.where(np.isfinite(energy), np.maximum(energy + self.offset, 1e-9), np.inf)

    def distance(self, features: Floats, logits: Floats | None = None) -> float:
        """The distance of one image with logits (L,)."""
        return float(self.distances(features[None], None if logits is None else logits[None])[0])

    def to_bytes(self) -> bytes:
        """The offset."""
        return _npz({"offset": np.array([self.offset])})


def describe_energy(logits: npt.ArrayLike) -> Energy:
    """The energy of training images with logits (N, L): their most confident one gets the distance 1."""
    return Energy(1.0 - float(_energy(logits).min()))


def _energy(logits: npt.ArrayLike) -> Values:
    z = np.asarray(logits, np.float64)
    both = np.concatenate([z / 2, -z / 2], axis=1) if z.shape[1] == 1 else z
    return np.asarray(-np.logaddexp.reduce(both, axis=1), np.float64)


def read_detector(name: str, arrays: Mapping[str, npt.NDArray[np.floating]]) -> OutsideDetector:
    """The detector of this name from the arrays of its `to_bytes`.

    Raises UnknownNameError for another name, KeyError, IndexError or ValueError for arrays that are not its own.
    """
    readers: Mapping[str, Callable[[Mapping[str, Values]], OutsideDetector]] = {
        "mahalanobis": surroundings_of,
        "neighbours": _read_neighbours,
        "class": _read_classes,
        "energy": lambda found: Energy(float(found["offset"][0])),
    }
    if name not in readers:
        raise UnknownNameError("detector", name, list(readers), "Upgrade pellucid.")
    return readers[name]({key: np.asarray(values, np.float64) for key, values in arrays.items()})


def _read_neighbours(arrays: Mapping[str, Values]) -> Neighbours:
    names = ("mean", "components", "rows", "others")
    mean, components, rows, others = (arrays[name].astype(np.float32) for name in names)
    if components.ndim != 2 or components.shape[1] != len(mean) or rows.shape[1:] != components.shape[:1]:
        raise ValueError("its arrays do not fit each other")
    return Neighbours(mean, components, rows, others)


def _read_classes(arrays: Mapping[str, Values]) -> ByClass:
    mean, deviation, centres = (arrays[name].astype(np.float64) for name in ("mean", "deviation", "centres"))
    inner = [arrays[f"within_{n}"].astype(np.float64) for n in ("mean", "deviation", "components", "variances", "rest")]
    if centres.ndim != 2 or centres.shape[1] != len(mean) or inner[2].shape != (len(inner[3]), len(mean)):
        raise ValueError("its arrays do not fit each other")
    within = Surroundings(inner[0], inner[1], inner[2], inner[3], float(inner[4][0]))
    return ByClass(mean, deviation, centres, within)


def _standard(features: Values) -> tuple[Values, Values]:
    """Mean and deviation (C,); a channel that is silent on all images counts as varying a little."""
    deviation = features.std(axis=0)
    return features.mean(axis=0), np.maximum(deviation, max(1e-3 * float(np.median(deviation)), 1e-6))


def _directions(features: Floats32, mean: Floats32, components: Floats32) -> Floats32:
    """Centred features (N, C) within the components (P, C), divided by their whole length: (N, P)."""
    centred = features - mean
    length = np.maximum(np.sqrt(np.einsum("nc,nc->n", centred, centred)), 1e-12)[:, None]
    found: Floats32 = (centred @ components.T) / length
    return found


def _nearest(directions: Floats32, rows: Floats32, rank: int) -> Values:
    """Distances (N,) of directions (N, C) to the row (M, C) of this rank by nearness."""
    cosines = directions @ rows.T
    place = cosines.shape[1] - min(rank, cosines.shape[1])
    found = np.partition(cosines, place, axis=1)[:, place].astype(np.float64)
    return np.sqrt(np.maximum(2 - 2 * found, 0))


def _nearest_one(direction: Floats32, rows: Floats32, rank: int) -> float:
    """The distance of one direction (C,) to the row (M, C) of this rank by nearness."""
    cosines = one_product(rows, direction)
    cosines.sort()  # in NumPy without branches: half the time of a partition
    return math.sqrt(max(2 - 2 * cosines[-min(rank, len(cosines))].item(), 0.0))


def _check(given: npt.NDArray[np.floating], channels: int) -> None:
    if given.ndim != 2 or given.shape[1] != channels:
        raise InputError(f"Features must have the shape (N, {channels}), not {given.shape}.")


def _npz(arrays: Mapping[str, npt.NDArray[np.floating]]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()
