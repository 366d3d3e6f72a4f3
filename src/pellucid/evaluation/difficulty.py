"""How far off a regression's output is expected to be, for intervals that are narrow where the model is good.

The residuals of some validation images are followed by a line; the others then say how many times that expectation an
interval must be wide (Papadopoulos, Vovk, Gammerman, J. Artif. Intell. Res. 40 (2011) 815). The interval holds what it
promises however good the line is: it decides the widths only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..documents import FiniteDocument
from ..errors import InputError
from .intervals import Resampling, Values

FEWEST = 20
"""Fewer images fix no line."""


class Difficulty(FiniteDocument):
    """The expected distance of an output from its target: e to the power of a line, between `least` and `most`.

    The `weights` are of 1, the output, its square, and the logarithm of the outside score (0 where that is unknown).
    `images` were used.
    """

    weights: tuple[float, float, float, float]
    least: float
    most: float
    images: int

    def of(self, outputs: npt.ArrayLike, outside: npt.ArrayLike | None = None) -> Values:
        """Expected distances (N,) for outputs (N,) of images with `outside` scores (N,)."""
        line = _columns(np.asarray(outputs, np.float64), outside) @ np.array(self.weights)
        expected: Values = np.clip(np.exp(np.clip(line, -50, 50)), self.least, self.most)
        return expected


def fit_difficulty(targets: npt.ArrayLike, outputs: npt.ArrayLike, outside: npt.ArrayLike | None = None) -> Difficulty:
    """Fit the line to targets and outputs (N,) of validation images, which must not set the width afterwards.

    Ridge regression of the logarithms of the absolute residuals, to which a tenth of their mean is added. Raises
    InputError for fewer than 20 images or arrays that do not fit each other.
    """
    truth, given = np.asarray(targets, np.float64), np.asarray(outputs, np.float64)
    if truth.ndim != 1 or truth.shape != given.shape or len(truth) < FEWEST:
        raise InputError(f"At least {FEWEST} targets and as many outputs are needed, not {truth.shape}, {given.shape}.")
    far = np.abs(truth - given)
    wanted = np.log(far + max(0.1 * float(far.mean()), 1e-9))
    columns = _columns(given, outside)[:, 1:]
    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    standard = (columns - mean) / np.where(deviation > 1e-12, deviation, 1)
    inverse = standard.T @ standard + np.eye(standard.shape[1])
    slopes = np.linalg.solve(inverse, standard.T @ (wanted - wanted.mean()))
    slopes = slopes / np.where(deviation > 1e-12, deviation, 1)
    weights = np.array([wanted.mean() - mean @ slopes, *slopes])
    expected = np.exp(_columns(given, outside) @ weights)
    return Difficulty(
        weights=(float(weights[0]), float(weights[1]), float(weights[2]), float(weights[3])),
        least=float(expected.min()),
        most=float(expected.max()),
        images=len(truth),
    )


def halves(images: int, groups: Sequence[str] = ()) -> tuple[npt.NDArray[np.bool_], int]:
    """Which of the images (N,) fit the line, about half of the groups by a fixed draw, and how many units are left."""
    units = Resampling.of(images, groups, resamples=100, seed=0)
    drawn = np.zeros(units.units, bool)
    drawn[np.random.default_rng(0).permutation(units.units)[: units.units // 2]] = True
    return drawn[units.unit_of], int((~drawn).sum())


def _columns(outputs: Values, outside: npt.ArrayLike | None) -> Values:
    far = np.ones(len(outputs)) if outside is None else np.asarray(outside, np.float64)
    return np.column_stack([np.ones(len(outputs)), outputs, outputs**2, np.log(np.clip(far, 1e-3, 1e3))])
