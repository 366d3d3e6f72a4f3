"""What a `Bundle` runs on: the graphs in its folder, or a function."""

from __future__ import annotations

from typing import Protocol

from ..classifier import Evidence, EvidenceClassifier, InputGradients, Score, Target
from ..preprocessing import FloatArray


class Engine(EvidenceClassifier, Protocol):
    """Logits of tensors, and the evidence that the model can give; InputError for evidence that it cannot."""

    def at(self, layer: str) -> Engine:
        """The same engine with another explained layer."""
        ...

    def logits(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to logits (N, L)."""
        ...

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Logits (N, L), and the spatial mean of each channel (N, C) of the explained layer, if there is one."""
        ...

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Activations and gradients of the explained layer."""
        ...

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        """Activations and gradients of several layers, from front to back."""
        ...

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        """Gradients with respect to the pixels."""
        ...

    def tail(self, activations: FloatArray) -> FloatArray:
        """Activations (M, C, h, w) of the explained layer to logits (M, L)."""
        ...
