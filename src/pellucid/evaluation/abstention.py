"""Answers that may be withheld: the largest share of images that can be answered with a bounded error.

An image is answered when its answer is confident enough. How confident that is, is tested on validation images (Learn
then Test: Angelopoulos, Bates, Candès, Jordan, Lei, Ann. Appl. Stat. 19 (2025) 1641), from strict rules to looser ones.
A limit on one class's images can only get harder to keep as more answers are given, so that the tests end with the
first that fails, and no correction for their number is due. For all errors that need not be: a single error among the
most confident answers would end the tests. They then begin at three places with a third of the error probability each,
which a run of tests that reaches the next place takes with it (the fallback procedure: Wiens, Pharm. Stat. 2 (2003)
211). The rule of a test answers all images with a higher confidence than the image at a fixed place in the ranking.
Given that image these are independent of each other, so that the number of errors is binomial. With groups each counts
once, by the share of its answered images that is wrong.
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

from ..documents import FiniteDocument
from ..errors import InputError
from .intervals import LEVEL, Indices, Resampling, Values
from .risk import ROUNDING, p_value, upper_bound

Wrong = Literal["errors", "fn", "fp"]
Mask = npt.NDArray[np.bool_]
FORMS = "errors<=0.02, fn<=0.01 or fp<=0.05"
STEPS, STARTS = 50, 3
"""The number of rules tested, and of those at which tests begin. With more rules tests end early by chance."""


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """What is asked of the answers that are given: of `errors` all answers, of `fn` and `fp` one class's images."""

    text: str
    wrong: Wrong
    most: float


def parse_limit(text: str) -> ErrorLimit:
    """Read `errors<=0.02`, `fn<=0.01` or `fp<=0.05`; InputError for all else."""
    plain = re.sub(r"\s+", "", text.lower()).replace("≤", "<=")
    found = re.fullmatch(r"(errors?|fn|fp)<?=([0-9.e+-]+%?)", plain)
    wrong = InputError(f"The limit {text!r} for answers is not one: write {FORMS}.")
    if found is None:
        raise wrong
    try:
        most = float(found[2].rstrip("%")) / (100 if found[2].endswith("%") else 1)
    except ValueError:
        raise wrong from None
    if not 0 < most < 1:
        raise InputError(f"A limit for answers is a share between 0 and 1, not {found[2]}: write {FORMS}.")
    kind: Wrong = "errors" if found[1].startswith("error") else "fn" if found[1] == "fn" else "fp"
    return ErrorLimit(f"{kind}<={most:g}", kind, most)


class Abstention(FiniteDocument):
    """Which answers are given, and what is sure.

    An answer is given when its confidence is at least `least` (for `fn` this binds negative answers only, for `fp`
    positive ones). The confidence is the probability of the answer, or a regression's distance from the threshold.
    `least` is None where nothing can be promised, and no answer is given. With `confidence`, the rate `wrong` among
    given answers is at most `bound`. `answered` is the share of validation images that is answered, `images` (`groups`)
    how many were used, and `needed` the fewest from which the limit can be promised. `attainable` is, where nothing is
    promised, the lowest limit that would have been kept.
    """

    asked: str
    wrong: Wrong
    most: float = Field(gt=0, lt=1)
    confidence: float = Field(default=LEVEL, gt=0, lt=1)
    least: float | None
    answered: float = Field(ge=0, le=1)
    bound: float | None
    images: int
    groups: int | None = None
    needed: int
    attainable: float | None = None

    @property
    def met(self) -> bool:
        """Whether the limit is kept by answering at least some images."""
        return self.least is not None

    def gives(self, confidence: npt.ArrayLike, predicted: npt.ArrayLike) -> Mask:
        """Whether each answer (N,), a class index with its confidence, is given."""
        sure, answers = np.asarray(confidence, np.float64), np.asarray(predicted, np.int64)
        if self.least is None:
            return np.zeros(len(sure), bool)
        return (sure >= self.least) | ~_bound_by(self.wrong, answers)

    def gives_one(self, confidence: float, predicted: int) -> bool:
        """Whether one answer is given."""
        if self.least is None:
            return False
        return confidence >= self.least or (self.wrong != "errors" and predicted != (0 if self.wrong == "fn" else 1))


def _bound_by(wrong: Wrong, predicted: Indices) -> Mask:
    """Which answers the rule may withhold."""
    if wrong == "errors":
        return np.ones(len(predicted), bool)
    bound: Mask = predicted == (0 if wrong == "fn" else 1)
    return bound


