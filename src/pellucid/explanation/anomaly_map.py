"""The map of an anomaly detector: how far each part of the image is from what normal images show there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..classifier import Classifier, Score, Target
from ..errors import InputError
from ..preprocessing import FloatArray
from .maps import Maps, evidence_of, probabilities_beside

NAME = "anomaly-map"
SHARES = {"q05": 0.2, "q25": 0.4, "q50": 0.6, "q75": 0.8, "q95": 1.0}


def scale_of(threshold: float) -> dict[str, float]:
    """The scale of a map by its model's threshold: it is drawn in full colour where it reaches the threshold."""
    return {key: threshold * share for key, share in SHARES.items()}


def anomaly_map(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: Any) -> Maps:
    """The distances (N, T, h, w) that the score is made of, in its unit, those below 0 as 0; the same for every class.

    A cell at the model's threshold or above is as far from normal images as a whole image that is flagged.
    """
    if classifier.task != "anomaly":
        raise InputError(
            f"{NAME} needs an anomaly detector, and this is a {classifier.task} model: take grad-cam or occlusion."
        )
    evidence = evidence_of(classifier, NAME).evidence(batch, target, score)
    maps = np.repeat(np.maximum(evidence.activations[:, :1], 0), len(evidence.targets), axis=1)
    return Maps(
        values=maps,
        geometry=evidence.geometry,
        probabilities=probabilities_beside(classifier, batch, evidence.logits),
        targets=evidence.targets,
        logits=evidence.logits,
        layer=evidence.layer,
        features=evidence.features,
    )
