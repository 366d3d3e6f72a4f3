"""Integrated gradients: the difference in score between the image and a baseline, shared out over its pixels.

Sundararajan et al. 2017, arXiv:1703.01365.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..classifier import selected_targets
from ..preprocessing import FloatArray
from .cost import BACKWARD, Cost
from .gradients import GradientSettings, Sloped, explain_each_gradient
from .maps import Answer, scores_of_logits
from .masking import check_at_least
from .replacement import check_replacement, replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegratedGradientsSettings(GradientSettings):
    """The path and how finely it is followed.

    `baseline` is where the straight path to the image begins: blur, mean, grey, noise or black (see replacement.py);
    `seed` is the noise's. The path is cut into more and more steps, `steps` at most, until the map's sum is within
    `error` (a share) of the difference in score.
    """

    baseline: str = "blur"
    steps: int = 256
    error: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        GradientSettings.__post_init__(self)
        check_replacement(self.baseline)
        check_at_least("steps", self.steps, 1)
        check_at_least("error", self.error, 0)
        check_at_least("seed", self.seed, 0)


def ladder(steps: int) -> list[int]:
    """Numbers of steps to try, each twice the one before and none above `steps`, from 16 or somewhat fewer."""
    first = steps
    while first > 16:
        first //= 2
    found = [first]
    while 2 * found[-1] <= steps:
        found.append(2 * found[-1])
    return found


def cost_of(settings: IntegratedGradientsSettings, size: tuple[int, int]) -> Cost:
    """One pass for the answer, and one with gradients for each point of the finest path, both ends included."""
    return Cost(1 + BACKWARD * (ladder(settings.steps)[-1] + 1), at_most=True)


class Path:
    """The straight path from a baseline (3, h, w) to the image, for targets that share its points.

    `sums` (T, 3, h, w) are of the gradients at all points so far, those at the two ends counting half: the trapezoid
    rule. `scores` (2, T) are those of the ends.
    """

    def __init__(self, subject: Sloped, baseline: FloatArray) -> None:
        self._subject, self._baseline = subject, baseline
        self._way = subject.image - baseline
        self.targets = list(range(len(subject.targets)))
        able = subject.classifier
        ends = subject.ask(np.stack([baseline, subject.image]), subject.targets)
        rows, contrast, _ = selected_targets(able.classes, able.task, 2, subject.targets, subject.score)
        self.scores = scores_of_logits(ends.logits, rows, contrast)
        self._sums = ends.gradients.mean(axis=0)

    def visit(self, shares: FloatArray) -> None:
        """Add the gradients at shares (n,) of the way."""
        names = tuple(self._subject.targets[t] for t in self.targets)
        step = self._subject.at_a_time(len(names))
        for start in range(0, len(shares), step):
            pictures = self._baseline + shares[start : start + step, None, None, None] * self._way
            self._sums[self.targets] += self._subject.ask(pictures, names).gradients.sum(axis=0)

    def map(self, target: int, steps: int) -> FloatArray:
        """The map (h, w) of a target after a number of steps."""
        values: FloatArray = (self._sums[target] / steps * self._way).sum(axis=0)
        return values


def explain_one(subject: Sloped, settings: IntegratedGradientsSettings) -> Answer:
    """Map (T, h, w) of one image; its sum is the score minus the baseline's (completeness, proposition 1 of the paper).

    Halving the steps reuses the existing points. Each target has as many steps as it needs, so that its map is the same
    alone and with other targets. The remark has the completeness error as a share of the score difference.
    """
    preprocessing = subject.classifier.preprocessing
    baseline = replaced(subject.image[None], preprocessing, settings.baseline, settings.seed)[0]
    path = Path(subject, baseline)
    values = np.zeros((len(subject.targets), *subject.image.shape[1:]), np.float32)
    remarks: dict[str, dict[str, Any]] = {}
    known = 1
    for steps in ladder(settings.steps):
        path.visit(np.array([k / steps for k in range(1, steps) if k * known % steps], np.float32))
        known = steps
        for t in list(path.targets):
            values[t] = path.map(t, steps)
            difference = float(path.scores[1, t]) - float(path.scores[0, t])
            gap = abs(float(values[t].sum(dtype=np.float64)) - difference)
            share = gap / max(abs(difference), float(np.finfo(np.float32).tiny))
            complete = share <= settings.error
            remarks[subject.targets[t]] = {
                "steps_used": steps,
                "score_difference": float(f"{difference:.6g}"),
                "completeness_error": float(f"{share:.3g}"),
                "stopped_by": "complete" if complete else "budget",
            }
            if complete:
                path.targets.remove(t)
        if not path.targets:
            break
    return values, {"targets": remarks}


integrated_gradients = explain_each_gradient(explain_one, "integrated-gradients")
