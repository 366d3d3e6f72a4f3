"""`manifest.json`, the description of a bundle, schema version 1.

A bundle is a folder of `manifest.json`, `model.onnx` and `weights.safetensors`. The graph takes `image`
(N, 3, height, width), `target` (N, T, L) and `contrast` (scalar). It returns `logits` (N, L), `activations`
(N, C, h, w) and `gradients` (N, T, C, h, w): the derivative of
`sum_c target_c * (z_c - contrast * logsumexp_{j != c} z_j)` with respect to the activations. A `target` row of zeros
stands for the predicted class of the image.

The graph reads from `weights.safetensors` the weights that are there, and names its sha256, so that the checksum of the
graph tells one model from another. Further graphs may lie beside it and do the same: one with the same inputs and
outputs for each further explained layer; a tail of a layer, from `activations` to `logits`; and one for the pixels,
which returns `logits` and `gradients` (N, T, 3, height, width) with respect to the image.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..classifier import Decision, Task, gives_score, probabilities_from_logits, reaches
from ..documents import Document, FiniteDocument
from ..errors import InputError, UnknownNameError
from ..evaluation.answering import AnsweringRules, decide
from ..evaluation.calibration import NEW_PLACE, VALIDATION, Calibration
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.operating_point import OperatingPoint
from ..evaluation.outside import Reference
from ..preprocessing import FloatArray, GridGeometry, Preprocessing

SCHEMA_VERSION = 1
MANIFEST, MODEL, WEIGHTS = "manifest.json", "model.onnx", "weights.safetensors"


FileName = Annotated[str, Field(min_length=1, pattern=r"^[^/\\\x00]+$")]
"""The name of a file in the bundle's folder, never a path out of it."""

Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ADAPTED = "adapted"
"""The key of the provenance that says how a bundle was adapted to a new place."""
HIGHEST_THRESHOLD = float(np.nextafter(np.float32(1), np.float32(2)))
"""The threshold of a binary model that answers every image as negative: just above every probability."""


class Layer(FiniteDocument):
    """An explained layer and where its cells lie on the model's input (see GridGeometry).

    `also` lists other names of the layer, `graph` is the file that computes its evidence, and `tail` the file that
    continues from its activations.
    """

    name: str
    channels: int = Field(ge=0)
    height: int = Field(ge=0)
    width: int = Field(ge=0)
    stride: tuple[float, float]
    offset: tuple[float, float]
    also: tuple[str, ...] = ()
    graph: FileName = MODEL
    tail: FileName | None = None

    @property
    def geometry(self) -> GridGeometry:
        return GridGeometry(self.stride, self.offset)


class Layered(FiniteDocument):
    """A graph that gives evidence at several layers in one pass; `layers` from front to back, the explained one last.

    Its outputs are `logits`, then `activations_1` (N, C, h, w) and `gradients_1` (N, T, C, h, w) of the first layer,
    and so on.
    """

    graph: FileName
    layers: tuple[Layer, ...] = Field(min_length=2)


