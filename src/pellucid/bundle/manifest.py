"""What a bundle says of itself: `manifest.json`, schema version 1.

A bundle is a folder of `manifest.json`, `model.onnx` and `weights.safetensors`. The graph takes `image`
(N, 3, height, width), `target` (N, T, L) and `contrast` (scalar) and gives `logits` (N, L), `activations` (N, C, h, w)
and `gradients` (N, T, C, h, w): the derivative of `sum_c target_c * (z_c - contrast * logsumexp_{j != c} z_j)` with
respect to the activations. A `target` row of zeros stands for the image's own predicted class.

Further graphs may lie beside it, and take their weights from `weights.safetensors` where these are there: one of the
same inputs and outputs for each further explained layer; for a layer a tail, from `activations` to `logits`; and one
for the pixels, which gives `logits` and `gradients` (N, T, 3, height, width) with respect to the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..classifier import Task, probabilities_from_logits
from ..documents import Document
from ..errors import InputError, UnknownNameError
from ..evaluation.calibration import Calibration
from ..evaluation.operating_point import OperatingPoint
from ..evaluation.outside import Reference
from ..preprocessing import FloatArray, GridGeometry, Preprocessing

SCHEMA_VERSION = 1
MANIFEST, MODEL, WEIGHTS = "manifest.json", "model.onnx", "weights.safetensors"


class Layer(Document):
    """An explained layer and where its cells lie on the model's input (see GridGeometry).

    `also` are other names that it can be asked for by, `graph` is the file that gives its evidence, and `tail` the one
    that goes on from its activations.
    """

    name: str
    channels: int
    height: int
    width: int
    stride: tuple[float, float]
    offset: tuple[float, float]
    also: tuple[str, ...] = ()
    graph: str = MODEL
    tail: str | None = None

    @property
    def geometry(self) -> GridGeometry:
        return GridGeometry(self.stride, self.offset)


class Parity(Document):
    """How far the exported graph lies from the model that it was made from, on real images.

    `probability` and `heat_map` are the largest absolute differences; the heat map's is a share of each map's own
    largest value, and None where the graph gives no evidence. `images` counts the images compared, `source` says where
    they came from, `runtime` what ran the model that the graph is compared with. `input_gradient` is the largest norm
    of a difference of gradients with respect to the pixels, as a share of the gradient's own norm.
    """

    images: int
    source: str
    probability: float
    heat_map: float | None
    tolerance: float
    input_gradient: float | None = None
    runtime: str = "torch"
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def largest(self) -> float:
        """The larger of the two differences."""
        return max(self.probability, self.heat_map or 0.0)


class Manifest(Document):
    """Everything needed to use a bundle without the program that trained it.

    `threshold` decides between two classes, on the calibrated probability of the second or on a regression's output;
    `operating_point` says how it was chosen, `calibration` what turns logits into probabilities, and `reference` what
    is known of the training images. A bundle has none of the three where nothing was fitted.

    `layer` is the explained layer, `layers` are further ones that can be asked for by name, and `input_gradients` the
    graph for the pixels. Unless `batchable`, an answer depends on the other images of a batch, so images are run one
    at a time. `missing` says for a graph that could not be made (`input gradients`, `tail of NAME`) why.
    `scales` maps a method to quantiles (`q05` to `q95`) of the largest value of its maps over the validation images.
    """

    schema_version: int = SCHEMA_VERSION
    pellucid_version: str
    name: str
    task: Task
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    layer: Layer | None = None
    layers: tuple[Layer, ...] = ()
    input_gradients: str | None = None
    missing: dict[str, str] = Field(default_factory=dict)
    logits: int
    threshold: float = 0.5
    medical: bool = False
    batchable: bool = True
    architecture: dict[str, Any]
    initial_weights: dict[str, str] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    parity: Parity | None = None
    calibration: Calibration | None = None
    operating_point: OperatingPoint | None = None
    reference: Reference | None = None
    scales: dict[str, dict[str, float]] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def explained_layer(self) -> Layer:
        """The explained layer; InputError, naming what works instead, for a bundle whose graph gives no evidence."""
        if self.layer is None:
            from ..explanation.catalogue import METHODS

            others = ", ".join(row.name for row in METHODS if row.lacking(self) is None)
            raise InputError(
                f"{self.name} is a black box: it gives no activations and gradients. Choose a method that does without "
                f"them: {others}."
            )
        return self.layer

    def find_layer(self, name: str) -> Layer:
        """The layer of a name, full or as in `also`; UnknownNameError, with those there are, for any other."""
        layers = (self.explained_layer, *self.layers)
        for layer in layers:
            if name in (layer.name, layer.name.partition(".")[2], *layer.also):
                return layer
        known = [layer.name for layer in layers]
        remedy = f"This bundle has {', '.join(known)}; further layers are chosen when training, by model.layers."
        raise UnknownNameError("explained layer", name, known, remedy)

    @property
    def positive(self) -> str | None:
        """The positive class of a two-class model or a regression; None for more than two classes."""
        return self.classes[1] if len(self.classes) == 2 else None

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Calibrated class probabilities (N, K) of the graph's logits (N, L), rows summing to 1."""
        return probabilities_from_logits(logits if self.calibration is None else self.calibration.logits(logits))

    def predicted(self, logits: FloatArray, probabilities: FloatArray | None = None) -> npt.NDArray[np.int64]:
        """The class that each image is answered to be, (N,), from its logits (N, L): that of the threshold.

        `probabilities` (N, K) are those of the same logits, where they are known already.
        """
        if self.task == "multiclass":
            most: npt.NDArray[np.int64] = logits.argmax(axis=1)
            return most
        if self.task == "regression":
            scores = logits[:, 0]
        else:
            scores = (self.probabilities(logits) if probabilities is None else probabilities)[:, 1]
        return (scores >= self.threshold).astype(np.int64)
