"""What every explanation method takes and gives, so that one function can lay any map on the original image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..classifier import (
    PREDICTED,
    Against,
    Classifier,
    EvidenceClassifier,
    Score,
    Target,
    gives_score,
    probabilities_from_logits,
    selected_targets,
)
from ..errors import InputError
from ..preprocessing import FloatArray, GridGeometry, Preprocessing

INPUT_PIXELS = GridGeometry((1.0, 1.0), (0.5, 0.5))
"""The geometry of a map with one value per pixel of the model's input."""

LEAST_PROBABILITY = 1e-6

Answer = tuple[FloatArray, Mapping[str, Any]]
"""A map (T, h, w) of one image, and what is to be said of how it was made; under `targets`, what differs by target."""


@dataclass(frozen=True, slots=True)
class Maps:
    """Raw maps of N images for T targets, before they are laid on the originals.

    `values` (N, T, h, w) float32 on a grid with `geometry`; `probabilities` (N, K) of the images themselves (for a
    regression (N, 0)) and `logits` (N, L) where the classifier gives them; `targets` are T class names, or PREDICTED.
    `features` (N, C) are the means over space of the activations, where the method had them. `settings` says for each
    image how its map was made, in plain JSON values.
    """

    values: FloatArray
    geometry: GridGeometry
    probabilities: FloatArray
    targets: tuple[str, ...]
    logits: FloatArray | None = None
    layer: str | None = None
    features: FloatArray | None = None
    settings: tuple[Mapping[str, Any], ...] = field(default=())


def laid_on_input(values: FloatArray, geometry: GridGeometry, preprocessing: Preprocessing) -> FloatArray:
    """Grids (..., h, w) laid on the model's input pixel for pixel, (..., height, width)."""
    whole = preprocessing.model_copy(update={"fit": "stretch"})
    return whole.to_original(values, geometry, (whole.height, whole.width))


def each_image(
    classifier: Classifier,
    batch: FloatArray,
    target: Target,
    score: Score | None,
    explain_one: Callable[[FloatArray, tuple[str, ...]], Answer],
) -> Maps:
    """Maps of a batch (N, 3, h, w) by a method that explains one image (3, h, w) at a time for T classes by name.

    Maps lie on the pixels of the model's input. The predicted class is that of the image as it is.
    """
    logits = logits_of(classifier, batch)
    probabilities = probabilities_beside(classifier, batch, logits)
    _, _, names = selected_targets(classifier.classes, classifier.task, 1, target, score)
    values = np.zeros((len(batch), len(names), *batch.shape[2:]), np.float32)
    remarks: list[Mapping[str, Any]] = []
    for i, image in enumerate(batch):
        own = classifier.classes[_own(classifier, probabilities[i], None if logits is None else logits[i])]
        values[i], remark = explain_one(image, tuple(own if name == PREDICTED else name for name in names))
        remarks.append(remark)
    return Maps(values, INPUT_PIXELS, probabilities, names, logits, settings=tuple(remarks))


def _own(classifier: Classifier, probabilities: FloatArray, logits: FloatArray | None) -> int:
    """The index of the class that a prediction of one image is explained for when none is named."""
    if gives_score(classifier.task):
        return 1
    return int(probabilities.argmax()) if logits is None else int(predicted_classes(classifier, logits[None])[0])


def target_scores(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None) -> FloatArray:
    """The score (N, T) of each target for a batch (N, 3, h, w): what a black-box method explains.

    Log-odds come from logits where the classifier has them, otherwise from its probabilities, kept 1e-6 away from 0
    and 1. A target of None stands for the predicted class of each image. Raises InputError for a score that needs
    logits from a classifier without logits.
    """
    logits = logits_of(classifier, batch)
    if logits is None:
        if score == "logit":
            raise InputError("This classifier gives probabilities only, and no logits: explain the log-odds.")
        return _from_probabilities(classifier, classifier.probabilities(batch), target)
    rows, contrast = settled_rows(classifier, logits, target, score)
    return scores_of_logits(logits, rows, contrast)


