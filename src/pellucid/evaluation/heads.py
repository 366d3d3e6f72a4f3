"""Linear heads on fixed features, and folds to test them on."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FOLDS = 5


def folds_of(labels: Labels, units: Labels, seed: int) -> Labels:
    """The fold (N,) of each image: units whole, classes spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(labels), np.int64)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer images than folds
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
