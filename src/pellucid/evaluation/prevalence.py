"""Predictive values where a disease, or defect, is as frequent as it will be in use, and not as in the test images.

Sensitivity and specificity are of a model; what an answer is worth depends on how many ill there are among those asked:
at 5 % even a good test is mostly wrong when it says ill. Reference: Altman and Bland, BMJ 309 (1994) 102.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .intervals import Values, percentiles
from .metrics import recall, specificity
from .result import Metric, Restated
from .tally import Tally


def predictive_values(sensitivity: Values, specificity: Values, prevalence: float) -> tuple[Values, Values]:
    """PPV and NPV by Bayes' theorem from rates of any one shape; NaN where nothing is answered so."""
    ill, well = prevalence, 1 - prevalence
    found, alarms = sensitivity * ill, (1 - specificity) * well
    passed, missed = specificity * well, (1 - sensitivity) * ill
    with np.errstate(invalid="ignore", divide="ignore"):
        return found / (found + alarms), passed / (passed + missed)


def check_prevalence(prevalence: float, classes: int) -> None:
    """InputError unless it is a share between 0 and 1, of one of two classes."""
    if classes != 2:
        raise InputError(
            f"A prevalence is of one class against another, and there are {classes} classes: leave it out."
        )
    if not 0 < prevalence < 1:
        raise InputError(f"The prevalence is a share between 0 and 1, such as 0.05, and not {prevalence}.")


def restate(prevalence: float, point: Tally, tallies: list[Tally], found: Metric, passed: Metric) -> Restated:
    """Predictive values at a prevalence, with 95 % intervals from the resamples in `tallies`.

    `found` is the sensitivity on the images and `passed` the specificity, with their intervals. Where either is 0
    or 1, so that resampling cannot show how unsure it is, the interval runs from the predictive value at both lower
    bounds to that at both upper ones, which is wider than it need be.
    """
    check_prevalence(prevalence, len(point.actual))
    rates = np.array([[found.value], [passed.value]])
    values = np.array(predictive_values(rates[0], rates[1], prevalence))[:, 0]
    if tallies and not np.isin(rates, (0, 1)).any():
        drawn = [np.concatenate([of(t) for t in tallies]) for of in (recall, specificity)]
        low, high = percentiles(np.array(predictive_values(drawn[0], drawn[1], prevalence)))
    else:
        bounds = np.array([[m.low, m.high] for m in (found, passed)])
        low, high = np.array(predictive_values(bounds[0], bounds[1], prevalence)).T
    low, high = np.where(np.isnan(values), np.nan, low), np.where(np.isnan(values), np.nan, high)
    ppv, npv = (Metric(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True))
    return Restated(prevalence, float(point.actual[1, 0] / point.total[0]), ppv, npv)
