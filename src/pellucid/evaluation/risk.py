"""Risk control: what is sure of an error rate after a number of independent images, or groups of images, was seen.

With independent images the tests and bounds are Clopper and Pearson's. Images of one group are not independent: a group
then counts once, with the share of its images that went wrong, and tests and bounds are those of Hoeffding and Bentkus
(Bates et al., "Distribution-free, risk-controlling prediction sets", J. ACM 68 (2021), section 3.1).
"""

from __future__ import annotations

import math

import numpy as np

from .intervals import LEVEL, Indices, Values

ROUNDING = 1e-5
"""How far beyond an image a limit lies that is taken from it: more than engines and machines round differently.

A limit that is exactly the figure of one validation image would let this image change sides on every other machine.
"""


def lower_bound(rate: float, units: int, confidence: float = LEVEL, *, grouped: bool = False) -> float:
    """What a true share is at least, with `confidence`, when `rate` of `units` independent units was seen.

    Clopper and Pearson's one-sided bound; when `grouped`, units may be right in part, and it is the wider one of
    Hoeffding and Bentkus. 0 when nothing can be said.
    """
    low, high = 0.0, rate
    if not units or p_value(np.array([1 - rate]), units, 1.0, grouped)[0] > 1 - confidence:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        sure = p_value(np.array([1 - rate]), units, 1 - middle, grouped)[0] <= 1 - confidence
        low, high = (middle, high) if sure else (low, middle)
    return low


def p_value(risks: Values, n: int | Indices, level: float, grouped: bool) -> Values:
    """How likely risks (T,) or less are seen among n (T,) units when the true risk is `level`: small where it is less.

    1 where n is 0.
    """
    from scipy.stats import binom

    wrong, clipped = n * risks, np.clip(risks, 0, 1)
    if not grouped:
        exact: Values = np.asarray(binom.cdf(np.round(wrong), n, level), np.float64)
        return exact
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = clipped * np.log(clipped / level), (1 - clipped) * np.log((1 - clipped) / (1 - level))
    divergence = sum(np.nan_to_num(part, nan=0.0, posinf=np.inf) for part in parts)
    hoeffding = np.where(clipped < level, np.exp(-n * np.asarray(divergence)), 1.0)
    bentkus = math.e * binom.cdf(np.ceil(wrong - 1e-9), n, level)
    smaller: Values = np.minimum(np.minimum(hoeffding, bentkus), 1.0)
    return smaller


def upper_bound(rate: float, units: int, confidence: float = LEVEL, *, grouped: bool = False) -> float:
    """What a true error rate is at most, with `confidence`, when `rate` of `units` independent units was seen."""
    return 1 - lower_bound(1 - rate, units, confidence, grouped=grouped)
