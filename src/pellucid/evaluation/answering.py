"""What is done with an answer: prediction sets, answers withheld, and images outside all classes.

`AnsweringRules` are fitted on validation images and kept in the bundle's manifest; `decide` applies them to one image,
and `outcomes` to many. Nothing else decides whether an answer is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..classifier import NONE_OF_THESE, REFER, Decision, Outcome, Reason, Task, gives_score
from ..documents import FiniteDocument
from ..preprocessing import FloatArray
from .abstention import Abstention
from .conformal import ClassSets, Members, ScoreInterval
from .intervals import Indices, Values

Reject = Literal["none", "unlike"]
UNLIKE = 1.0
"""The outside score above which an image is unusual: it does not resemble the training images."""


class AnsweringRules(FiniteDocument):
    """The rules of a bundle; each is None, or `none`, where the model has no such rule.

    `sets` makes prediction sets of a classification, `interval` intervals of a regression, `abstention` says which
    answers are given. With `reject` `unlike`, an unusual image is none of the classes. `subgroup` is a
    regular expression that finds the subgroup of an image in its path, for which coverage is reported.
    """

    sets: ClassSets | None = None
    interval: ScoreInterval | None = None
    abstention: Abstention | None = None
    reject: Reject = "none"
    subgroup: str = ""

    def withheld(self, confidence: Values, predicted: Indices, outside: Values | None) -> npt.NDArray[np.int64]:
        """What becomes of N answers: 0 for one that is given, 1 for none of these, 2 for one to refer.

        `confidence` and `predicted` (N,) as `Abstention.gives` takes them, `outside` (N,) outside scores if known.
        """
        found = np.zeros(len(predicted), np.int64)
        if self.abstention is not None:
            found[~self.abstention.gives(confidence, predicted)] = 2
        if self.reject == "unlike" and outside is not None:
            found[np.asarray(outside) > UNLIKE] = 1
        return found

    def outcome(self, confidence: float, predicted: int, outside: float | None) -> Outcome:
        """The same of one answer, without arrays, which would take longer than all else."""
        if self.reject == "unlike" and outside is not None and outside > UNLIKE:
            return "none"
        if self.abstention is not None and not self.abstention.gives_one(confidence, predicted):
            return "refer"
        return "answer"


OUTCOMES: tuple[Outcome, ...] = ("answer", "none", "refer")
NO_RULES = AnsweringRules()


def confidences(task: Task, scores: FloatArray, predicted: Indices, threshold: float) -> Values:
    """How sure each answer (N,) is: the probability of the class, or a regression's distance from its threshold.

    `scores` are probabilities (N, K), or the outputs (N, 1) of a regression.
    """
    if gives_score(task):
        far: Values = np.abs(scores[:, 0].astype(np.float64) - threshold)
        return far
    sure: Values = scores[np.arange(len(predicted)), predicted].astype(np.float64)
    return sure


def decide(
    rules: AnsweringRules | None,
    *,
    task: Task,
    classes: Sequence[str],
    scores: FloatArray,
    predicted: int,
    threshold: float,
    outside: float | None = None,
) -> Decision:
    """What becomes of one image with `scores` (K,), or (1,) for a regression, and the class index `predicted`.

    Without `rules` every image is answered. `outside` is its outside score, where that is known.
    """
    given = NO_RULES if rules is None else rules
    values = scores.tolist()
    sure = abs(values[0] - threshold) if gives_score(task) else values[predicted]
    outcome = given.outcome(sure, predicted, outside)
    named = classes[predicted]
    inside = _candidates(given.sets, classes, scores) if not gives_score(task) else None
    interval = None
    if given.interval is not None and task == "regression":
        low, high = given.interval.around(scores, None if outside is None else np.array([outside]))
        interval = float(low[0]), float(high[0])
    rule = given.sets or given.interval
    return Decision(
        outcome=outcome,
        label={"answer": named, "none": NONE_OF_THESE, "refer": REFER}[outcome],
        predicted=named,
        candidates=inside,
        interval=interval,
        coverage=None if rule is None else rule.coverage,
        probabilities={} if gives_score(task) else dict(zip(classes, values, strict=True)),
        threshold=None if task == "multiclass" else threshold,
        reasons=_reasons(given, outcome, sure, outside),
    )


def _candidates(sets: ClassSets | None, classes: Sequence[str], scores: FloatArray) -> tuple[str, ...] | None:
    """The set of one image, the most probable class first."""
    if sets is None:
        return None
    inside: Members = sets.members(scores[None])[0]
    return tuple(classes[k] for k in np.argsort(-scores, kind="stable") if inside[k])


def _reasons(rules: AnsweringRules, outcome: Outcome, sure: float, outside: float | None) -> tuple[Reason, ...]:
    if outcome == "none":
        return (Reason("unlike", outside, UNLIKE),)
    if outcome == "answer" or rules.abstention is None:
        return ()
    if rules.abstention.least is None:
        return (Reason("unpromised", None, rules.abstention.most),)
    return (Reason("unsure", sure, rules.abstention.least),)
