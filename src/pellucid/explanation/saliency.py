"""Saliency and gradient x input: one gradient of the score with respect to the pixels, for all targets in one pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..classifier import Classifier, Score, Target, selected_targets
from ..preprocessing import FloatArray, Preprocessing
from .gradients import GradientSettings, gradients_of, per_grey_level, strongest_colour
from .maps import INPUT_PIXELS, Maps, probabilities_beside

MapOf = Callable[[FloatArray, FloatArray, Preprocessing], FloatArray]


def saliency(gradients: FloatArray, batch: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """How far the score moves with a pixel, at least 0: the largest magnitude over its colours, per grey level.

    `gradients` (N, T, 3, h, w) by the tensor `batch` (N, 3, h, w); gives (N, T, h, w). Simonyan et al.,
    arXiv:1312.6034, section 3.1, where it is per unit of the tensor.
    """
    return strongest_colour(per_grey_level(gradients, preprocessing))


def gradient_x_input(gradients: FloatArray, batch: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """Signed: the sum over colours of gradient times tensor, (N, T, h, w).

    For a linear model the map sums to the score minus that of a tensor of zeros, which is a picture of the mean colour
    where values are normalised by it. Shrikumar et al., arXiv:1605.01713.
    """
    maps: FloatArray = (gradients * batch[:, None]).sum(axis=2)
    return maps


def explainer(
    map_of: MapOf, name: str
) -> Callable[[Classifier, FloatArray, Target, Score | None, GradientSettings], Maps]:
    """The catalogue's `run` of a map that needs one gradient per target."""

    def run(
        classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: GradientSettings
    ) -> Maps:
        able = gradients_of(classifier, name)
        _, _, targets = selected_targets(able.classes, able.task, 1, target, score)
        step = max(1, settings.batch_size // len(targets))
        maps, logits = [], []
        for start in range(0, len(batch), step):
            # The batch itself where it fits: a classifier may know it again and answer without another pass.
            chunk = batch if step >= len(batch) else batch[start : start + step]
            found = able.input_gradients(chunk, target, score)
            maps.append(map_of(found.gradients, chunk, able.preprocessing))
            logits.append(found.logits)
        together = np.concatenate(logits)
        return Maps(
            values=np.concatenate(maps),
            geometry=INPUT_PIXELS,
            probabilities=probabilities_beside(able, batch, together),
            targets=targets,
            logits=together,
        )

    return run
