"""What a bundle says of itself: `manifest.json`, schema version 1.

A bundle is a folder of `manifest.json`, `model.onnx` and `weights.safetensors`. The graph takes `image`
(N, 3, height, width), `target` (N, T, L) and `contrast` (scalar) and gives `logits` (N, L), `activations` (N, C, h, w)
and `gradients` (N, T, C, h, w): the derivative of `sum_c target_c * (z_c - contrast * logsumexp_{j != c} z_j)` with
respect to the activations. A `target` row of zeros stands for the image's own predicted class.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..classifier import Task
from ..evaluation.calibration import Calibration
from ..evaluation.operating_point import OperatingPoint
from ..evaluation.outside import Reference
from ..preprocessing import GridGeometry, Preprocessing

SCHEMA_VERSION = 1
MANIFEST, MODEL, WEIGHTS = "manifest.json", "model.onnx", "weights.safetensors"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Layer(_Document):
    """The explained layer and where its cells lie on the model's input (see GridGeometry)."""

    name: str
    channels: int
    height: int
    width: int
    stride: tuple[float, float]
    offset: tuple[float, float]

    @property
    def geometry(self) -> GridGeometry:
        return GridGeometry(self.stride, self.offset)


class Parity(_Document):
    """How far the exported graph lies from the torch model on real images.

    `probability` and `heat_map` are the largest absolute differences; the heat map's is a share of each map's own
    largest value. `images` counts the images compared, `source` says where they came from.
    """

    images: int
    source: str
    probability: float
    heat_map: float
    tolerance: float
    versions: dict[str, str] = Field(default_factory=dict)


class Manifest(_Document):
    """Everything needed to use a bundle without the program that trained it."""

    schema_version: int = SCHEMA_VERSION
    pellucid_version: str
    name: str
    task: Task
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    layer: Layer
    logits: int
    threshold: float = 0.5
    medical: bool = False
    architecture: dict[str, Any]
    initial_weights: dict[str, str] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    parity: Parity | None = None
    calibration: Calibration | None = None
    operating_point: OperatingPoint | None = None
    reference: Reference | None = None
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def positive(self) -> str | None:
        """The positive class of a two-class model or a regression; None for more than two classes."""
        return self.classes[1] if len(self.classes) == 2 else None
