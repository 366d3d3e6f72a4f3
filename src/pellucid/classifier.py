"""What a classifier can be asked, whatever it runs on, and what it answers.

An explainer sees only these protocols; it never knows whether torch, ONNX Runtime or a plain function is behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from .preprocessing import FloatArray, GridGeometry, Preprocessing

Task = Literal["binary", "multiclass", "regression"]
Score = Literal["log-odds", "logit", "output"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image.

    `probabilities` maps every class to its probability (they sum to 1). For a regression it is empty, and `output` is
    the predicted score. `confidence` is the probability of `label`; None for a regression.
    """

    label: str
    confidence: float | None
    probabilities: dict[str, float]
    output: float | None = None
    path: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one pass says of a batch of N images about T targets.

    `logits` (N, L): L is 1 for a binary or regression model, K for K classes. `activations` (N, C, h, w) of the
    explained layer. `gradients` (N, T, C, h, w): the derivative of each target's score with respect to the
    activations. All float32.
    """

    logits: FloatArray
    activations: FloatArray
    gradients: FloatArray
    geometry: GridGeometry
    layer: str
    targets: tuple[str, ...] = field(default=())


@runtime_checkable
class Classifier(Protocol):
    """Anything that turns tensors into class probabilities: all that a black-box explainer needs."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; for a binary model (negative, positive)."""
        ...

    @property
    def task(self) -> Task: ...

    @property
    def preprocessing(self) -> Preprocessing: ...

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to class probabilities (N, K), rows summing to 1."""
        ...


@runtime_checkable
class EvidenceClassifier(Classifier, Protocol):
    """A classifier that also gives activations and gradients of its explained layer."""

    def evidence(self, batch: FloatArray, target: str | tuple[str, ...] | None = None, score: Score = "log-odds") -> Evidence:
        """Evidence for `target` (a class, several, or None for each image's own predicted class)."""
        ...


def probabilities_from_logits(logits: FloatArray) -> FloatArray:
    """Logits (N, 1) by the sigmoid to (N, 2), or (N, K) by the softmax to (N, K). Computed stably, float32."""
    if logits.shape[-1] == 1:
        # Softmax over (0, z) is the sigmoid, and is stable at both ends.
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: FloatArray = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return result
