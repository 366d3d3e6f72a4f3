"""Intervals: Wilson's for a proportion, and the bootstrap over images or over groups of images.

The bootstrap is the plain one: images (or whole groups, where there are any) are drawn with replacement from the split
as a whole, not within each class, so that the intervals include the chance that decided how many images of each class
the split holds. A resample is a column of multiplicities, and every metric takes these as weights; nothing is copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

LEVEL = 0.95
_CHUNK_ELEMENTS = 2**18
"""About how many weights to hold at a time: what stays in the processor's cache is also quickest."""


def wilson(successes: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a proportion of `successes` out of `n`, as (low, high) within 0..1.

    It has a width even when the proportion is 0 or 1. (NaN, NaN) for n = 0. Raises InputError unless
    0 <= successes <= n. Reference: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    if not 0 <= successes <= n:
        raise InputError(f"A proportion needs 0 <= successes <= n, and got {successes} of {n}.")
    if n == 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


@dataclass(frozen=True, slots=True)
class Resampling:
    """A repeatable bootstrap of N images that belong to `units` units: groups, or the images themselves.

    `unit_of` (N,) numbers the unit of each image. An image without a group is a unit of its own.
    """

    unit_of: Indices
    units: int
    grouped: bool
    resamples: int
    seed: int

    @classmethod
    def of(cls, n: int, groups: Sequence[str], resamples: int, seed: int) -> Resampling:
        """Over groups when any of the N `groups` is not "", otherwise over the images. At least 100 resamples."""
        if resamples < 100:
            raise InputError(f"A 95 % interval needs at least 100 resamples, and got {resamples}. The usual is 2,000.")
        if not any(groups):
            return cls(np.arange(n), n, False, resamples, seed)
        number: dict[object, int] = {}
        # A lone image is keyed by its place, which no group's name can equal.
        units = [number.setdefault(group or place, len(number)) for place, group in enumerate(groups)]
        return cls(np.array(units, np.int64), len(number), True, resamples, seed)

    def weights(self) -> Iterator[Values]:
        """How often each image occurs in each resample, in pieces of shape (N, b), `resamples` columns in all."""
        rng = np.random.default_rng(self.seed)
        chunk = max(8, _CHUNK_ELEMENTS // len(self.unit_of))
        for start in range(0, self.resamples, chunk):
            count = min(chunk, self.resamples - start)
            drawn = rng.integers(0, self.units, (count, self.units))
            drawn *= count
            drawn += np.arange(count)[:, None]
            times = np.bincount(drawn.ravel(), minlength=self.units * count).reshape(self.units, count)
            weights = times.astype(np.float64)
            yield weights[self.unit_of] if self.grouped else weights

    def units_among(self, images: npt.NDArray[np.bool_]) -> int:
        """The number of units that the marked images (N,) belong to."""
        return len(np.unique(self.unit_of[images]))

    @property
    def unit_name(self) -> str:
        """What is drawn: "groups" or "images"."""
        return "groups" if self.grouped else "images"

    def in_words(self) -> str:
        """How the intervals were made, for people."""
        if self.units < 2:
            return f"no bootstrap intervals: there is one {self.unit_name[:-1]} only"
        if self.grouped:
            of = f" of {len(self.unit_of):,} images"
            return f"95 % bootstrap over {self.units:,} groups{of}, {self.resamples:,} resamples"
        return f"95 % bootstrap over {self.units:,} images, {self.resamples:,} resamples; proportions after Wilson"


def percentiles(samples: Values, level: float = LEVEL) -> tuple[Values, Values]:
    """The percentile interval of each row of `samples` (M, B) as (low, high), shape (M,) each.

    Resamples in which a figure is not defined (NaN) are left out; where they are more than half, the bounds are NaN.
    Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    bounds = np.full((2, len(samples)), np.nan)
    defined = np.isfinite(samples)
    edges = ((1 - level) / 2, (1 + level) / 2)
    whole = defined.all(axis=1)
    if whole.any():
        bounds[:, whole] = np.quantile(samples[whole], edges, axis=1)
    for row in np.flatnonzero(~whole & (defined.mean(axis=1) >= 0.5)):
        bounds[:, row] = np.quantile(samples[row, defined[row]], edges)
    return bounds[0], bounds[1]
