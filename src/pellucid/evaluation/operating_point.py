"""The operating point: the threshold that serves a purpose, chosen on validation images, and what it guarantees.

A demand like `sensitivity>=0.95` is met by risk control: with the confidence stated, the true sensitivity at the chosen
threshold is at least what was asked, whatever the distribution of scores. As the sensitivity only falls when the
threshold rises, the highest threshold whose own bound passes may be taken without a correction for having looked at all
(Bates et al., "Distribution-free, risk-controlling prediction sets", J. ACM 68 (2021), theorem 1). With independent
images the bound is Clopper and Pearson's and the threshold an order statistic. With groups each counts once, by the
share of its images that is found, and the bound is that of Hoeffding and Bentkus, which is wider: what is sure is then
sure of a random image of a random new group.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..classifier import reaches
from ..documents import Document
from ..errors import DataError, InputError
from .intervals import LEVEL, Indices, Resampling, Values
from .risk import lower_bound, p_value

FORMS = "0.5 (any number), youden, sensitivity>=0.95, specificity>=0.9, false-alarms<=0.05 or cost:fn=5,fp=1"
Bounded = Literal["sensitivity", "specificity", "youden", "cost"]


class OperatingPoint(Document):
    """Where the threshold lies, what was asked for, and what holds of it.

    `threshold` applies to the calibrated probability of the positive class, or to the output of a regression: at least
    so much is answered as positive. `sensitivity` and `specificity` are those of the validation images, of which
    `images` (and `groups`, where there are any) were used. `bound` is what is sure with `confidence` of `bounded` (at
    least so much; at most, for a cost), and None where nothing was asked. `met` says whether that is as much as was
    asked. `revision` counts later choices on the same validation images, made after a first test.
    """

    asked: str
    threshold: float
    images: int = 0
    groups: int | None = None
    sensitivity: float | None = Field(default=None, ge=0, le=1)
    specificity: float | None = Field(default=None, ge=0, le=1)
    bounded: Bounded | None = None
    bound: float | None = None
    confidence: float = Field(default=LEVEL, gt=0, lt=1)
    met: bool = True
    statement: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a threshold: `number` itself, or the least rate, or what a miss and a false alarm cost.

    `alarms` says that the least specificity was asked for as the most false alarms: that takes negative images only.
    """

    text: str
    bounded: Bounded | None
    number: float = 0.0
    miss: float = 0.0
    alarm: float = 0.0
    alarms: bool = False


def parse_demand(text: str) -> Demand:
    """Read one of `FORMS`; InputError for all else."""
    plain = re.sub(r"\s+", "", text.lower()).replace("≥", ">=").replace("≤", "<=")
    wrong = InputError(f"The operating point {text!r} is not one: write {FORMS}.")
    if plain == "youden":
        return Demand("youden", "youden")
    if rate := re.fullmatch(r"(sensitivity|specificity)>?=(.+)", plain):
        share = _number(rate[2], wrong)
        if not 0 < share < 1:
            raise InputError(
                f"{rate[1].capitalize()} is a share between 0 and 1, not {rate[2]}: write {rate[1]}>=0.95."
            )
        return Demand(f"{rate[1]}>={share:g}", "sensitivity" if rate[1] == "sensitivity" else "specificity", share)
    if rate := re.fullmatch(r"false-?alarms?<?=(.+)", plain):
        share = _number(rate[1], wrong)
        if not 0 < share < 1:
            raise InputError(f"False alarms are a share between 0 and 1, not {rate[1]}: write false-alarms<=0.05.")
        return Demand(f"false-alarms<={share:g}", "specificity", 1 - share, alarms=True)
    if costs := re.fullmatch(r"cost:(?:fn=(?P<fn>[^,]+),fp=(?P<fp>.+)|fp=(?P<fp2>[^,]+),fn=(?P<fn2>.+))", plain):
        miss, alarm = (_number(costs[n] or costs[n + "2"], wrong) for n in ("fn", "fp"))
        if not (miss > 0 and alarm > 0):
            raise InputError(f"Both costs must be above 0, and are fn={miss:g}, fp={alarm:g}.")
        return Demand(f"cost:fn={miss:g},fp={alarm:g}", "cost", miss=miss, alarm=alarm)
    number = _number(plain, wrong)
    return Demand(f"{number:g}", None, number)


def _number(text: str, wrong: InputError) -> float:
    try:
        number = float(text)
    except ValueError:
        raise wrong from None
    if not math.isfinite(number):
        raise wrong
    return number


