"""Maps that combine several layers of a network: RefineCAM multiplies them, Winsor-CAM adds them with weights.

Late layers know what decides and lie on a coarse grid; early ones lie on a fine grid and know less. All layers come
from one pass (`LayeredClassifier`). Their maps are made comparable layer by layer, each stretched to 0..1, and laid on
the model's input, so that values of such a map are shares and not parts of a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..classifier import Classifier, Evidence, LayeredClassifier, Score, Target
from ..errors import InputError, UnknownNameError
from ..preprocessing import FloatArray, Preprocessing
from .cam import MapOf, grad_cam, grad_cam_plus_plus, layercam, space_mean
from .maps import INPUT_PIXELS, Maps, laid_on_input, probabilities_beside

BASES: dict[str, MapOf] = {"grad-cam++": grad_cam_plus_plus, "layercam": layercam, "grad-cam": grad_cam}
LEAST_WEIGHT = 0.1
"""Weight of the least of the layers that count, where the greatest has 1."""


@dataclass(frozen=True, slots=True)
class RefineCamSettings:
    """`base` is the method whose maps are multiplied: grad-cam++, as in the paper, layercam or grad-cam."""

    base: str = "grad-cam++"

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise UnknownNameError("base of refine-cam", self.base, BASES, f"Choose from {', '.join(BASES)}.")


@dataclass(frozen=True, slots=True)
class WinsorCamSettings:
    """`percentile`, 0 to 100: weights of layers above it are lowered to it. 0 weighs all layers that count alike."""

    percentile: float = 90.0

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise InputError(f"percentile must lie between 0 and 100, not {self.percentile!r}.")


def refine_cam(
    classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: RefineCamSettings
) -> Maps:
    """RefineCAM for the catalogue; see `refined`."""
    layers = _layers_of(classifier, "refine-cam", batch, target, score)
    return _on_input(classifier, batch, layers, refined(layers, classifier.preprocessing, BASES[settings.base]))


def winsor_cam(
    classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: WinsorCamSettings
) -> Maps:
    """Winsor-CAM for the catalogue; see `winsorised`."""
    layers = _layers_of(classifier, "winsor-cam", batch, target, score)
    return _on_input(classifier, batch, layers, winsorised(layers, classifier.preprocessing, settings.percentile))


def refined(layers: Sequence[Evidence], preprocessing: Preprocessing, base: MapOf = grad_cam_plus_plus) -> FloatArray:
    """RefineCAM (N, T, height, width), 0 to 1: the product of the layers' maps, laid on the input and stretched.

    So a fine layer's map counts only where the coarse ones see evidence too. Domeniconi et al. 2026, arXiv:2605.14641.
    The last stretching, of the product, only changes its scale, and is left to drawing.
    """
    product: FloatArray = np.ones((), np.float32)
    for evidence in layers:
        maps = np.maximum(base(evidence.activations, evidence.gradients), 0)
        product = product * stretched(laid_on_input(maps, evidence.geometry, preprocessing))
    return product


def winsorised(layers: Sequence[Evidence], preprocessing: Preprocessing, percentile: float = 90.0) -> FloatArray:
    """Winsor-CAM (N, T, height, width), at least 0: the weighted sum of the layers' Grad-CAM maps, stretched and laid.

    A layer's weight is the mean over its channels of their Grad-CAM weights. Negative ones count as 0; the others are
    lowered to their percentile (winsorised) and brought to 0.1..1, in order. Wall et al. 2025, arXiv:2507.10846, for
    the layers that the bundle gives together instead of every convolution.
    """
    means = [space_mean(evidence.gradients).mean(axis=2) for evidence in layers]
    weights = layer_weights(np.stack(means, axis=-1), percentile)
    total: FloatArray = np.zeros((), np.float32)
    for i, evidence in enumerate(layers):
        maps = np.maximum(grad_cam(evidence.activations, evidence.gradients), 0)
        placed = laid_on_input(stretched(maps), evidence.geometry, preprocessing)
        total = total + weights[..., i, None, None] * placed
    return total


def stretched(maps: FloatArray) -> FloatArray:
    """Maps (..., h, w) of at least 0, each from its least to its greatest value brought to 0..1.

    A map that is the same everywhere cannot be: it becomes 1 where it is evidence, else 0.
    """
    low, high = maps.min(axis=(-2, -1), keepdims=True), maps.max(axis=(-2, -1), keepdims=True)
    width = high - low
    even = (high > 0).astype(np.float32) * np.ones_like(maps)
    shares: FloatArray = np.divide(maps - low, width, out=even, where=np.broadcast_to(width > 0, maps.shape))
    return shares


def layer_weights(importance: FloatArray, percentile: float) -> FloatArray:
    """The weights of K layers (..., K), 0 or 0.1 to 1, from how important each is (..., K); K of at least 1."""
    counts = importance > 0
    known = np.where(counts, importance.astype(np.float64), np.nan)
    weights = np.zeros(importance.shape)
    for place in np.ndindex(importance.shape[:-1]):
        values = known[place][counts[place]]
        if not len(values):
            continue
        lowered = np.minimum(values, np.quantile(values, percentile / 100)) if percentile > 0 else np.ones(len(values))
        width = np.ptp(lowered)
        shares = (lowered - lowered.min()) / width if width > 0 else np.ones(len(values))
        weights[place][counts[place]] = LEAST_WEIGHT + (1 - LEAST_WEIGHT) * shares
    return weights.astype(np.float32)


def _layers_of(
    classifier: Classifier, method: str, batch: FloatArray, target: Target, score: Score | None
) -> tuple[Evidence, ...]:
    """The evidence of several layers; InputError, naming what works instead, from a classifier that gives none."""
    if not isinstance(classifier, LayeredClassifier):
        raise InputError(
            f"{method} needs activations and gradients of several layers, which this classifier does not give: "
            "take lime or rise."
        )
    return classifier.layered_evidence(batch, target, score)


def _on_input(classifier: Classifier, batch: FloatArray, layers: Sequence[Evidence], values: FloatArray) -> Maps:
    """Maps on the pixels of the model's input, and the answer beside them; the explained layer is the last."""
    last = layers[-1]
    return Maps(
        values=values,
        geometry=INPUT_PIXELS,
        probabilities=probabilities_beside(classifier, batch, last.logits),
        targets=last.targets,
        logits=last.logits,
        layer=last.layer,
        features=last.features,
        settings=tuple({"layers": [evidence.layer for evidence in layers]} for _ in batch),
    )
