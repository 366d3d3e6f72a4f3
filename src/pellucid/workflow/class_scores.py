"""A model as interventions ask it: pictures in, the score of each class and the answer out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..classifier import selected_targets
from ..explanation.maps import scores_of_logits
from ..preprocessing import Uint8Array

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassAnswers:
    """The score (N, K) of each class, in log-odds, and the answer (N,)."""

    scores: Values
    answers: Indices

    def of(self, label: int) -> tuple[Values, npt.NDArray[np.bool_]]:
        """The score of one class, and whether it is the answer."""
        return self.scores[:, label], self.answers == label


class ClassScores:
    """A bundle as interventions ask it: pictures to the score of each class."""

    def __init__(self, bundle: Bundle, batch: int = 16) -> None:
        self._bundle, self._batch, self.passes = bundle, batch, 0

    def __call__(self, pixels: Uint8Array) -> ClassAnswers:
        scores, answers = [], []
        for start in range(0, len(pixels), self._batch):
            logits = self._bundle.logits(self._bundle.preprocessing.normalise(pixels[start : start + self._batch]))
            rows, contrast, _ = selected_targets(
                self._bundle.classes, self._bundle.task, len(logits), self._bundle.classes, None
            )
            scores.append(scores_of_logits(logits, rows, contrast).astype(np.float64))
            answers.append(self._bundle.manifest.predicted(logits))
        self.passes += len(pixels)
        return ClassAnswers(np.concatenate(scores), np.concatenate(answers))

    def of(self, label: int) -> Callable[[Uint8Array], tuple[Values, npt.NDArray[np.bool_]]]:
        """The same for one class."""
        return lambda pixels: self(pixels).of(label)