def choose_operating_point(
    asked: str,
    *,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: Sequence[str] = (),
    confidence: float = LEVEL,
    positive: str = "the positive class",
    of: str = "validation images",
) -> OperatingPoint:
    """Choose a threshold for the scores (N,) of validation images with labels (N,), 1 for the positive class.

    `of` says in words what other images are. `scores` are calibrated probabilities or a regression's outputs. What
    cannot be made sure on so few images is still aimed at, as cautiously as they allow; `met` is then False. Raises
    InputError for a demand that cannot be read, and DataError when the images are of one class only and more than a
    number is asked.
    """
    demand = parse_demand(asked)
    truth, given = np.asarray(labels, np.int64), np.asarray(scores, np.float32)
    if truth.ndim != 1 or truth.shape != given.shape:
        raise InputError(
            f"There are labels of shape {truth.shape} and scores of shape {given.shape}: one each an image."
        )
    if not np.isfinite(given).all():
        raise InputError("Scores must be finite numbers, and some are not: look at the predictions of the model.")
    units = Resampling.of(len(truth), groups, resamples=100, seed=0)
    if demand.bounded is None:
        return _described(demand, demand.number, truth, given, units, None, confidence, positive, of)
    found, passed = _Rates.of(given, truth == 1, units, True), _Rates.of(given, truth == 0, units, False)
    if not passed.units or not (found.units or demand.alarms):
        missing = "the other class" if not passed.units else positive
        kinds = "of the negative class" if demand.alarms else "of both classes"
        raise DataError(f"{demand.text} needs validation images {kinds}, and {missing} has no images.")
    # Every threshold that tells images apart, rising: each score itself, and one above every score.
    distinct = np.unique(given)
    cuts = np.append(distinct, np.nextafter(distinct[-1], np.float32(np.inf)))
    if demand.bounded == "sensitivity":
        place, bound = _highest_sure(found.at(cuts), found, demand.number, confidence)
    elif demand.bounded == "specificity":
        place, bound = _highest_sure(passed.at(cuts)[::-1], passed, demand.number, confidence)
        place = len(cuts) - 1 - place
    else:
        place, bound = _best(demand, found, passed, cuts, confidence)
    return _described(demand, _readable(cuts, place), truth, given, units, bound, confidence, positive, of)


@dataclass(frozen=True, slots=True)
class _Rates:
    """Which share of the images of one kind is answered rightly at a threshold, each unit counting once.

    `scores` (M,) rising, `weights` (M,) that sum to 1, over `units` units; `upwards` when right means at or above.
    """

    scores: npt.NDArray[np.float32]
    weights: Values
    units: int
    grouped: bool
    upwards: bool

    @classmethod
    def of(
        cls, scores: npt.NDArray[np.float32], kind: npt.NDArray[np.bool_], resampling: Resampling, upwards: bool
    ) -> _Rates:
        unit: Indices = np.unique(resampling.unit_of[kind], return_inverse=True)[1]
        sizes = np.bincount(unit) if len(unit) else np.zeros(0)
        order = np.argsort(scores[kind], kind="stable")
        weights = 1 / (sizes[unit] * max(len(sizes), 1))
        grouped = bool((sizes > 1).any())
        return cls(scores[kind][order], weights[order], len(sizes), grouped, upwards)

    def at(self, cuts: npt.NDArray[np.float32]) -> Values:
        """The share (T,) at each threshold (T,)."""
        below = np.concatenate([[0.0], np.cumsum(self.weights)])[np.searchsorted(self.scores, cuts, "left")]
        rates: Values = np.clip(1 - below if self.upwards else below, 0, 1)
        return rates


def _readable(cuts: npt.NDArray[np.float32], place: int) -> float:
    """A threshold that does what `cuts[place]` does: the number of fewest digits between it and the score below."""
    lower, upper = float(cuts[max(place - 1, 0)]), float(cuts[place])
    middle = (lower + upper) / 2
    for digits in range(2, 10):
        rounded = round(middle, digits)
        if lower < rounded <= upper:
            return rounded
    return upper


def _highest_sure(rates: Values, kind: _Rates, least: float, confidence: float) -> tuple[int, float]:
    """The last place of falling `rates` (T,) at which at least `least` is still sure, and what is sure there.

    All before it are sure as well, as the bound only falls. Where it is nowhere sure, the last place at which all
    images are answered rightly.
    """
    n = kind.units
    sure = np.flatnonzero(p_value(1 - rates, n, 1 - least, kind.grouped) <= 1 - confidence)
    place = int(sure[-1]) if len(sure) else int(np.flatnonzero(rates >= 1 - 1e-12)[-1])
    return place, lower_bound(float(rates[place]), n, confidence, grouped=kind.grouped)


