"""Leaving doubtful images to people: how often a model is wrong on the share of images that it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .intervals import wilson

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """Share kept (`coverage`) and share of those answered wrongly (`risk`, with Wilson's interval), (P,) each, 0 to 1.

    One point for each distinct doubt, from the least doubtful images to all of them. `area` under the curve is small
    where doubt finds the mistakes.
    """

    coverage: Values
    risk: Values
    low: Values
    high: Values
    area: float


def risk_coverage(wrong: npt.ArrayLike, doubt: npt.ArrayLike) -> RiskCoverage:
    """The risk-coverage curve of N answers, `wrong` (N,) or not, kept from the smallest `doubt` (N,) to the largest.

    Images of equal doubt are kept together. Reference: El-Yaniv and Wiener, J. Mach. Learn. Res. 11 (2010) 1605.
    """
    mistakes, order_by = np.asarray(wrong, bool), np.asarray(doubt, np.float64)
    order = np.argsort(order_by, kind="stable")
    counts = np.cumsum(mistakes[order])
    ends = np.flatnonzero(np.append(np.diff(order_by[order]) > 0, True))
    kept, missed = ends + 1, counts[ends]
    bounds = np.array([wilson(int(m), int(k)) for m, k in zip(missed, kept, strict=True)])
    coverage, risk = kept / len(mistakes), missed / kept
    steps = np.diff(np.concatenate([[0.0], coverage]))
    return RiskCoverage(coverage, risk, bounds[:, 0], bounds[:, 1], float((steps * risk).sum()))
