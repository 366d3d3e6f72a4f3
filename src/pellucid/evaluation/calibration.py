"""Calibration: probabilities that mean what they say, by one or two numbers fitted to validation images.

A model's logits z become `scale * z + shift` before the sigmoid or softmax. The map rises, so that no image changes its
rank: ROC curves stay as they are, and a threshold on the calibrated probability is one on the logit. Explanations are
of the model's own logits, before calibration; in a two-class model they differ from the calibrated log-odds by the
factor `scale`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..preprocessing import FloatArray


class Calibration(BaseModel):
    """What was fitted, how, and to how many validation images (and groups, where there are any).

    `scale` is one over the temperature; `shift` is 0 but for Platt's method. `loss_before` and `loss_after` are the
    cross-entropies of the validation images, in nats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["temperature", "platt"]
    scale: float = Field(gt=0)
    shift: float = 0.0
    images: int
    groups: int | None = None
    loss_before: float | None = None
    loss_after: float | None = None

    @property
    def temperature(self) -> float:
        """What the logits are divided by: above 1 for a model that was too sure."""
        return 1 / self.scale

    def logits(self, logits: FloatArray) -> FloatArray:
        """Calibrated logits (N, L) of a model's own (N, L)."""
        calibrated: FloatArray = logits * np.float32(self.scale) + np.float32(self.shift)
        return calibrated
