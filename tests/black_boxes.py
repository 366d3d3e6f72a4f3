"""Classifiers made of plain functions, for the methods that need nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.classifier import Task, probabilities_from_logits
from pellucid.explanation.masking import Subject
from pellucid.explanation.replacement import replaced
from pellucid.preprocessing import FloatArray, Preprocessing

CLASSES = ("ant", "bee", "cat")


@dataclass
class ProbabilitiesOnly:
    """A function of a batch (N, 3, h, w) to logits (N, L), of which only the probabilities are shown."""

    function: Callable[[FloatArray], FloatArray]
    preprocessing: Preprocessing
    count: int = 1
    batches: list[int] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES[: max(self.count, 2)]

    @property
    def task(self) -> Task:
        return "binary" if self.count == 1 else "multiclass"

    def probabilities(self, batch: FloatArray) -> FloatArray:
        self.batches.append(len(batch))
        return probabilities_from_logits(np.asarray(self.function(batch), np.float32))


class BlackBox(ProbabilitiesOnly):
    """The same, logits included."""

    def logits(self, batch: FloatArray) -> FloatArray:
        self.batches.append(len(batch))
        return np.asarray(self.function(batch), np.float32)


def preprocessing_of(height: int, width: int) -> Preprocessing:
    return Preprocessing(height=height, width=width, mean=(0.4, 0.5, 0.6), deviation=(0.2, 0.3, 0.25))


def scene(height: int, width: int, images: int = 1, seed: int = 0) -> FloatArray:
    """Smooth coloured pictures with some texture, as tensors of `preprocessing_of`."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    waves = random.uniform(2, 9, (images, 3, 2))
    phases = waves[..., 0, None, None] * y + waves[..., 1, None, None] * x
    pixels = np.clip(127 + 90 * np.sin(phases) + random.normal(0, 12, phases.shape), 0, 255).astype(np.uint8)
    return preprocessing_of(height, width).normalise(np.moveaxis(pixels, 1, -1))


def linear(size: tuple[int, int], logits: int = 1, seed: int = 0) -> Callable[[FloatArray], FloatArray]:
    """Logits that are sums over pixels: additive over any superpixels. The coefficients are `.coefficients`."""
    coefficients = np.random.default_rng(seed).normal(size=(logits, 3, *size)) / np.sqrt(3 * size[0] * size[1])

    def function(batch: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("lchw,nchw->nl", coefficients, batch.astype(np.float64)), np.float32)

    function.coefficients = coefficients  # type: ignore[attr-defined]
    return function


def bent(size: tuple[int, int], logits: int = 1, seed: int = 0) -> Callable[[FloatArray], FloatArray]:
    """Logits in which parts of the image act together: products and a saturation over linear features."""
    features = linear(size, 4 * logits, seed)

    def function(batch: FloatArray) -> FloatArray:
        f = features(batch).reshape(len(batch), logits, 4)
        return np.asarray(np.tanh(f[..., 0]) * f[..., 1] + np.maximum(f[..., 2], 0) + f[..., 3], np.float32)

    return function


def subject_of(classifier: Any, image: FloatArray, *targets: str, batch_size: int = 32, kind: str = "blur") -> Subject:
    hidden = replaced(image[None], classifier.preprocessing, kind)[0]
    return Subject(classifier, image, hidden, targets or ("bee",), None, batch_size)