def predicted_classes(classifier: Classifier, logits: FloatArray) -> npt.NDArray[np.int64]:
    """The class index (N,) that logits (N, L) are answered with: the classifier's own operating point decides.

    One that has none answers with the sign of its single logit, or the class of the highest.
    """
    own = getattr(classifier, "predicted", None)
    if own is not None:
        return np.asarray(own(logits), np.int64)
    return logits.argmax(axis=1) if logits.shape[1] > 1 else (logits[:, 0] >= 0).astype(np.int64)


def settled_rows(
    classifier: Classifier, logits: FloatArray, target: Target, score: Score | None
) -> tuple[FloatArray, float]:
    """Target rows (N, T, L) and contrast, as `selected_targets` gives them, with the predicted class written out.

    So a changed copy of an image is scored for the class that the image itself, with `logits` (N, L), was given.
    """
    rows, contrast, _ = selected_targets(classifier.classes, classifier.task, len(logits), target, score)
    own = np.eye(len(classifier.classes), dtype=np.float32)[predicted_classes(classifier, logits)]
    if logits.shape[1] == 1:
        own = own[:, 1:] - own[:, :1]
    return np.where(np.abs(rows).sum(axis=2, keepdims=True) == 0, own[:, None, :], rows), contrast


def scores_of_logits(logits: FloatArray, rows: FloatArray, contrast: float) -> FloatArray:
    """The score (N, T) that an evidence graph explains: see bundle/manifest.py. `rows` (N, T, L), `logits` (N, L)."""
    each = logits if logits.shape[1] == 1 else logits - contrast * log_sum_of_others(logits)
    return np.asarray((rows * each[:, None, :]).sum(axis=2), np.float32)


def log_sum_of_others(logits: FloatArray) -> FloatArray:
    """For each class c the logsumexp of the other classes' logits, (N, L) from (N, L) with L of at least 2.

    The powers of all are summed once and each class's own is taken off, which loses nothing but for the highest: there
    the others are summed for themselves.
    """
    images = np.arange(len(logits))
    best = logits.argmax(axis=1)
    highest = logits[images, best][:, None]
    rest = logits.copy()
    rest[images, best] = -np.inf
    second = rest.max(axis=1, keepdims=True)
    powers = np.exp(logits - highest)
    powers[images, best] = 0
    # The highest contributes 1 to the sum of every other class, so that no sum below is smaller.
    sums = 1 + powers.sum(axis=1, keepdims=True) - powers
    found: FloatArray = highest + np.log(sums)
    found[images, best] = second[:, 0] + np.log(np.exp(rest - second).sum(axis=1))
    return found


def logits_of(classifier: Classifier, batch: FloatArray) -> FloatArray | None:
    """Logits (N, L) of a batch where the classifier gives them; None for one that gives probabilities only."""
    ask = getattr(classifier, "logits", None)
    return None if ask is None else np.asarray(ask(batch), np.float32)


def probabilities_beside(classifier: Classifier, batch: FloatArray, logits: FloatArray | None) -> FloatArray:
    """Probabilities (N, K) of a batch, from its logits when these are known; (N, 0) for a regression."""
    if gives_score(classifier.task):
        return np.zeros((len(batch), 0), np.float32)
    if logits is None:
        return classifier.probabilities(batch)
    calibrated = getattr(classifier, "probabilities_of", probabilities_from_logits)
    return np.asarray(calibrated(logits), np.float32)


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
    logs = np.log(inside)
    columns = [
        logs[:, classifier.classes.index(name.target)] - logs[:, classifier.classes.index(name.against)]
        if isinstance(name, Against)
        else odds[:, classifier.classes.index(name)]
        for name in names
    ]
    return np.asarray(np.stack(columns, axis=1), np.float32)
