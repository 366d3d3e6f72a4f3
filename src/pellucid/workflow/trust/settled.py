"""Whether more images could still change what a trust card says of its methods."""

from __future__ import annotations

import numpy as np

from ...evaluation.intervals import Resampling, percentiles
from ...explanation.trust import UNSTABLE
from .measures import Doubles, TrustMeasurements

LOOKS = (12, 24, 48)
"""Numbers of images after which it is asked. Few looks, since each is a chance to stop by luck."""

SURE = 0.995
"""Level of the intervals that must lie on one side: with three looks at least 98.5 % together."""

NARROW = 0.15
"""Half the width of a gap's 95 % interval, as a share of the gap, that is narrow enough."""

RESAMPLES = 2000


def is_settled(audit: TrustMeasurements) -> bool:
    """Whether every method's differences from the baselines, and its stability, lie clearly on one side.

    False between the numbers of images in LOOKS.
    """
    n = len(audit.samples)
    before = n - audit.newest
    if not any(before < look <= n for look in LOOKS):
        return False
    resampling = Resampling.of(n, [s.group for s in audit.samples], RESAMPLES, audit.curves.seed)
    for measured in audit.measured.values():
        gap = measured.all("gap")
        low, high = _interval(gap, resampling, 0.95)
        if not (high - low) / 2 <= NARROW * abs(gap.mean()):
            return False
        for baseline in audit.baselines.values():
            if not _on_one_side(gap - baseline.all("gap"), 0.0, resampling):
                return False
        if not _on_one_side(measured.all("noise"), UNSTABLE, resampling):
            return False
    return bool(audit.measured)


def _on_one_side(values: Doubles, of: float, resampling: Resampling) -> bool:
    low, high = _interval(values, resampling, SURE)
    return bool(low > of or high < of)


def _interval(values: Doubles, resampling: Resampling, level: float) -> tuple[float, float]:
    """The bootstrap interval of the mean of values (N,), of which those that are not known are left out."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [(filled @ w) / (known.astype(np.float64) @ w) for w in resampling.weights()]
    low, high = percentiles(np.concatenate(means)[None], level)
    return float(low[0]), float(high[0])
