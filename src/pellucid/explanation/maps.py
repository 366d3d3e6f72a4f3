"""What every explanation method takes and gives, so that one function can lay any of them on the original image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..classifier import Classifier, EvidenceClassifier, Score, Target, probabilities_from_logits, selected_targets
from ..errors import InputError
from ..preprocessing import FloatArray, GridGeometry

INPUT_PIXELS = GridGeometry((1.0, 1.0), (0.5, 0.5))
"""The geometry of a map with one value per pixel of the model's input."""

LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True)
class Maps:
    """Raw maps of N images for T targets, before they are laid on the originals.

    `values` (N, T, h, w) float32 on a grid with `geometry`; `probabilities` (N, K) of the images themselves (for a
    regression (N, 0)) and `logits` (N, L) where the classifier gives them; `targets` are T class names, or PREDICTED.
    `settings` says for each image how its map was made, in plain JSON values.
    """

    values: FloatArray
    geometry: GridGeometry
    probabilities: FloatArray
    targets: tuple[str, ...]
    logits: FloatArray | None = None
    layer: str | None = None
    settings: tuple[Mapping[str, Any], ...] = field(default=())


def target_scores(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None) -> FloatArray:
    """The score (N, T) of each target for a batch (N, 3, h, w): what a black-box method explains.

    Log-odds come from logits where the classifier has them, otherwise from its probabilities, kept 1e-6 away from 0
    and 1. A target of None stands for the predicted class of each image. Raises InputError for a score that needs
    logits when there are none.
    """
    logits = logits_of(classifier, batch)
    if logits is None:
        if score == "logit":
            raise InputError("This classifier gives probabilities only, and no logits: explain the log-odds.")
        return _from_probabilities(classifier, classifier.probabilities(batch), target)
    rows, contrast, _ = selected_targets(classifier.classes, classifier.task, len(batch), target, score)
    return scores_of_logits(logits, rows, contrast)


def scores_of_logits(logits: FloatArray, rows: FloatArray, contrast: float) -> FloatArray:
    """The score (N, T) that an evidence graph explains: see bundle/manifest.py. `rows` (N, T, L), `logits` (N, L)."""
    if logits.shape[1] == 1:
        own = np.where(logits >= 0, 1.0, -1.0)
        each = logits
    else:
        own = np.eye(logits.shape[1])[logits.argmax(axis=1)]
        masked = np.where(np.eye(logits.shape[1], dtype=bool), -np.inf, logits[:, None, :])
        top = masked.max(axis=2, keepdims=True)
        others = top[..., 0] + np.log(np.exp(masked - top).sum(axis=2))
        each = logits - contrast * others
    weights = rows + (np.abs(rows).sum(axis=2, keepdims=True) == 0) * own[:, None, :]
    return np.asarray((weights * each[:, None, :]).sum(axis=2), np.float32)


def logits_of(classifier: Classifier, batch: FloatArray) -> FloatArray | None:
    """Logits (N, L) of a batch where the classifier gives them; None for one that gives probabilities only."""
    ask = getattr(classifier, "logits", None)
    return None if ask is None else np.asarray(ask(batch), np.float32)


def probabilities_beside(classifier: Classifier, batch: FloatArray, logits: FloatArray | None) -> FloatArray:
    """Probabilities (N, K) of a batch, from its logits when these are known; (N, 0) for a regression."""
    if classifier.task == "regression":
        return np.zeros((len(batch), 0), np.float32)
    return classifier.probabilities(batch) if logits is None else probabilities_from_logits(logits)


def evidence_of(classifier: Classifier, method: str) -> EvidenceClassifier:
    """The classifier as one that gives evidence; InputError, naming what works instead, when it does not."""
    if not isinstance(classifier, EvidenceClassifier):
        raise InputError(
            f"{method} needs activations and gradients, which this classifier does not give: take lime or rise."
        )
    return classifier


def _from_probabilities(classifier: Classifier, probabilities: FloatArray, target: Target) -> FloatArray:
    inside = np.clip(probabilities.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    odds = np.log(inside) - np.log1p(-inside)
    if target is None:
        return np.asarray(odds[np.arange(len(odds)), probabilities.argmax(axis=1)][:, None], np.float32)
    _, _, names = selected_targets(classifier.classes, classifier.task, 1, target, None)
    return np.asarray(odds[:, [classifier.classes.index(name) for name in names]], np.float32)
