"""How near an image lies to where its answer changes: what a change of precision may tip over."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..classifier import gives_score
from ..evaluation.answering import UNLIKE
from ..preprocessing import FloatArray
from .manifest import Manifest

SAFETY = 2.0
"""An answer counts as near within twice the largest change that was seen."""

NEAR = (
    "The model runs in lower precision, and this answer lies so near to the point where it changes that float32 might "
    "give the other one."
)


def decision_distances(manifest: Manifest, logits: FloatArray) -> npt.NDArray[np.float64]:
    """Distances (N,) of logits (N, L) from where the answer changes, in logits; for two classes and scores signed.

    For more than two classes that of the largest logit from the second; for two that of the calibrated logit from the
    threshold's; for a regression that of the output from the threshold.
    """
    given = np.asarray(logits, np.float64)
    if manifest.task == "multiclass":
        highest = np.sort(given, axis=1)[:, -2:]
        gap: npt.NDArray[np.float64] = highest[:, 1] - highest[:, 0]
        return gap
    if gives_score(manifest.task):
        return np.asarray(given[:, 0] - manifest.threshold, np.float64)
    if not 0 < manifest.threshold < 1:
        return np.full(len(given), math.inf)
    calibrated = logits if manifest.calibration is None else manifest.calibration.logits(logits)
    edge = math.log(manifest.threshold) - math.log1p(-manifest.threshold)
    return np.asarray(np.asarray(calibrated, np.float64)[:, 0] - edge, np.float64)


def largest_move(manifest: Manifest, before: FloatArray, after: FloatArray) -> float:
    """The most that any image of logits (N, L) moved towards or away from where its answer changes."""
    if manifest.task == "multiclass":
        change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
        return float((change.max(axis=1) - change.min(axis=1)).max())
    one, other = (decision_distances(manifest, logits) for logits in (before, after))
    finite = np.isfinite(one) & np.isfinite(other)
    return float(np.abs(other - one)[finite].max(initial=0.0))


def is_near(
    manifest: Manifest, logits: FloatArray, margin: float, outside: float | None = None, outside_margin: float = 0.0
) -> bool:
    """Whether one image with logits (L,) lies near where its answer changes, or is given or withheld.

    Near is within SAFETY times `margin` (of logits) or `outside_margin` (of the outside score `outside`).
    """
    if abs(decision_distances(manifest, logits[None])[0]) <= SAFETY * margin:
        return True
    rules = manifest.answering
    if rules is None:
        return False
    least = None if rules.abstention is None else rules.abstention.least
    if least is not None and abs(_from_withheld(manifest, logits, least)) <= SAFETY * margin:
        return True
    return rules.reject == "unlike" and outside is not None and abs(outside - UNLIKE) <= SAFETY * outside_margin


def _from_withheld(manifest: Manifest, logits: FloatArray, least: float) -> float:
    """The distance of one image's confidence from the least that is answered, in logits as `margin` has them."""
    if gives_score(manifest.task):
        return abs(float(logits[0]) - manifest.threshold) - least
    if not 0 < least < 1:
        return math.inf
    probabilities = manifest.probabilities(logits[None])
    sure = float(probabilities[0, manifest.predicted(logits[None], probabilities)[0]])
    sure = min(max(sure, 1e-12), 1 - 1e-12)
    distance = math.log(sure / (1 - sure)) - math.log(least / (1 - least))
    calibrated = manifest.task == "multiclass" and manifest.calibration is not None
    return distance / manifest.calibration.scale if calibrated and manifest.calibration else distance
