"""The base of classifiers that are described by a manifest."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from ..classifier import Task
from ..errors import InputError
from ..preprocessing import FloatArray, Preprocessing
from .manifest import Manifest


class ManifestClassifier(ABC):
    """A classifier described by its manifest. Subclasses compute `logits`."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; for a binary model (negative, positive)."""
        return self.manifest.classes

    @property
    def task(self) -> Task:
        """binary, multiclass or regression."""
        return self.manifest.task

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that the model was trained with."""
        return self.manifest.preprocessing

    @abstractmethod
    def logits(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to logits (N, L)."""

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to calibrated class probabilities (N, K), rows summing to 1."""
        return self.manifest.probabilities(self.logits(batch))

    def probabilities_of(self, logits: FloatArray) -> FloatArray:
        """Logits (N, L) to calibrated class probabilities (N, K)."""
        return self.manifest.probabilities(logits)

    def predicted(self, logits: FloatArray) -> npt.NDArray[np.int64]:
        """The predicted class index (N,) for logits (N, L), at the operating point."""
        return self.manifest.predicted(logits)

    def check(self, batch: FloatArray) -> None:
        """Raise InputError for a batch that is not float32 of shape (N, 3, height, width)."""
        wanted = (3, self.preprocessing.height, self.preprocessing.width)
        if batch.ndim != 4 or batch.shape[1:] != wanted or batch.dtype != np.float32:
            raise InputError(
                f"A batch must be float32 of shape (N, {', '.join(map(str, wanted))}), not {batch.dtype} {batch.shape}."
            )