def fit_abstention(
    asked: str,
    *,
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    confidence: npt.ArrayLike,
    groups: Sequence[str] = (),
    possible: npt.ArrayLike | None = None,
    level: float = LEVEL,
) -> Abstention:
    """Fit which answers may be given to validation images, so that the limit `asked` holds with probability `level`.

    `labels` and `predicted` (N,) are class indices, `confidence` (N,) says how sure each answer is. Images that are not
    `possible` (N,) to answer (unusual ones) do not count. `errors` is the share of wrong answers among those
    given; `fn` is the share of negative answers among the answered images of the positive class, which is class 1, and
    `fp` that of positive answers among the answered images of the negative class. Raises InputError for a limit that
    cannot be read or arrays that do not fit each other.
    """
    limit = parse_limit(asked)
    truth, said = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
    sure = np.asarray(confidence, np.float64)
    if not truth.shape == said.shape == sure.shape or truth.ndim != 1:
        raise InputError(f"There are {truth.shape} labels, {said.shape} answers and {sure.shape} confidences.")
    able = np.ones(len(truth), bool) if possible is None else np.asarray(possible, bool)
    units = Resampling.of(len(truth), groups, resamples=100, seed=0)
    judged = able & {"errors": np.ones(len(truth), bool), "fn": truth == 1, "fp": truth == 0}[limit.wrong]
    rising = limit.wrong != "errors"
    trial = _RuleTrial.of(judged, said != truth, _bound_by(limit.wrong, said), sure, units, rising)
    least, bound = trial.loosest(limit.most, level)
    found = Abstention(
        asked=limit.text,
        wrong=limit.wrong,
        most=limit.most,
        confidence=level,
        least=least,
        answered=0.0,
        bound=bound,
        images=int(judged.sum()),
        groups=units.units_among(judged) if units.grouped else None,
        needed=fewest(limit.most, 1 - level),
        attainable=None if least is not None else trial.attainable(level),
    )
    answered = float((found.gives(sure, said) & able).mean()) if len(truth) else 0.0
    return found.model_copy(update={"answered": answered})


@dataclass(frozen=True, slots=True)
class _RuleTrial:
    """Rules from the strictest to the loosest: answer from confidence `cuts` (T,) on.

    Of each the error rate `rates` (T,) of given answers among `counts` (T,) independent units: images, or groups. It
    can only rise where it is `monotone`.
    """

    cuts: Values
    rates: Values
    counts: Indices
    grouped: bool
    monotone: bool

    @classmethod
    def of(
        cls, judged: Mask, error: Mask, bound_by: Mask, sure: Values, units: Resampling, monotone: bool
    ) -> _RuleTrial:
        """Rules whose confidences lie just above that of images at fixed places of the ranking; the last has no limit.

        `judged` images count (N,), whose answer may be an `error`, and may be withheld if the rule is `bound_by` it.
        """
        ranked = np.sort(sure[judged & bound_by])[::-1]
        places = np.unique(np.linspace(0, len(ranked), STEPS + 1).astype(np.int64)[1:-1])[: len(ranked)]
        passed = ranked[places]
        next_above = np.nextafter(passed.astype(np.float32), np.float32(np.inf)).astype(np.float64)
        above = np.maximum(next_above, passed + ROUNDING * (1 - passed))
        cuts = np.array([*dict.fromkeys(above.tolist()), -np.inf])
        grouped = bool((np.bincount(units.unit_of[judged]) > 1).any())
        seen = [_seen(judged & ((sure >= cut) | ~bound_by), error, units, grouped) for cut in cuts]
        rates, counts = np.array([r for r, _ in seen]), np.array([n for _, n in seen], np.int64)
        return cls(cuts, rates, counts, grouped, monotone=monotone)

    def loosest(self, most: float, level: float) -> tuple[float | None, float | None]:
        """The lowest confidence at which the limit is still sure, and the bound there; None, None where it never is."""
        p = p_value(self.rates, self.counts, most, self.grouped)
        budget, kept = 0.0, None
        begin = self._starts(most, level)
        for place in range(len(self.cuts)):
            budget += begin.count(place) * (1 - level) / len(begin)
            if budget and p[place] <= budget and self.counts[place]:
                kept = place, budget
            else:
                budget = 0.0
        if kept is None:
            return None, None
        place, spent = kept
        bound = upper_bound(float(self.rates[place]), int(self.counts[place]), 1 - spent, grouped=self.grouped)
        return max(float(self.cuts[place]), 0.0), bound

    def _starts(self, most: float, level: float) -> list[int]:
        """The rules at which tests begin: the first, or those that answer some, more, and all images."""
        if self.monotone:
            return [0]
        whole, least = int(self.counts[-1]), fewest(most, (1 - level) / STARTS)
        if whole < least:
            return [len(self.cuts) - 1]
        wanted = (least, round(math.sqrt(least * whole)), whole)
        return [int(np.argmax(self.counts >= n)) for n in wanted]

    def attainable(self, level: float) -> float | None:
        """The lowest of some round limits that would be kept; None where none would."""
        for most in (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3):
            if self.loosest(most, level)[0] is not None:
                return most
        return None


def _seen(given: Mask, error: Mask, units: Resampling, grouped: bool) -> tuple[float, int]:
    """The error rate of the answers `given` (N,), and of how many independent units it is the mean."""
    if not grouped:
        count = int(given.sum())
        return (float((error & given).sum()) / count if count else 0.0), count
    sizes = np.bincount(units.unit_of[given], minlength=units.units)
    wrong = np.bincount(units.unit_of[given & error], minlength=units.units)
    held = sizes > 0
    return (float((wrong[held] / sizes[held]).mean()) if held.any() else 0.0), int(held.sum())


def fewest(most: float, budget: float) -> int:
    """How many images without an error make a limit sure but for the probability `budget`."""
    return math.ceil(math.log(budget) / math.log(1 - most) - 1e-9)
