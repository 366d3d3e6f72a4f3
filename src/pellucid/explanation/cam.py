"""Class activation maps: pure functions of activations A (N, C, h, w) and gradients G (N, T, C, h, w).

They run on whatever gave A and G. Each returns (N, T, h, w) float32, in the unit of the score (per unit of activation
times activation), signed; drawing decides what to clip. The score explained is fixed by whoever computed G.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..classifier import Classifier, Score, Target
from ..preprocessing import FloatArray
from .maps import Maps, evidence_of, probabilities_beside

MapOf = Callable[[FloatArray, FloatArray], FloatArray]


def grad_cam(activations: FloatArray, gradients: FloatArray) -> FloatArray:
    """Grad-CAM before its ReLU: sum over channels of A times the mean of G over space.

    Divided by nothing and multiplied by nothing else, so that with global average pooling and a linear head the sum of
    the map over the grid is the part of the score that the layer decides. Selvaraju et al., arXiv:1610.02391, eq. 1-2
    (the ReLU of eq. 2 is left to drawing, so that evidence against the class is not lost).
    """
    weights = gradients.mean(axis=(3, 4))
    maps: FloatArray = np.einsum("ntc,nchw->nthw", weights, activations, optimize=True)
    return maps


def explainer(map_of: MapOf, name: str) -> Callable[[Classifier, FloatArray, Target, Score | None, Any], Maps]:
    """The catalogue's `run` of a map that needs nothing but A and G: one pass for all targets."""

    def run(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: Any) -> Maps:
        evidence = evidence_of(classifier, name).evidence(batch, target, score)
        return Maps(
            values=map_of(evidence.activations, evidence.gradients),
            geometry=evidence.geometry,
            probabilities=probabilities_beside(classifier, batch, evidence.logits),
            targets=evidence.targets,
            logits=evidence.logits,
            layer=evidence.layer,
        )

    return run
