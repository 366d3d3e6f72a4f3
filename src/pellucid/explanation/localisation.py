"""Do the heat maps lie on the objects? Measures against a true mask or boxes, each beside what chance would give."""

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
    """Share of the image that the mask covers: the chance level of all measures but `iou_at`."""
    return float(mask.mean())


def average_precision(attribution: Attribution, mask: Mask) -> float | None:
    """Average precision of the values as a ranking of pixels by whether they lie on the mask, in 0..1.

    None where no evidence is, or where the mask is empty. Pixels of equal value are taken together, as scikit-learn
    does. Chance level: the share of the image that the mask covers.
    """
    if attribution.says_nothing or not mask.any():
        return None
    inside, taken = _falling(attribution, mask)
    precision, recall = inside / taken, inside / inside[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def pixel_area(attribution: Attribution, mask: Mask) -> float | None:
    """Area under the ROC curve of the values as a ranking of pixels by whether they lie on the mask, in 0..1.

    None where the mask (H, W) is empty or all of the image. It suits maps of distances, which are above 0 everywhere.
    Chance level: 0.5.
    """
    if not mask.any() or mask.all():
        return None
    inside, taken = _falling(attribution, mask)
    outside = taken - inside
    found, wrong = (np.concatenate([[0.0], counts / counts[-1]]) for counts in (inside, outside))
    return float((np.diff(wrong) * (found[1:] + found[:-1]) / 2).sum())


def best_iou(attribution: Attribution, mask: Mask) -> float | None:
    """The largest intersection over union of the mask and the pixels above any one threshold, in 0..1.

    None where no evidence is. Chance level: the share that the mask covers, which the threshold gives that takes in
    the whole image. The maximal box accuracy of Choe et al. 2020, arXiv:2001.07437, likewise takes the best threshold.
    """
    if attribution.says_nothing:
        return None
    inside, taken = _falling(attribution, mask)
    return float((inside / (taken + int(mask.sum()) - inside)).max())


def iou_at(attribution: Attribution, mask: Mask, share: float = 0.5) -> tuple[float, float] | None:
    """Intersection over union of the mask and the pixels of at least `share` of the largest value, and its chance.

    None where no evidence is. The chance level is that of a region of the same size laid anywhere, which meets the mask
    in the product of both shares of the image.
    """
    if attribution.says_nothing:
        return None
    region = attribution.values >= share * float(attribution.values.max())
    union = int((region | mask).sum())
    a, m = float(region.mean()), float(mask.mean())
    return int((region & mask).sum()) / union, a * m / (a + m - a * m)


def _falling(attribution: Attribution, mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many pixels lie on the mask, and how many there are, above each distinct value, the highest first."""
    values = attribution.values.ravel()
    order = np.argsort(-values, kind="stable")
    inside, sorted_values = np.cumsum(mask.ravel()[order]), values[order]
    last = np.append(np.flatnonzero(np.diff(sorted_values)), len(values) - 1)
    return inside[last], last + 1
