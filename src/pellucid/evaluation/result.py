"""The outcome of an evaluation as plain values: every metric with its interval, and what it was computed from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..classifier import Task
from ..preprocessing import FloatArray


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % interval. NaN bounds mean that no interval could be computed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What a model did on one set of N images.

    `probabilities` (N, K) and `labels` (N,) index `classes`; for a regression `outputs` (N,) holds the scores and
    `probabilities` is (N, 0). `confusion` (K, K) counts true class (row) against predicted class (column) at
    `threshold` (on the positive-class probability, or on the output of a regression; None for more than two classes).
    `metrics` is ordered, most important first. `interval` says in words how the bounds were made. `per_class` is
    {class: {metric: Metric}}. `leaks` are sentences on images that the model was trained on: figures with one mean
    nothing.
    """

    task: Task
    classes: tuple[str, ...]
    split: str
    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: FloatArray
    metrics: dict[str, Metric]
    per_class: dict[str, dict[str, Metric]]
    confusion: npt.NDArray[np.int64]
    threshold: float | None
    interval: str
    outputs: FloatArray | None = None
    groups: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    leaks: tuple[str, ...] = ()

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Predicted class index of each image, at the threshold. Shape (N,)."""
        if self.task == "regression":
            if self.outputs is None or self.threshold is None:
                raise ValueError("a regression result needs outputs and a threshold")
            return (self.outputs >= self.threshold).astype(np.int64)
        if self.threshold is not None:
            return (self.probabilities[:, 1] >= self.threshold).astype(np.int64)
        most: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return most
