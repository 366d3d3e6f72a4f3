"""A bundle's graph behind the protocols of classifier.py, on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..classifier import PREDICTED, Evidence, Score, Target, Task, selected_targets, space_means
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

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Logits (N, L) and, from the same pass, the mean of each channel of the explained layer (N, C).

        None instead of the features for a graph that gives no evidence.
        """
        if self.manifest.layer is None:
            return self.logits(batch), None
        unset = np.zeros((len(batch), 1, self.manifest.logits), np.float32)
        logits, activations = self._run(["logits", "activations"], batch, unset, 1.0)
        return logits, space_means(activations)

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Calibrated class probabilities (N, K), rows summing to 1."""
        return self.manifest.probabilities(self.logits(batch))

    def probabilities_of(self, logits: FloatArray) -> FloatArray:
        """Calibrated class probabilities (N, K) of logits (N, L)."""
        return self.manifest.probabilities(logits)

    def predicted(self, logits: FloatArray) -> npt.NDArray[np.int64]:
        """The class index (N,) that logits (N, L) are answered with, at the operating point."""
        return self.manifest.predicted(logits)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Logits, activations and gradients of a batch for the targets wanted; see EvidenceClassifier."""
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        logits, activations, gradients = self._run(None, batch, selector, contrast)
        if self.task == "binary":
            gradients = about_answers(self.manifest, logits, gradients, names)
        layer = self.manifest.explained_layer
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


def about_answers(
    manifest: Manifest, logits: FloatArray, gradients: FloatArray, targets: tuple[str, ...]
) -> FloatArray:
    """Gradients (N, T, C, h, w) about the class answered, where the target is the predicted class of a binary model.

    A graph takes the sign of the logit for that class, and the operating point may lie elsewhere. With one logit the
    evidence for a class is minus that for the other, so that turning it round is exact.
    """
    columns = [t for t, name in enumerate(targets) if name == PREDICTED]
    turned = np.flatnonzero(manifest.predicted(logits) != (logits[:, 0] >= 0)) if columns else []
    if len(turned):
        gradients = gradients.copy()
        gradients[np.ix_(turned, columns)] *= -1
    return gradients
