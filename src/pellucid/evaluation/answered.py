"""What the rules of answering give on labelled images: coverage, set sizes, how much is answered, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..classifier import Task
from ..documents import FiniteDocument
from ..preprocessing import FloatArray
from .abstention import Abstention
from .answering import AnsweringRules, confidences
from .conformal import Members, covered
from .intervals import Indices, Resampling, Values, percentiles, wilson

CURVE_POINTS = 50
Kept = Literal["yes", "perhaps", "no"]


class ShareEntry(FiniteDocument):
    """A share with its 95 % interval, of `images`; null where it is of none."""

    value: float | None
    low: float | None
    high: float | None
    images: int


class CoverageEntry(FiniteDocument):
    """How often prediction sets (or intervals) hold the truth, against the `promised` share.

    `by_class` and `by_subgroup` are of the images of each; in `of_groups` each group, such as a patient, counts once
    (null without groups). `sizes` counts images by the number of classes in their set, and `mean_size` is the mean, or
    the mean width of an interval. `kept` says whether the promise is seen to hold: `perhaps` where chance can explain
    that it is not.
    """

    promised: float
    overall: ShareEntry
    of_groups: ShareEntry | None
    by_class: dict[str, ShareEntry]
    by_subgroup: dict[str, ShareEntry]
    sizes: dict[str, int]
    mean_size: float
    kept: Kept


class GivenEntry(FiniteDocument):
    """Which answers are given, and how many of these are wrong, against the limit `asked` of `wrong`.

    `answered`, `none` and `referred` are shares of all images. `curve` has points (share answered, error among these)
    as ever less sure answers are given; `chosen` is the point of the rule, null where nothing is answered.
    """

    answered: ShareEntry
    none: ShareEntry
    referred: ShareEntry
    asked: str | None
    wrong: Literal["errors", "fn", "fp"]
    error: ShareEntry
    kept: Kept
    curve: tuple[tuple[float, float], ...]
    chosen: tuple[float, float] | None


class AnsweringEntry(FiniteDocument):
    """What the rules of answering give; `coverage` is null without prediction sets or intervals."""

    coverage: CoverageEntry | None
    given: GivenEntry


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """The document, and of each image what became of it (N,), as `OUTCOMES` orders them, and its set (N, K), if any."""

    entry: AnsweringEntry
    outcomes: Indices
    members: Members | None


def judge_answers(
    rules: AnsweringRules,
    *,
    task: Task,
    classes: Sequence[str],
    labels: Indices,
    predicted: Indices,
    scores: FloatArray,
    threshold: float,
    outside: npt.NDArray[np.floating] | None = None,
    groups: Sequence[str] = (),
    subgroups: Sequence[str] = (),
) -> JudgedAnswers:
    """Judge rules on N images with `labels` and `predicted` (N,), and probabilities (N, K) or outputs (N, 1) `scores`.

    Intervals are Wilson's, over groups where there are any the bootstrap's.
    """
    sure = confidences(task, scores, predicted, threshold)
    far = None if outside is None else np.asarray(outside, np.float64)
    outcomes = rules.withheld(sure, predicted, far)
    judge = _Judge(labels, Resampling.of(len(labels), groups, resamples=1000, seed=0))
    members = rules.sets.members(scores) if rules.sets is not None and task != "regression" else None
    coverage = _coverage(rules, judge, classes, members, _ends(rules, scores, far), subgroups)
    entry = AnsweringEntry(coverage=coverage, given=_given(rules.abstention, judge, predicted, sure, outcomes))
    return JudgedAnswers(entry, outcomes, members)


@dataclass(frozen=True, slots=True)
class _Judge:
    labels: Indices
    units: Resampling

    def rate(self, marked: Members, among: Members | None = None) -> ShareEntry:
        """The share of images marked (N,) `among` some (N,), with its interval."""
        base = np.ones(len(self.labels), bool) if among is None else among
        n = int(base.sum())
        if not n:
            return ShareEntry(value=None, low=None, high=None, images=0)
        value = float(marked[base].mean())
        units = self.units.units_among(base)
        if not self.units.grouped or value in (0, 1) or units < 2:
            low, high = wilson(value * units, units)
        else:
            both = (marked & base).astype(float), base.astype(float)
            drawn = [(both[0] @ w, both[1] @ w) for w in self.units.weights()]
            with np.errstate(invalid="ignore", divide="ignore"):
                bounds = percentiles(np.concatenate([a / b for a, b in drawn])[None])
            low, high = float(bounds[0][0]), float(bounds[1][0])
        return ShareEntry(value=value, low=low, high=high, images=n)

    def by_group(self, marked: Members) -> ShareEntry | None:
        """The same where each group counts once, by the share of its images."""
        if not self.units.grouped:
            return None
        shares = np.bincount(self.units.unit_of, marked) / np.bincount(self.units.unit_of)
        if shares.min() == shares.max() and shares[0] in (0, 1):
            # No resample differs: Wilson's interval over groups shows how little few groups say.
            ends = wilson(float(shares.sum()), len(shares))
            return ShareEntry(value=float(shares[0]), low=ends[0], high=ends[1], images=len(self.labels))
        rng = np.random.default_rng(0)
        drawn = shares[rng.integers(0, len(shares), (1000, len(shares)))].mean(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        return ShareEntry(value=float(shares.mean()), low=float(low), high=float(high), images=len(self.labels))


def _coverage(
    rules: AnsweringRules,
    judge: _Judge,
    classes: Sequence[str],
    members: Members | None,
    ends: tuple[Values, Values] | None,
    subgroups: Sequence[str],
) -> CoverageEntry | None:
    if members is not None and rules.sets is not None:
        inside, sizes, promised = covered(members, judge.labels), members.sum(axis=1), rules.sets.coverage
        counts = {str(k): int(n) for k, n in enumerate(np.bincount(sizes, minlength=len(classes) + 1)) if k or n}
    elif rules.interval is not None and ends is not None:
        low, high = ends
        inside, sizes, promised = (low <= judge.labels) & (judge.labels <= high), high - low, rules.interval.coverage
        counts = {}
    else:
        return None
    named = np.array(subgroups) if len(subgroups) else np.full(len(judge.labels), "")
    overall, of_groups = judge.rate(inside), judge.by_group(inside)
    return CoverageEntry(
        promised=promised,
        overall=overall,
        of_groups=of_groups,
        by_class={c: judge.rate(inside, judge.labels == k) for k, c in enumerate(classes)},
        by_subgroup={str(n): judge.rate(inside, named == n) for n in np.unique(named) if n},
        sizes=counts,
        mean_size=float(np.mean(sizes)),
        kept=_kept(of_groups or overall, at_least=promised),
    )


def _ends(rules: AnsweringRules, scores: FloatArray, outside: Values | None) -> tuple[Values, Values] | None:
    """Both ends (N,) of the intervals of a regression's outputs (N, 1); None without such a rule."""
    return None if rules.interval is None else rules.interval.around(scores[:, 0], outside)


