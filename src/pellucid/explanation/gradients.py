"""Gradients of the score with respect to the pixels: asked for in chunks, and in the units of pixels.

The methods built on them (saliency, integrated gradients, SmoothGrad) run alike on a bundle and on a live torch
network: neither autograd nor torch is needed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..classifier import Classifier, InputGradientClassifier, InputGradients, Score, Target
from ..errors import InputError
from ..preprocessing import FloatArray, Preprocessing
from .maps import Answer, Maps, each_image
from .masking import check_at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSettings:
    """`batch_size` images go through the classifier at a time, divided by the number of targets."""

    batch_size: int = 8

    def __post_init__(self) -> None:
        check_at_least("batch_size", self.batch_size, 1)


Chosen = TypeVar("Chosen", bound=GradientSettings)


@dataclass(frozen=True, slots=True)
class Sloped:
    """One image (3, h, w) and the T scores whose gradients are asked for, of it and of others like it."""

    classifier: InputGradientClassifier
    image: FloatArray
    targets: tuple[str, ...]
    score: Score | None
    batch_size: int

    def at_a_time(self, targets: int) -> int:
        """How many pictures go through the classifier together for a number of targets."""
        return max(1, self.batch_size // max(targets, 1))

    def ask(self, pictures: FloatArray, targets: tuple[str, ...]) -> InputGradients:
        """Gradients (b, T, 3, h, w) and logits of pictures (b, 3, h, w) for some of the targets."""
        return self.classifier.input_gradients(pictures, targets, self.score)


def gradients_of(classifier: Classifier, method: str) -> InputGradientClassifier:
    """The classifier as one that gives gradients of pixels; InputError, naming what works instead, when it does not."""
    if not isinstance(classifier, InputGradientClassifier):
        raise InputError(
            f"{method} needs gradients with respect to the pixels, which this classifier does not give: "
            "take occlusion or rise."
        )
    return classifier


def explain_each_gradient(
    explain_one: Callable[[Sloped, Chosen], Answer], name: str
) -> Callable[[Classifier, FloatArray, Target, Score | None, Chosen], Maps]:
    """The catalogue's `run` of a method that asks for many gradients of one image: see `maps.each_image`."""

    def run(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: Chosen) -> Maps:
        able = gradients_of(classifier, name)

        def one(image: FloatArray, targets: tuple[str, ...]) -> Answer:
            return explain_one(Sloped(able, image, targets, score, settings.batch_size), settings)

        return each_image(classifier, batch, target, score, one)

    return run


def per_grey_level(gradients: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """Gradients (..., 3, h, w) by the model's tensor, as the change per step of 1 in 0..255 of a colour."""
    factor, _ = preprocessing.factor_and_shift()
    return gradients * factor[:, None, None]


def strongest_colour(gradients: FloatArray) -> FloatArray:
    """The largest magnitude over the three colours, (..., h, w) from (..., 3, h, w)."""
    return np.asarray(np.abs(gradients).max(axis=-3))
