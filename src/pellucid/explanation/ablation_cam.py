"""Ablation-CAM: channels weighted by how far the score drops without each channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..classifier import Classifier, Score, TailClassifier, Target
from ..errors import InputError
from ..preprocessing import FloatArray
from .cam import weighted_sum
from .maps import Maps, probabilities_beside, scores_of_logits, settled_rows

MOST_BYTES = 64 * 2**20
"""Of activations in one pass."""


@dataclass(frozen=True, slots=True)
class AblationCamSettings:
    """`batch_size` channels are left out side by side in a pass, fewer where their activations are large."""

    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"ablation-cam leaves out at least one channel per pass, not {self.batch_size}.")


def ablation_cam(
    classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: AblationCamSettings
) -> Maps:
    """Ablation-CAM before its ReLU: sum over channels of A times y - y_k, the score lost when channel k is set to 0.

    The paper weights by (y - y_k) / y. That y is one number per map, which would turn evidence into counter-evidence
    where the score is negative and explode where it is 0, so it is left out: the paper's map is this one over y.
    With global average pooling, a linear head and the plain logit, y - y_k is the sum over space of G_k A_k. Only what
    lies behind the layer runs again, once per channel that is not 0 already. Desai & Ramaswamy, "Ablation-CAM", WACV
    2020. Raises InputError for a classifier that cannot run from its explained layer onwards.
    """
    if not isinstance(classifier, TailClassifier):
        raise InputError(
            "ablation-cam runs the layers behind the explained one alone, which this classifier does not offer: "
            "take a live torch network (TorchClassifier), or score-cam or hirescam."
        )
    evidence = classifier.evidence(batch, target, score)
    activations = evidence.activations
    rows, contrast = settled_rows(classifier, evidence.logits, target, score)
    whole = scores_of_logits(evidence.logits, rows, contrast)
    drops = np.zeros((*activations.shape[:2], rows.shape[1]), np.float32)
    images, channels = np.nonzero(activations.any(axis=(2, 3)))
    step = max(1, min(settings.batch_size, MOST_BYTES // max(activations[:1].nbytes, 1)))
    for start in range(0, len(images), step):
        i, k = images[start : start + step], channels[start : start + step]
        without = activations[i]
        without[np.arange(len(i)), k] = 0
        drops[i, k] = whole[i] - scores_of_logits(classifier.tail(without), rows[i], contrast)
    return Maps(
        values=weighted_sum(drops.transpose(0, 2, 1), activations),
        geometry=evidence.geometry,
        probabilities=probabilities_beside(classifier, batch, evidence.logits),
        targets=evidence.targets,
        logits=evidence.logits,
        layer=evidence.layer,
    )
