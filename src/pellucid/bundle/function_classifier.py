"""Any Python function as a classifier: an API, a model of another library, a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._version import __version__
from ..classifier import Evidence, InputGradients, Score, Target
from ..errors import InputError
from ..explanation.maps import LEAST_PROBABILITY
from ..preprocessing import FloatArray, Preprocessing, Uint8Array
from .bundle import Bundle
from .manifest import Manifest
from .manifest_classifier import ManifestClassifier

Function = Callable[[Uint8Array], Any]
SUM_TOLERANCE = 1e-3


class FunctionClassifier(ManifestClassifier):
    """Calls a function for probabilities; the logits are logarithms of probabilities clipped to 1e-6 .. 1 - 1e-6."""

    def __init__(self, manifest: Manifest, function: Function) -> None:
        super().__init__(manifest)
        self._function = function

    def logits(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to log-odds (N, 1) for two classes, logarithms (N, K) for more."""
        self.check(batch)
        logarithms = np.log(np.clip(self._asked(batch), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
        if self.task == "binary":
            logarithms = logarithms[:, 1:] - logarithms[:, :1]
        return logarithms.astype(np.float32)

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, None]:
        """Logits; a function has no features."""
        return self.logits(batch), None

    def at(self, layer: str) -> FunctionClassifier:
        """As `evidence`."""
        self.manifest.find_layer(layer)
        return self

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Always raises InputError, which names the methods that work without evidence."""
        raise self._black_box()

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        """As `evidence`."""
        raise self._black_box()

    def tail(self, activations: FloatArray) -> FloatArray:
        """As `evidence`."""
        raise self._black_box()

    def _black_box(self) -> InputError:
        try:
            layer = self.manifest.explained_layer
        except InputError as error:
            return error
        return InputError(f"A function gives no evidence of the layer {layer.name}.")

    def _asked(self, batch: FloatArray) -> FloatArray:
        """Probabilities (N, K) from the function, after checks."""
        wanted, classes = len(batch), len(self.classes)
        if not wanted:
            return np.zeros((0, classes), np.float32)
        answer = np.asarray(self._function(self.preprocessing.to_pixels(batch)), np.float64)
        if classes == 2 and answer.shape in {(wanted,), (wanted, 1)}:
            answer = np.stack([1 - answer.reshape(-1), answer.reshape(-1)], axis=1)
        if answer.shape != (wanted, classes):
            single = f" or ({wanted},)" if classes == 2 else ""
            raise InputError(
                f"The function returned an array of shape {answer.shape} for {wanted} images and {classes} classes; it "
                f"must return probabilities of shape ({wanted}, {classes}){single}."
            )
        off = float(np.abs(answer.sum(axis=1) - 1).max())
        if not (off <= SUM_TOLERANCE and (answer >= -SUM_TOLERANCE).all()):
            raise InputError(
                f"The function did not return probabilities: a row's sum differs from 1 by {off:.3g}, and the smallest "
                f"value is {answer.min():.3g}. Apply a softmax, or divide each row by its sum."
            )
        kept: FloatArray = np.clip(answer, 0, 1).astype(np.float32)
        return kept


def from_function(
    function: Function,
    classes: Sequence[str],
    *,
    size: int | tuple[int, int] | None = None,
    preprocessing: Preprocessing | None = None,
    name: str = "function",
) -> Bundle:
    """A classifier from any function of images to probabilities; black-box methods can explain it.

    `function` takes images (N, height, width, 3) uint8 RGB and returns probabilities (N, K) in the order of `classes`,
    rows summing to 1; for two classes (negative, positive) also (N,), the probability of the second. Images are
    resized to `size` (height, width), or preprocessed by `preprocessing`. Raises InputError unless exactly one of the
    two is given, and for fewer than two classes or equal names; each call raises it when the function does not return
    probabilities.
    """
    if (size is None) == (preprocessing is None):
        raise InputError("Give either `size=`, the size of images that the function takes, or `preprocessing=`.")
    if preprocessing is None:
        height, width = (size, size) if isinstance(size, int) else size or (0, 0)
        preprocessing = Preprocessing(height=height, width=width)
    names = tuple(str(c) for c in classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"At least two different classes are needed, not {list(names)}.")
    binary = len(names) == 2
    manifest = Manifest(
        pellucid_version=__version__,
        name=name,
        task="binary" if binary else "multiclass",
        classes=names,
        preprocessing=preprocessing,
        logits=1 if binary else len(names),
        architecture={"function": getattr(function, "__qualname__", type(function).__name__)},
    )
    return Bundle(None, manifest, FunctionClassifier(manifest, function))
