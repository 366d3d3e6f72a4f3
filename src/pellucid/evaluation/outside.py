"""Outside what the model was trained on: how far an image lies from the training images, as the model sees them.

An image is seen as its features: the mean over space of each channel of the explained layer, which the pass that
answers gives as well. The distance is Mahalanobis's (Lee et al., "A simple unified framework for detecting
out-of-distribution samples", NeurIPS 2018), of features standardised channel by channel: within the first principal
components of the training images by their variances there, and across all the rest by one common variance, scaled so
that the rest weighs as much as the components do. What training images never vary in is thus not ignored, which is
where pictures of another kind differ most.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..documents import Document
from ..errors import BundleError, InputError
from .intervals import Resampling, Values

AnyFloats = TypeVar("AnyFloats", npt.NDArray[np.float32], npt.NDArray[np.float64])
REFERENCE = "reference.npz"
COMPONENTS = 64
"""The most principal components, with five images or more for each. On features of MobileNetV2 and of a small
CNN 16 separate photographs from X-rays less well, and 128 no better."""
QUANTILE = 0.975
_LARGEST = 2**26


class Reference(Document):
    """What is known of the training images' features; the arrays are in the bundle's reference.npz.

    `method` is the detector: `mahalanobis`, `class`, `neighbours`, `energy` or `joint`, which also sees how an image
    looks. `measured` gives, for each detector that was tried, the area under the ROC curve against each kind of
    stand-in for unusual images; empty where one was taken.

    `threshold` is the distance beyond which an image is flagged: that below which a share `quantile` of images like the
    `images` of the validation set (in `groups`, where there are any) lies, on average or, where it is not 0, with
    `confidence`. `channels` are those of the `layer`, and `trained` images are described. `quantiles`
    are those of the validation images' scores (distance over threshold) at equal steps from 0 to 1, against which a
    server sees its images drift.
    """

    method: str = "mahalanobis"
    layer: str
    channels: int
    trained: int
    images: int
    groups: int | None = None
    threshold: float = Field(gt=0)
    quantile: float = Field(default=QUANTILE, gt=0.5, lt=1)
    confidence: float = Field(default=0.0, ge=0, lt=1)
    quantiles: tuple[float, ...] = ()
    measured: dict[str, dict[str, float]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """Where the training images lie among features.

    `mean` and `deviation` (C,) of the features, principal `components` (P, C) of the standardised ones with their
    `variances` (P,), and the variance of all the `rest`. An image is flagged beyond the distance `threshold`.
    """

    mean: Values
    deviation: Values
    components: Values
    variances: Values
    rest: float
    threshold: float = math.inf

    def distances(self, features: npt.ArrayLike, logits: npt.ArrayLike | None = None) -> Values:
        """Distances (N,) of images with features (N, C); infinite for features that are not finite."""
        given = np.asarray(features, np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.mean):
            raise InputError(f"Features must have the shape (N, {len(self.mean)}), not {given.shape}.")
        whole = all_finite(given)
        standard = ((given if whole.all() else np.where(np.isfinite(given), given, 0)) - self.mean) / self.deviation
        along = standard @ self.components.T
        squares = along * along
        across = np.maximum(np.einsum("nc,nc->n", standard, standard) - squares.sum(axis=1), 0)
        squared = squares @ (1 / self.variances) + self._across * across
        return np.where(whole, np.sqrt(squared), np.inf)

    def distance(self, features: npt.NDArray[np.floating], logits: npt.NDArray[np.floating] | None = None) -> float:
        """The distance of one image with features (C,)."""
        if features.shape != self.mean.shape:
            raise InputError(f"Features must have the shape {self.mean.shape}, not {features.shape}.")
        away = np.asarray(features, np.float64) - self.mean
        if len(self.mean) <= COMPONENTS:
            squared = float(np.vdot(one_product(self._form, away), away))
        else:
            standard = away / self.deviation
            along = one_product(self.components, standard)
            squared = float(np.vdot(along * along, 1 / self.variances - self._across))
            squared += self._across * float(np.vdot(standard, standard))
        return math.sqrt(max(squared, 0.0)) if math.isfinite(squared) else math.inf

    @property
    def _across(self) -> float:
        """How much a square across the components counts."""
        return len(self.variances) / self.rest

    @cached_property
    def _form(self) -> Values:
        """The matrix (C, C) of the squared distance: of few features it saves the way over the components."""
        inner = (self.components.T * (1 / self.variances - self._across)) @ self.components
        whole = inner + self._across * np.eye(len(self.mean))
        return np.asarray(whole / np.outer(self.deviation, self.deviation), np.float64)

    def scores(self, features: npt.ArrayLike) -> Values:
        """Distances (N,) over the threshold: above 1 an image is unusual."""
        return self.distances(features) / self.threshold

    def to_bytes(self) -> bytes:
        """The arrays as an uncompressed .npz file."""
        stream = io.BytesIO()
        arrays = (self.mean, self.deviation, self.components, self.variances, np.array([self.rest]))
        np.savez(stream, **dict(zip(_ARRAYS, (a.astype(np.float32) for a in arrays), strict=True)))  # type: ignore[arg-type]
        return stream.getvalue()


def one_product(rows: AnyFloats, vector: AnyFloats) -> AnyFloats:
    """Rows (M, C) times a vector (C,), as M products of two vectors.

    The threads of one product of all would take longer to wake than this takes, and NumPy's einsum twice as long.
    """
    found: AnyFloats = np.matmul(rows[:, None, :], vector[:, None])[:, 0, 0]
    return found


def all_finite(features: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Whether all features (N, C) of each image are finite, (N,): then their sum is."""
    with np.errstate(invalid="ignore", over="ignore"):
        # In float64, as a sum of large float32 numbers may be infinite.
        finite: npt.NDArray[np.bool_] = np.isfinite(np.add.reduce(features, axis=1, dtype=np.float64))
    return finite


