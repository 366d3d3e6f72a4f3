"""Do the heat maps lie on the objects? Pointing game and energy inside a true mask, each beside chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .attribution import Attribution

Mask = npt.NDArray[np.bool_]


def pointing_game(attribution: Attribution, mask: Mask, tolerance: int = 0) -> bool | None:
    """Whether the largest value lies on the mask (H, W), or within `tolerance` pixels of it; None where no evidence is.

    Chance level: the share of the image that the (widened) mask covers. Zhang et al., arXiv:1608.00507.
    """
    if attribution.says_nothing:
        return None
    y, x = np.unravel_index(int(attribution.values.argmax()), attribution.values.shape)
    window = mask[max(0, y - tolerance) : y + tolerance + 1, max(0, x - tolerance) : x + tolerance + 1]
    return bool(window.any())


def energy_inside(attribution: Attribution, mask: Mask) -> float | None:
    """Share of the positive evidence that lies on the mask (H, W), in 0..1; None where no evidence is.

    Chance level: the share of the image that the mask covers. Wang et al., arXiv:1910.01279, section 4.2.
    """
    positive = attribution.positive.astype(np.float64)
    total = float(positive.sum())
    return float(positive[mask].sum() / total) if total > 0 else None


def mask_share(mask: Mask) -> float:
    """Share of the image that the mask covers: the chance level of both measures."""
    return float(mask.mean())
