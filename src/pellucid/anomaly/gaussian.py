"""Gaussians of normal features: one for each position of the grid (PaDiM), or one for a whole image's statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..preprocessing import FloatArray

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A Gaussian by its `mean` (C,) and `whitening` (C, C): the distance of x is |(x - mean) @ whitening|."""

    mean: FloatArray
    whitening: FloatArray

    def distances(self, rows: FloatArray) -> FloatArray:
        """Mahalanobis distances (N,) of rows (N, C)."""
        white = (rows - self.mean) @ self.whitening
        distances: FloatArray = np.sqrt(np.einsum("nc,nc->n", white, white))
        return distances


def fit_gaussian(rows: FloatArray) -> Gaussian:
    """The Gaussian of rows (N, C), its covariance shrunk by Ledoit and Wolf's rule after each channel was scaled to 1.

    Scaled, because the rule pulls towards a multiple of the identity, which suits channels of one size. Reference:
    Ledoit and Wolf, J. Multivariate Anal. 88 (2004) 365; for images Rippel et al., ICPR 2020, arXiv:2005.14140.
    InputError for fewer than two rows.
    """
    if len(rows) < 2:
        raise InputError("A Gaussian takes two images or more.")
    wide = np.asarray(rows, np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    deviation = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-30), deviation, np.inf)
    scaled = (wide - mean) / deviation
    covariance = shrunk_covariance(scaled)
    # A little on the diagonal: rows whose covariance is not shrunk at all have a root too.
    covariance[np.diag_indices_from(covariance)] += 1e-9 * max(float(np.trace(covariance)) / len(covariance), 1e-30)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T / deviation[:, None]
    return Gaussian(mean.astype(np.float32), whitening.astype(np.float32))


def shrunk_covariance(rows: Matrix) -> Matrix:
    """Ledoit and Wolf's estimate (C, C) of the covariance of centred rows (N, C)."""
    n, channels = rows.shape
    covariance: Matrix = rows.T @ rows / n
    mu = np.trace(covariance) / channels
    squared = rows**2
    # The mean over rows of |x x^T - S|^2 is that of |x|^4, less |S|^2.
    spread = (np.sum(squared.sum(axis=1) ** 2) / n - np.sum(covariance**2)) / n
    distance = np.sum(covariance**2) - channels * mu**2
    share = float(np.clip(spread / distance, 0, 1)) if distance > 0 else 1.0
    shrunk: Matrix = (1 - share) * covariance + share * mu * np.eye(channels)
    return shrunk
