"""What an evaluation takes, checked: each thing that is wrong gives one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..classifier import Task, gives_score
from ..errors import DataError, InputError
from ..preprocessing import FloatArray
from .intervals import Indices


def checked_labels(labels: npt.ArrayLike, classes: int, split: str) -> Indices:
    """Labels as indices (N,), N > 0, each below `classes`."""
    truth = np.asarray(labels)
    if truth.size == 0:
        raise DataError(f"There are no images in the {split or 'given'} split, so there is nothing to evaluate.")
    if truth.ndim != 1 or truth.dtype.kind not in "iu":
        raise DataError(
            f"Labels must be one whole number per image, and are {truth.dtype} of shape {truth.shape}."
            " Give the index of each image's class."
        )
    unknown = np.flatnonzero((truth < 0) | (truth >= classes))
    if len(unknown):
        raise DataError(
            f"{len(unknown)} of {len(truth)} labels are unknown to the model: it has classes 0 to {classes - 1}, and"
            f" the first such label is {truth[unknown[0]]}. Evaluate on data with the model's classes."
        )
    return truth.astype(np.int64)


def check_same_length(what: str, length: int, n: int) -> None:
    """InputError unless there is one for each of n labels."""
    if length != n:
        raise InputError(f"There are {n} labels and {length} {what}: there must be one for each image.")


def checked_scores(
    task: Task,
    probabilities: npt.ArrayLike | None,
    outputs: npt.ArrayLike | None,
    classes: int,
    paths: Sequence[str],
    n: int,
) -> tuple[FloatArray, FloatArray]:
    """What the metrics rank by, (N, K) or (N, 1), and the probabilities (N, K) or (N, 0), checked."""
    if gives_score(task):
        if outputs is None:
            raise InputError("A regression is evaluated by its outputs: give `outputs=`.")
        scores = np.asarray(outputs, np.float32).reshape(-1, 1)
        shares = np.zeros((n, 0), np.float32)
    else:
        if probabilities is None:
            raise InputError(f"A {task} evaluation needs `probabilities=`.")
        scores = shares = np.asarray(probabilities, np.float32)
        if scores.ndim != 2 or scores.shape[1] != classes:
            raise InputError(
                f"Probabilities must have one row per image and one column for each of the {classes} classes,"
                f" and have the shape {scores.shape}."
            )
    check_same_length("predictions", len(scores), n)
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(broken):
        raise InputError(
            f"{len(broken)} of {n} predictions are not finite numbers, the first for {paths[broken[0]]}: the model has"
            " diverged or its input is broken. Train again with a lower learning rate, or look at that image."
        )
    if not gives_score(task):
        off = np.flatnonzero((np.abs(scores.sum(axis=1) - 1) > 1e-3) | (scores < 0).any(axis=1))
        if len(off):
            raise InputError(
                f"{len(off)} of {n} rows are not probabilities (at least 0, summing to 1), the first for"
                f" {paths[off[0]]}: {scores[off[0]].tolist()}. Apply the sigmoid or softmax first."
            )
    return scores, shares
