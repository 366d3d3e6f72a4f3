"""A bundle's graph behind the protocols of classifier.py, on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..classifier import Evidence, Score, Target, Task, probabilities_from_logits, selected_targets
from ..errors import InputError, ResourceError
from ..preprocessing import FloatArray, Preprocessing
from .manifest import Manifest

if TYPE_CHECKING:
    import onnxruntime


class OnnxClassifier:
    """Answers and explains in one pass of one graph. Safe to call from several threads."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self.manifest = manifest
        self._session = session

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    @property
    def task(self) -> Task:
        return self.manifest.task

    @property
    def preprocessing(self) -> Preprocessing:
        return self.manifest.preprocessing

    def logits(self, batch: FloatArray) -> FloatArray:
        """Logits (N, L) of a batch of tensors (N, 3, height, width)."""
        unset = np.zeros((len(batch), 1, self.manifest.logits), np.float32)
        return self._run(["logits"], batch, unset, 1.0)[0]

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Class probabilities (N, K), rows summing to 1."""
        return probabilities_from_logits(self.logits(batch))

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Logits, activations and gradients of a batch for the targets wanted; see EvidenceClassifier."""
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        logits, activations, gradients = self._run(None, batch, selector, contrast)
        layer = self.manifest.layer
        return Evidence(logits, activations, gradients, layer.geometry, layer.name, names)

    def _run(
        self, outputs: list[str] | None, batch: FloatArray, target: FloatArray, contrast: float
    ) -> list[FloatArray]:
        wanted = (3, self.preprocessing.height, self.preprocessing.width)
        if batch.ndim != 4 or batch.shape[1:] != wanted or batch.dtype != np.float32:
            raise InputError(
                f"A batch must be float32 of shape (N, {', '.join(map(str, wanted))}), not {batch.dtype} {batch.shape}."
            )
        feed = {"image": np.ascontiguousarray(batch), "target": target, "contrast": np.float32(contrast)}
        try:
            values: list[FloatArray] = self._session.run(outputs, {k: np.asarray(v) for k, v in feed.items()})
        except Exception as error:  # onnxruntime's exceptions share no public base
            if "alloc" in str(error).lower():
                message = f"Memory ran out on a batch of {len(batch)} images: lower --batch-size."
                raise ResourceError(message) from error
            raise
        return values
