"""What an explanation is: raw values on the original image, with everything needed to read and repeat them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..preprocessing import FloatArray


@dataclass(frozen=True, slots=True)
class Attribution:
    """One explanation of one image for one target.

    `values` (H, W) float32 lies on the original image, pixel for pixel, and is never normalised: two attributions of
    one method and model can be compared by their numbers. `unit` says what a value is; where `signed`, positive values
    speak for the target and negative ones against it, otherwise values are at least 0. `grid` is the map before it was
    laid on the image (for CAM methods (h, w), in the same unit).
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
        """The evidence for the target alone: negative values set to 0."""
        return np.maximum(self.values, 0)

    @property
    def says_nothing(self) -> bool:
        """True when no value speaks for the target."""
        return not bool((self.values > 0).any())
