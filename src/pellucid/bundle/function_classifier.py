"""Any Python function as a classifier: an API, a model of another library, a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .._version import __version__
from ..classifier import Evidence, InputGradients, Score, Target, probabilities_from_logits
from ..errors import InputError
from ..explanation.maps import LEAST_PROBABILITY
from ..preprocessing import FloatArray, Preprocessing, Uint8Array
from .bundle import Bundle
from .manifest import Manifest
from .manifest_classifier import ManifestClassifier

Function = Callable[[Uint8Array], Any]
FunctionGives = Literal["probabilities", "independent", "logits"]
SUM_TOLERANCE = 1e-3


class FunctionClassifier(ManifestClassifier):
    """Asks a function for probabilities; its logits are their logarithms, kept 1e-6 away from 0 and 1."""

    def __init__(self, manifest: Manifest, function: Function, gives: FunctionGives = "probabilities") -> None:
        super().__init__(manifest)
        self._function, self._gives = function, gives

    def logits(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to log-odds (N, 1) for two classes, logarithms (N, K) for more."""
        self.check(batch)
        logarithms = np.log(np.clip(self._asked(batch), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
        if self.task == "binary":
            logarithms = logarithms[:, 1:] - logarithms[:, :1]
        return logarithms.astype(np.float32)

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, None]:
        """Logits; a function shows no features."""
        return self.logits(batch), None

    def at(self, layer: str) -> FunctionClassifier:
        """As `evidence`."""
        self.manifest.find_layer(layer)
        return self

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """A function gives no evidence: InputError, naming the methods that need none."""
        raise self._black_box()

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        """As `evidence`."""
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
        return InputError(f"A function shows nothing of {layer.name}.")

    def _asked(self, batch: FloatArray) -> FloatArray:
        """Probabilities (N, K) from the function, checked."""
        wanted, classes = len(batch), len(self.classes)
        if not wanted:
            return np.zeros((0, classes), np.float32)
        answer = np.asarray(self._function(self.preprocessing.to_pixels(batch)), np.float64)
        alone = answer.reshape(-1) if answer.shape in {(wanted,), (wanted, 1)} else None
        if classes == 2 and alone is not None:
            if self._gives == "logits":
                return probabilities_from_logits(alone[:, None].astype(np.float32))
            answer = np.stack([1 - alone, alone], axis=1)
        if answer.shape != (wanted, classes):
            single = f" or ({wanted},)" if classes == 2 else ""
            raise InputError(
                f"The function gave an array of shape {answer.shape} for {wanted} images and {classes} classes; it "
                f"must give probabilities of shape ({wanted}, {classes}){single}."
            )
        if self._gives == "logits":
            if not np.isfinite(answer).all():
                raise InputError("The function gave logits that are no finite numbers.")
            return probabilities_from_logits(answer.astype(np.float32))
        if self._gives == "independent" and alone is None:
            answer = _to_sum_1(answer)
        return _checked(answer)


def _to_sum_1(answer: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities of classes that do not exclude each other, as shares of their sum."""
    if not ((answer >= -SUM_TOLERANCE) & (answer <= 1 + SUM_TOLERANCE)).all():
        raise InputError(
            f"The function gave values from {answer.min():.3g} to {answer.max():.3g}; independent probabilities lie "
            "within 0..1."
        )
    kept = np.clip(answer, LEAST_PROBABILITY, 1)
    shares: npt.NDArray[np.float64] = kept / kept.sum(axis=1, keepdims=True)
    return shares


def _checked(answer: npt.NDArray[np.float64]) -> FloatArray:
    """Rows that are probabilities, within 0..1; InputError for any others, saying what to do."""
    off = float(np.abs(answer.sum(axis=1) - 1).max())
    within = bool(((answer >= -SUM_TOLERANCE) & (answer <= 1 + SUM_TOLERANCE)).all())
    if within and not off <= SUM_TOLERANCE and np.isfinite(off):
        raise InputError(
            f"The function gave rows within 0..1 that are no probabilities: a sum is {off:.3g} away from 1. Say "
            "`gives='independent'` if each value comes out of a sigmoid, or `gives='logits'` if a softmax is still to "
            "come."
        )
    if not (off <= SUM_TOLERANCE and within):
        raise InputError(
            f"The function gave rows that are no probabilities: a sum is {off:.3g} away from 1, the least value is "
            f"{answer.min():.3g}. Let it end in a softmax, divide each row by its sum, or say `gives='logits'`."
        )
    kept: FloatArray = np.clip(answer, 0, 1).astype(np.float32)
    return kept


def from_function(
    function: Function,
    classes: Sequence[str],
    *,
    size: int | tuple[int, int] | None = None,
    preprocessing: Preprocessing | None = None,
    gives: FunctionGives = "probabilities",
    name: str = "function",
) -> Bundle:
    """A classifier from any function of images to probabilities: it predicts, explains by black-box methods, evaluates.

    `function` takes images (N, height, width, 3) uint8 RGB and gives probabilities (N, K) in the order of `classes`,
    rows summing to 1; for two classes (negative, positive) also (N,), the probability of the second. With `gives`
    "independent" the values are probabilities of classes that do not exclude each other, which are scaled to a sum of
    1; with "logits" a softmax (for (N,) a sigmoid) is taken. Images are brought to `size` (height, width), or as
    `preprocessing` says. Raises InputError when neither or both are given, or for classes that are fewer than two or
    not different; and later, when the function gives anything else.
    """
    if (size is None) == (preprocessing is None):
        raise InputError("Give either the size of images that the function takes, or a preprocessing.")
    if gives not in get_args(FunctionGives):
        raise InputError(f"`gives={gives}`: choose probabilities, independent or logits.")
    if preprocessing is None:
        height, width = (size, size) if isinstance(size, int) else size or (0, 0)
        preprocessing = Preprocessing(height=height, width=width)
    names = tuple(str(c) for c in classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"Two or more different classes are needed, not {list(names)}.")
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
    return Bundle(None, manifest, FunctionClassifier(manifest, function, gives))