_ARRAYS = ("mean", "deviation", "components", "variances", "rest")


def describe_surroundings(features: npt.ArrayLike) -> Surroundings:
    """Describe the features (N, C) of training images. InputError unless there are at least ten, all finite."""
    given = np.asarray(features, np.float64)
    if given.ndim != 2 or len(given) < 10 or not np.isfinite(given).all():
        raise InputError(f"At least ten images with finite features are needed, not an array of shape {given.shape}.")
    mean, deviation = given.mean(axis=0), given.std(axis=0)
    # A channel that is silent on all training images counts as varying a little, by the measure of the others.
    deviation = np.maximum(deviation, max(1e-3 * float(np.median(deviation)), 1e-6))
    standard = (given - mean) / deviation
    variances, components = principal(standard, min(COMPONENTS, len(given) // 5, given.shape[1]))
    total = float((standard**2).sum()) / (len(given) - 1)
    rest = max(total - float(variances.sum()), 1e-3 * total, 1e-6)
    return Surroundings(mean, deviation, components, variances, rest)


def principal(standard: Values, most: int) -> tuple[Values, Values]:
    """Variances (P,) and directions (P, C) of at most `most` principal components of centred rows (N, C)."""
    from scipy.linalg import eigh

    # The smaller of the two Gram matrices has the same eigenvalues, and only the highest are wanted.
    tall = len(standard) >= standard.shape[1]
    gram = (standard.T @ standard if tall else standard @ standard.T) / (len(standard) - 1)
    variances, vectors = eigh(gram, subset_by_index=[len(gram) - most, len(gram) - 1])
    kept = variances > 1e-6
    kept[-1] = True
    directions = vectors[:, kept].T if tall else vectors[:, kept].T @ standard
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    return np.maximum(variances[kept], 1e-6), directions


def with_threshold(
    found: Surroundings, features: npt.ArrayLike, groups: Sequence[str] = (), quantile: float = QUANTILE
) -> Surroundings:
    """The same with the distance that a share `quantile` of images like the given ones stays within.

    `features` (N, C) are of validation images, which were not described. The threshold is conformal: of new images from
    the same source no more than 1 - `quantile` are flagged on average, with groups of the mean new group (Vovk et al.,
    Algorithmic Learning in a Random World, 2005). With too few images or groups for that, the largest distance.
    """
    return replace(found, threshold=conformal_distance(found.distances(features), groups, quantile))


def conformal_distance(distances: Values, groups: Sequence[str], quantile: float) -> float:
    """The distance that a share `quantile` of new images stays within, by `distances` (N,) of validation images."""
    if not len(distances):
        raise InputError("A threshold needs at least one validation image.")
    units = Resampling.of(len(distances), groups, resamples=100, seed=0)
    weights = 1 / np.bincount(units.unit_of)[units.unit_of]
    order = np.argsort(distances, kind="stable")
    within = np.cumsum(weights[order])
    place = int(np.searchsorted(within, (units.units + 1) * quantile - 1e-9))
    return max(float(distances[order[min(place, len(order) - 1)]]), 1e-9)


def surroundings_of(arrays: Mapping[str, npt.NDArray[np.floating]]) -> Surroundings:
    """The surroundings whose `to_bytes` gave these arrays. Raises KeyError or ValueError for others."""
    mean, deviation, components, variances, rest = (arrays[name].astype(np.float64) for name in _ARRAYS)
    if components.shape != (len(variances), len(mean)) or deviation.shape != mean.shape or rest.shape != (1,):
        raise ValueError("its arrays do not fit each other")
    return Surroundings(mean, deviation, components, variances, float(rest[0]))


def read_arrays(path: Path) -> dict[str, npt.NDArray[np.floating]]:
    """The arrays of an uncompressed .npz file that describes training images; nothing in it can run. BundleError."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _LARGEST:
            raise BundleError(f"{path} would take {size:,} bytes in memory, more than any reference. Remove it.")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> BundleError:
    """What is said of a file that describes no training images."""
    return BundleError(f"{path} cannot be read as a reference ({error}). Copy the bundle again.")


def outside_warning(classes: Sequence[str]) -> str:
    """What to say of an image that lies outside, in words."""
    known = ", ".join(classes)
    return f"This does not look like the images that the model was trained on ({known}): its answer means little."
