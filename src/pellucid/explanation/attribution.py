"""An explanation: raw values on the original image, with everything needed to read and reproduce them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..preprocessing import FloatArray


@dataclass(frozen=True, slots=True)
class Attribution:
    """One explanation of one image for one target.

    `values` (H, W) float32 has one value per pixel of the original image and is never normalised: values of two
    attributions of the same method and model are comparable. `unit` is the unit of a value. If `signed`, positive
    values are evidence for the target and negative values evidence against it; otherwise values are at least 0. `grid`
    is the map before resizing to the image (for CAM methods (h, w), in the same unit). `seconds` is the computing time.
    """

    values: FloatArray
    method: str
    target: str
    score: str
    unit: str
    signed: bool
    layer: str | None = None
    grid: FloatArray | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def positive(self) -> FloatArray:
        """The evidence for the target: (H, W), negative values set to 0."""
        return np.maximum(self.values, 0)

    @property
    def says_nothing(self) -> bool:
        """Whether no value is evidence for the target."""
        return not bool((self.values > 0).any())
