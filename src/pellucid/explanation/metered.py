"""Counting forward passes: what an explanation costs on any machine."""

from __future__ import annotations

from typing import Any

from ..classifier import Evidence, EvidenceClassifier, InputGradients, Score, Target, Task
from ..preprocessing import FloatArray, Preprocessing
from .cost import BACKWARD, LAYERED


class Metered:
    """An evidence classifier that counts in `passes` the images that go through it, and is otherwise unchanged.

    What runs only behind the explained layer is not counted.
    """

    def __init__(self, classifier: EvidenceClassifier) -> None:
        self._classifier: Any = classifier
        self.passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._classifier, name)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._classifier.classes)

    @property
    def task(self) -> Task:
        task: Task = self._classifier.task
        return task

    @property
    def preprocessing(self) -> Preprocessing:
        preprocessing: Preprocessing = self._classifier.preprocessing
        return preprocessing

    def logits(self, batch: FloatArray) -> FloatArray:
        self.passes += len(batch)
        logits: FloatArray = self._classifier.logits(batch)
        return logits

    def probabilities(self, batch: FloatArray) -> FloatArray:
        self.passes += len(batch)
        probabilities: FloatArray = self._classifier.probabilities(batch)
        return probabilities

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        self.passes += BACKWARD * len(batch)
        gradients: InputGradients = self._classifier.input_gradients(batch, target, score)
        return gradients

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        self.passes += LAYERED * len(batch)
        evidence: tuple[Evidence, ...] = self._classifier.layered_evidence(batch, target, score)
        return evidence

    def tail(self, activations: FloatArray) -> FloatArray:
        logits: FloatArray = self._classifier.tail(activations)
        return logits

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        self.passes += len(batch)
        evidence: Evidence = self._classifier.evidence(batch, target, score)
        return evidence