def needed_for(least: float, confidence: float = LEVEL) -> int:
    """How many independent units it takes to promise a rate of at least `least`, when every one is right."""
    return math.ceil(math.log(1 - confidence) / math.log(least))


def _best(
    demand: Demand, found: _Rates, passed: _Rates, cuts: npt.NDArray[np.float32], confidence: float
) -> tuple[int, float]:
    """The place of the greatest Youden index, or of the least cost an image, and what is sure of it.

    The bound holds for every threshold at once (Dvoretzky, Kiefer, Wolfowitz, with Massart's constant, Ann. Probab. 18
    (1990) 1269), so that having chosen the best does not spoil it. Groups count as one image each.
    """
    sensitivity, specificity = found.at(cuts), passed.at(cuts)
    slack = [math.sqrt(math.log(2 / (1 - confidence)) / (2 * kind.units)) for kind in (found, passed)]
    if demand.bounded == "youden":
        index = sensitivity + specificity - 1
        place = int(np.argmax(index))
        return place, float(index[place]) - sum(slack)
    share = len(found.scores) / (len(found.scores) + len(passed.scores))
    weights = demand.miss * share, demand.alarm * (1 - share)
    cost = weights[0] * (1 - sensitivity) + weights[1] * (1 - specificity)
    place = int(np.argmin(cost))
    return place, float(cost[place]) + weights[0] * slack[0] + weights[1] * slack[1]


def _described(
    demand: Demand,
    threshold: float,
    truth: Indices,
    scores: npt.NDArray[np.float32],
    units: Resampling,
    bound: float | None,
    confidence: float,
    positive: str,
    of: str,
) -> OperatingPoint:
    reached = reaches(scores, threshold)
    rates = [float((reached == k)[truth == k].mean()) if (truth == k).any() else None for k in (1, 0)]
    met = bound is None or demand.bounded in ("youden", "cost") or bound >= demand.number
    return OperatingPoint(
        asked=demand.text,
        threshold=threshold,
        images=len(truth),
        groups=units.units if units.grouped else None,
        sensitivity=rates[0],
        specificity=rates[1],
        bounded=demand.bounded,
        bound=bound,
        confidence=confidence,
        met=met,
        statement=_statement(demand, bound, confidence, met, truth, units, positive, of),
    )


def _statement(
    demand: Demand,
    bound: float | None,
    confidence: float,
    met: bool,
    truth: Indices,
    units: Resampling,
    positive: str,
    of: str,
) -> str:
    """What was chosen and what is sure of it, as a sentence or two."""
    if bound is None:
        return f"The threshold {demand.number:g} was set, not chosen for a purpose."
    n = f"{len(truth):,} {of}" + (f" ({units.units:,} groups)" if units.grouped else "")
    sure = f"with {100 * confidence:g} % confidence"
    if demand.bounded == "youden":
        return f"Chosen on {n} for the highest sensitivity + specificity - 1, which is {sure} at least {bound:.3f}."
    if demand.bounded == "cost":
        costs = f"a missed {positive} costs {demand.miss:g} and a false alarm {demand.alarm:g}"
        return f"Chosen on {n} for the least cost when {costs}: {sure} at most {bound:.3f} an image, at their shares."
    if demand.alarms:
        return _alarms_statement(demand, bound, sure, met, units.units_among(truth == 0), units)
    asked = f"{demand.bounded} of at least {demand.number:g}"
    if met:
        return f"Chosen on {n} for a {asked}: {sure} it is at least {bound:.3f} on new images of the same kind."
    kind = 1 if demand.bounded == "sensitivity" else 0
    count = units.units_among(truth == kind)
    needed = needed_for(demand.number, confidence)
    those = f"groups of {of}" if units.grouped else of
    return (
        f"A {asked} cannot be promised {sure} on {count:,} such {those}, as it takes {needed:,} or more."
        f" At the threshold every one is answered correctly, which guarantees {bound:.3f}."
    )


def _alarms_statement(demand: Demand, bound: float, sure: str, met: bool, count: int, units: Resampling) -> str:
    """What is sure of the false alarms, as a sentence or two."""
    unit = "groups" if units.grouped else "images"
    most = f"{100 * (1 - demand.number):g} %"
    if met:
        return (
            f"Chosen on {count:,} normal {unit}, each scored by a model that had not learnt from it: {sure} at most "
            f"{1 - bound:.1%} of new normal images are flagged (asked: at most {most})."
        )
    needed = needed_for(demand.number)
    return (
        f"At most {most} false alarms cannot be promised {sure} on {count:,} normal {unit}, as it takes {needed:,} or "
        f"more. No such image is flagged at the threshold, which promises at most {1 - bound:.1%}."
    )
