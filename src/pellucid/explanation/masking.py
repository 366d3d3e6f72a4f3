"""What a classifier says of an image while parts of it are hidden: the common ground of the perturbation methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from ..classifier import Classifier, Score, Target
from ..errors import InputError
from ..preprocessing import FloatArray
from .maps import Answer, Maps, each_image, target_scores
from .replacement import check_replacement, replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiding:
    """Settings of every perturbation method.

    `replacement` is what a hidden pixel becomes: blur, mean, grey, noise or black (see replacement.py). `seed` covers
    all that is random. `batch_size` images go through the classifier at a time: few enough for a core's cache, which on
    a CPU beats larger batches.
    """

    replacement: str = "blur"
    seed: int = 0
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_replacement(self.replacement)
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("seed", self.seed, 0)


def check_at_least(name: str, value: float, least: float) -> None:
    """InputError for a setting below its least value."""
    if not value >= least:
        raise InputError(f"{name} must be at least {least}, not {value!r}.")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """InputError for a setting that is not strictly between two bounds."""
    if not low < value < high:
        raise InputError(f"{name} must lie between {low} and {high}, not {value!r}.")


@dataclass(frozen=True, slots=True)
class Subject:
    """One image (3, h, w), what its pixels become when hidden (3, h, w), and the T scores that are asked for."""

    classifier: Classifier
    image: FloatArray
    hidden: FloatArray
    targets: tuple[str, ...]
    score: Score | None
    batch_size: int

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the image."""
        return self.image.shape[1], self.image.shape[2]

    def slices(self, start: int, stop: int) -> Iterator[slice]:
        """The slices of at most a batch that make up start..stop."""
        for first in range(start, stop, self.batch_size):
            yield slice(first, min(first + self.batch_size, stop))

    def answers(self, masks: Iterable[FloatArray]) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Each chunk of masks (b, h, w), from 0 hidden to 1 visible, with the scores (b, T) of the image under them.

        A mask in between mixes a pixel with its replacement. Memory is that of one chunk.
        """
        difference = self.image - self.hidden
        buffer = np.empty((0, *self.image.shape), np.float32)
        for visible in masks:
            if len(visible) > len(buffer):
                buffer = np.empty((len(visible), *self.image.shape), np.float32)
            pictures = buffer[: len(visible)]
            np.multiply(visible[:, None], difference, out=pictures)
            pictures += self.hidden
            yield visible, target_scores(self.classifier, pictures, self.targets, self.score)


Chosen = TypeVar("Chosen", bound=Hiding)


def explain_each(
    explain_one: Callable[[Subject, Chosen], Answer],
) -> Callable[[Classifier, FloatArray, Target, Score | None, Chosen], Maps]:
    """The catalogue's `run` of a method that explains one image at a time by a map (T, h, w) and what it says of it.

    Maps lie on the pixels of the model's input. The predicted class is that of the whole image, under every mask.
    """

    def run(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: Chosen) -> Maps:
        def one(image: FloatArray, targets: tuple[str, ...]) -> Answer:
            hidden = replaced(image[None], classifier.preprocessing, settings.replacement, settings.seed)[0]
            return explain_one(Subject(classifier, image, hidden, targets, score, settings.batch_size), settings)

        # After a matrix product the helper threads of NumPy's BLAS spin for a while, on cores that the model's
        # next pass needs: with them RISE took 1.46 times its passes, without 1.10 (600 samples, 32 a batch).
        with threadpool_limits(limits=1, user_api="blas"):
            return each_image(classifier, batch, target, score, one)

    return run
