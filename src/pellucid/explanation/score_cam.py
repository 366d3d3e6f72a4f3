"""Score-CAM: channels weighted by what the image scores through each channel, without any gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..classifier import Classifier, EvidenceClassifier, Score, Target
from ..errors import InputError
from ..preprocessing import FloatArray, GridGeometry
from .cam import weighted_sum
from .maps import Maps, evidence_of, logits_of, probabilities_beside, scores_of_logits, settled_rows


@dataclass(frozen=True, slots=True)
class ScoreCamSettings:
    """At most `channels` channels per image, those that vary most over the grid; `batch_size` images in a pass."""

    channels: int = 128
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.channels < 1 or self.batch_size < 1:
            raise InputError(
                f"score-cam takes at least one channel and one image per pass, not {self.channels} and "
                f"{self.batch_size}."
            )


def score_cam(
    classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: ScoreCamSettings
) -> Maps:
    """Score-CAM, at least 0: the channels' activations, averaged by weights that are a softmax over the channels.

    The weight's exponent is the score of the image seen through the channel: multiplied, as the tensor that the model
    takes, by the channel's activations laid on it and stretched to 0..1. The score of a baseline that the paper
    subtracts is the same for every channel and drops out of the softmax, so no pass is spent on it. A channel that is
    the same everywhere shows nothing and has no weight. Passes do not depend on the number of targets. Wang et al.,
    arXiv:1910.01279, algorithm 1; limiting the channels to those of the largest deviation follows "Faster
    Score-CAM" (github.com/tabayashi0117/Score-CAM).
    """
    able = evidence_of(classifier, "score-cam")
    evidence = able.evidence(batch, target, score)
    rows, contrast = settled_rows(classifier, evidence.logits, target, score)
    chosen = most_varied(evidence.activations, settings.channels)
    kept = evidence.activations[np.arange(len(batch))[:, None], chosen]
    exponents = np.full((len(batch), chosen.shape[1], rows.shape[1]), -np.inf, np.float32)
    images, places = np.nonzero(np.ptp(kept, axis=(2, 3)) > 0)
    for start in range(0, len(images), settings.batch_size):
        i, k = images[start : start + settings.batch_size], places[start : start + settings.batch_size]
        masks = input_masks(classifier, kept[i, k], evidence.geometry)
        exponents[i, k] = scores_of_logits(_logits(able, batch[i] * masks[:, None]), rows[i], contrast)
    return Maps(
        values=np.maximum(weighted_sum(_softmax(exponents.transpose(0, 2, 1)), kept), 0),
        geometry=evidence.geometry,
        probabilities=probabilities_beside(classifier, batch, evidence.logits),
        targets=evidence.targets,
        logits=evidence.logits,
        layer=evidence.layer,
        settings=tuple({"channels_used": int(n)} for n in np.bincount(images, minlength=len(batch))),
    )


def most_varied(activations: FloatArray, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Indices (N, K) of the `count` channels of the largest deviation over space, per image, in ascending order."""
    deviation = activations.std(axis=(2, 3))
    return np.sort(np.argsort(-deviation, axis=1, kind="stable")[:, :count], axis=1)


def input_masks(classifier: Classifier, channels: FloatArray, geometry: GridGeometry) -> FloatArray:
    """Maps of single channels (M, h, w) laid on the model's input, each stretched to 0..1: (M, height, width).

    They lie where the layer's cells see the input, not where a plain resize would put them.
    """
    whole = classifier.preprocessing.model_copy(update={"fit": "stretch"})
    masks = whole.to_original(channels, geometry, (whole.height, whole.width))
    lowest, highest = (f(axis=(1, 2), keepdims=True) for f in (masks.min, masks.max))
    stretched: FloatArray = (masks - lowest) / np.maximum(highest - lowest, np.finfo(np.float32).tiny)
    return stretched


def _logits(classifier: EvidenceClassifier, batch: FloatArray) -> FloatArray:
    logits = logits_of(classifier, batch)
    return classifier.evidence(batch).logits if logits is None else logits


def _softmax(exponents: FloatArray) -> FloatArray:
    """Over the last axis; zeros where every exponent is -inf."""
    top = exponents.max(axis=-1, keepdims=True)
    shifted = np.exp(exponents - np.where(np.isfinite(top), top, 0))
    weights: FloatArray = shifted / np.maximum(shifted.sum(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    return weights
