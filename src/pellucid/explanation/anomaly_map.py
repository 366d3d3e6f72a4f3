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


def scale_of(threshold: float, usual: float = 0.0) -> dict[str, float]:
    """The scale of a map by its model's threshold: it has its full colour where it is as far above the usual as that.

    `usual` is the score of a usual normal image, or 0 where a map shows distances as they are.
    """
    return {key: (threshold - usual) * share for key, share in SHARES.items()}


def anomaly_map(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: Any) -> Maps:
    """How far (N, T, h, w) each cell is above the usual, those below as 0; the same for every class.

    The unit is that of the score. Where a map reaches the distance from a usual image's score to the threshold, it is
    about as rare among normal images as a score at the threshold. Bundles of before show the distances as they are.
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
