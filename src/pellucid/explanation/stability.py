"""Does a map stay the same when almost nothing changes: a little noise, or the seed of a method that samples?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..preprocessing import FloatArray, Preprocessing
from .agreement import Doubles, coarse, rank_correlation

NOISE = 5.0
"""Standard deviation of the noise in grey values of 255: hardly to be seen."""

MapsOf = Callable[[FloatArray], FloatArray]
"""From images (N, 3, h, w) to their maps (N, h, w) on the model's input, each for a target that stays the same."""


def noisy(batch: FloatArray, preprocessing: Preprocessing, *, deviation: float = NOISE, seed: int = 0) -> FloatArray:
    """The images (N, 3, h, w) with Gaussian noise of `deviation` grey values, the same for the three colours."""
    factor, _ = preprocessing.factor_and_shift()
    noise = np.random.default_rng(seed).normal(0, deviation, (len(batch), 1, *batch.shape[2:]))
    return np.asarray(batch + noise * factor[:, None, None], np.float32)


def noise_stability(
    maps_of: MapsOf, batch: FloatArray, maps: FloatArray, preprocessing: Preprocessing, *, seed: int = 0
) -> Doubles:
    """Rank correlation (N,) of each map with that of its image under a little noise; NaN for an even map."""
    again = maps_of(noisy(batch, preprocessing, seed=seed))
    return rank_correlation(coarse(maps), coarse(again))


def samples(settings: Any) -> bool:
    """Whether a method's settings have a seed that its result depends on."""
    names = {f.name for f in fields(settings)}
    return {"seed", "samples"} <= names


def reseeded(settings: Any) -> Any:
    """The same settings under another seed."""
    return replace(settings, seed=settings.seed + 1)
