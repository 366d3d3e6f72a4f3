"""Has a training learned anything? The validation images' area under the ROC curve against that of guessing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..classifier import Task, probabilities_from_logits
from ..data.areas import clustered_area
from ..documents import FiniteDocument
from ..preprocessing import FloatArray
from .intervals import Indices

GUESSING = 0.5


class LearningRecord(FiniteDocument):
    """The area under the ROC curve of the validation images with its 95 % interval; a mean over more than two classes.

    `images` were answered; images of one group are not independent, and count so.
    """

    images: int
    area: float
    low: float
    high: float

    @property
    def learned(self) -> bool:
        """Whether the interval lies above that of guessing."""
        return self.low > GUESSING


def learning_of(task: Task, logits: FloatArray, labels: Indices, groups: Sequence[str]) -> LearningRecord | None:
    """What the validation images with logits (N, L) say; None where they are of one class only."""
    if len(np.unique(labels)) < 2:
        return None
    scores = logits if logits.shape[1] == 1 else probabilities_from_logits(logits)
    units = np.unique([g or f"\0{i}" for i, g in enumerate(groups)], return_inverse=True)[1].astype(np.int64)
    area = clustered_area(scores.astype(np.float64), labels, units)
    return LearningRecord(images=len(labels), area=area.value, low=area.low, high=area.high)