def _given(rule: Abstention | None, judge: _Judge, predicted: Indices, sure: Values, outcomes: Indices) -> GivenEntry:
    wrong = "errors" if rule is None else rule.wrong
    concerned = {"errors": judge.labels >= 0, "fn": judge.labels == 1, "fp": judge.labels == 0}[wrong]
    given, error = outcomes == 0, predicted != judge.labels
    rate = judge.rate(error, given & concerned)
    answered = judge.rate(given)
    return GivenEntry(
        answered=answered,
        none=judge.rate(outcomes == 1),
        referred=judge.rate(outcomes == 2),
        asked=None if rule is None else rule.asked,
        wrong=wrong,
        error=rate,
        kept="yes" if rule is None else _kept(rate, at_most=rule.most),
        curve=_curve(sure, error, outcomes != 1),
        chosen=None if rate.value is None else (answered.value or 0.0, float(error[given].mean())),
    )


def _kept(rate: ShareEntry, *, at_least: float = 0.0, at_most: float = 1.0) -> Kept:
    """Whether a rate is within what was promised: `perhaps` where only its interval reaches that."""
    if rate.value is None or rate.low is None or rate.high is None or at_least <= rate.value <= at_most:
        return "yes"
    return "perhaps" if rate.high >= at_least and rate.low <= at_most else "no"


def _curve(sure: Values, error: Members, possible: Members) -> tuple[tuple[float, float], ...]:
    """Points (share answered, error among these), the most confident answers first."""
    order = np.argsort(-sure[possible], kind="stable")
    if not len(order):
        return ()
    rates = np.cumsum(error[possible][order]) / np.arange(1, len(order) + 1)
    places = np.unique(np.linspace(0, len(order) - 1, CURVE_POINTS).round().astype(int))
    return tuple((float((p + 1) / len(sure)), float(rates[p])) for p in places)
