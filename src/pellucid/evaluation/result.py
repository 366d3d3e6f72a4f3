"""The outcome of an evaluation as plain values: every metric with its interval, and what it was computed from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..classifier import Task, gives_score, reaches
from ..preprocessing import FloatArray
from .answered import JudgedAnswers
from .calibration import Calibration
from .defects import DefectFigures
from .operating_point import OperatingPoint


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % interval. NaN bounds mean that no interval could be computed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Restated:
    """Predictive values at a `prevalence` of the positive class between 0 and 1; `observed` is that of the images."""

    prevalence: float
    observed: float
    ppv: Metric
    npv: Metric


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What a model did on one set of N images.

    `probabilities` (N, K) and `labels` (N,) index `classes`; for a regression `outputs` (N,) holds the scores and
    `probabilities` is (N, 0). `confusion` (K, K) counts true class (row) against predicted class (column) at
    `threshold` (on the positive-class probability, or on the output of a regression; None for more than two classes).
    `metrics` is ordered, most important first. `interval` says in words how the bounds were made. `per_class` is
    {class: {metric: Metric}}. `leaks` are sentences on images that the model was trained on: figures with one mean
    nothing.

    Of a model with a `calibration`, `probabilities` are the calibrated ones, `uncalibrated` (N, K) those of the model
    alone, and `before` has their loss, Brier score and calibration error. `outside` (N,) says how far each image
    lies from those trained on, above 1 too far, and `flagged` which share does. `operating_point` is how the threshold
    was chosen, `restated` has the predictive values at another prevalence, and `answered` what the rules of answering
    give. `defects` are the figures by kind of defect and of pixels, of an anomaly detector. Each is None or empty
    where unknown.
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
    calibration: Calibration | None = None
    uncalibrated: FloatArray | None = None
    before: dict[str, Metric] = field(default_factory=dict)
    outside: FloatArray | None = None
    flagged: Metric | None = None
    operating_point: OperatingPoint | None = None
    restated: Restated | None = None
    answered: JudgedAnswers | None = None
    defects: DefectFigures | None = None

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Predicted class index of each image, at the threshold. Shape (N,)."""
        if gives_score(self.task):
            if self.outputs is None or self.threshold is None:
                raise ValueError("a regression result needs outputs and a threshold")
            return reaches(self.outputs, self.threshold).astype(np.int64)
        if self.threshold is not None:
            return reaches(self.probabilities[:, 1], self.threshold).astype(np.int64)
        most: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return most