class Parity(Document):
    """How far the exported graph differs from the model that it was exported from, on real images.

    `probability` and `heat_map` are the largest absolute differences; the latter as a share of each map's largest
    value, and None for a graph without evidence. `images` counts the images compared, `source` names their origin, and
    `runtime` what ran the original model. `input_gradient` is the largest norm of a difference between gradients with
    respect to the pixels, as a share of the gradient's norm.
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


class AnomalyFacts(Document):
    """How a bundle tells what is anomalous: see `recipe_anomaly.AnomalySection`.

    `layers` of the backbone give the features, `images` normal images were learnt from, `memory` patches are kept (0
    without a memory), and the local score is the mean of the `top` greatest distances. `usual` is the score of a usual
    normal image, and the map shows what is above the usual; None: the map shows distances as they are.
    """

    method: str
    layers: tuple[str, ...]
    images: int
    memory: int
    top: int
    usual: float | None = None


class Manifest(FiniteDocument):
    """Everything needed to use a bundle without the program that trained it.

    `threshold` decides between two classes, on the calibrated probability of the second or on the score of a regression
    or an anomaly detector;
    `operating_point` says how it was chosen, `calibration` turns logits into probabilities, and `reference` describes
    the training images, `abroad` what was lost on sources that were kept out, and `answering` which answers are given.
    Each of these is None where it was not fitted.

    `layer` is the explained layer, `layers` lists further ones that can be chosen by name, and `input_gradients` is the
    graph for the pixels; `layered` is one for several layers together. Unless `batchable`, an answer depends on the
    other images of a batch, so images are run one at a time. `missing` gives the reason for each graph that could not
    be exported (`input gradients`, `tail of NAME`, `several layers`). `scales` maps a method to quantiles (`q05` to
    `q95`) of the largest value of each validation image's map. `anomaly` is set for an anomaly detector: its graph's
    activations are the map of distances, one channel, and its gradients the weight of the target in every cell. Raises
    ValidationError where classes, logits, threshold and task do not fit each other.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    pellucid_version: str
    name: str
    task: Task
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: Preprocessing
    layer: Layer | None = None
    layers: tuple[Layer, ...] = ()
    input_gradients: FileName | None = None
    layered: Layered | None = None
    missing: dict[str, str] = Field(default_factory=dict)
    logits: int = Field(ge=1)
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
    abroad: AbroadRecord | None = None
    answering: AnsweringRules | None = None
    scales: dict[str, dict[str, float]] = Field(default_factory=dict)
    anomaly: AnomalyFacts | None = None
    files: dict[str, Checksum] = Field(default_factory=dict)

    @property
    def usual_scale(self) -> Literal["image", "model"]:
        """The scale that maps are drawn on unless another is asked for: whose top is of each image, or of the model.

        It is the model's for a detector whose map is 0 where all is usual: normal images then look normal.
        """
        own = self.anomaly is not None and self.anomaly.usual is not None and bool(self.scales)
        return "model" if own else "image"

    @model_validator(mode="after")
    def _agrees(self) -> Manifest:
        """Classes, logits and threshold fit the task. Raises ValueError, with the rule that is broken."""
        count = len(self.classes)
        if len(set(self.classes)) < count:
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"the class {twice!r} is there twice")
        if self.task != "multiclass" and count != 2:
            raise ValueError(f"a {self.task} model has two classes, not {count}")
        logits = count if self.task == "multiclass" else 1
        if self.logits != logits:
            raise ValueError(f"a {self.task} model of {count} classes has {logits} logits, not {self.logits}")
        if not gives_score(self.task) and not 0 <= self.threshold <= HIGHEST_THRESHOLD:
            raise ValueError(f"the threshold is a probability, from 0 to 1, not {self.threshold:g}")
        return self

    @property
    def graphs(self) -> tuple[str, ...]:
        """The files of all graphs, the main one first, each once."""
        layers = (*((self.layer,) if self.layer else ()), *self.layers)
        others = [name for layer in layers for name in (layer.graph, layer.tail)]
        several = None if self.layered is None else self.layered.graph
        return tuple(dict.fromkeys(name for name in (MODEL, *others, self.input_gradients, several) if name))

    @property
    def explained_layer(self) -> Layer:
        """The explained layer; for a black box InputError, which names the methods that work without it."""
        if self.layer is None:
            from ..explanation.catalogue import METHODS

            others = ", ".join(row.name for row in METHODS if row.lacking(self) is None)
            raise InputError(
                f"{self.name} is a black box: it gives no activations and gradients. Choose a method that does without "
                f"them: {others}."
            )
        return self.layer

    def find_layer(self, name: str) -> Layer:
        """The layer with this name, full or one of `also`; UnknownNameError, with the known names, for any other."""
        layers = (self.explained_layer, *self.layers)
        for layer in layers:
            if name in (layer.name, layer.name.partition(".")[2], *layer.also):
                return layer
        known = [layer.name for layer in layers]
        remedy = f"This bundle has {', '.join(known)}; further layers are chosen when training, by model.layers."
        raise UnknownNameError("explained layer", name, known, remedy)

    @property
    def fitted_to(self) -> str:
        """What images the rules of answering were fitted to, in words."""
        return NEW_PLACE if ADAPTED in self.provenance else VALIDATION

    @property
    def positive(self) -> str | None:
        """The positive class of a two-class model or a regression; None for more than two classes."""
        return self.classes[1] if len(self.classes) == 2 else None

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Calibrated class probabilities (N, K) of the graph's logits (N, L), rows summing to 1.

        InputError for an anomaly detector, which knows no bad images from which a probability could be learnt.
        """
        if self.task == "anomaly":
            raise InputError(
                f"{self.name} is an anomaly detector and gives no probabilities, only a distance from normal images "
                f"(threshold {self.threshold:.3g}): use its score."
            )
        return probabilities_from_logits(logits if self.calibration is None else self.calibration.logits(logits))

    def predicted(self, logits: FloatArray, probabilities: FloatArray | None = None) -> npt.NDArray[np.int64]:
        """The predicted class index (N,) for logits (N, L), at the operating point.

        `probabilities` (N, K) of the same logits save computing them again.
        """
        if self.task == "multiclass":
            most: npt.NDArray[np.int64] = logits.argmax(axis=1)
            return most
        if gives_score(self.task):
            scores = logits[:, 0]
        else:
            scores = (self.probabilities(logits) if probabilities is None else probabilities)[:, 1]
        return reaches(scores, self.threshold).astype(np.int64)

    def decision(self, scores: FloatArray, predicted: int, outside: float | None = None) -> Decision:
        """What becomes of an image with probabilities (K,), or a regression's output (1,), and its class index."""
        return decide(
            self.answering,
            task=self.task,
            classes=self.classes,
            scores=scores,
            predicted=predicted,
            threshold=self.threshold,
            outside=outside,
        )
