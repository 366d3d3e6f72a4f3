"""Counting forward passes: what an explanation costs on any machine."""

from __future__ import annotations

from typing import Any

from ..classifier import Evidence, EvidenceClassifier, Score, Target, Task
from ..preprocessing import FloatArray, Preprocessing


class Metered:
    """An evidence classifier that counts in `passes` the images that go through it; all else is the classifier's own."""

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

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        self.passes += len(batch)
        evidence: Evidence = self._classifier.evidence(batch, target, score)
        return evidence
