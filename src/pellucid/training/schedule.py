"""The learning rate as a function of the step and of what has happened: there is no state to be saved or lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..recipe_sections import TrainSection
from .history import LARGER_IS_BETTER

# As torch's ReduceLROnPlateau: a change of less than this share is none.
NOTABLE = 1e-4
MOMENTUM = (0.95, 0.85)
SHORTEST_CYCLE = 8


@dataclass(frozen=True, slots=True)
class Schedule:
    """Rate and momentum of each step, counted from 0, in a training of `section.epochs` epochs of `steps` each.

    One cycle (Smith and Topin 2018, arXiv:1708.07120) takes a quarter of the steps from 1/25 of the rate up to it and
    the rest down to 1/250,000, both along a cosine, with the momentum the other way between 0.95 and 0.85; a training
    of fewer than 8 steps keeps its rate instead. A cosine falls to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983).
    """

    section: TrainSection
    steps: int

    def rate(self, step: int, watched: Sequence[float] = ()) -> float:
        """The rate of a step; `watched` are the monitored values of the epochs before it, for a plateau."""
        section = self.section
        rise = min(1.0, (step + 1) / max(1.0, section.warmup * self.steps))
        return section.learning_rate * rise * self._shape(step, watched)

    def momentum(self, step: int) -> float | None:
        """The momentum (Adam's first beta) of a step, where the schedule decides it."""
        if not self._cycles or self.section.optimizer == "rmsprop":
            return None
        high, low = MOMENTUM
        return self._cycle(step, high, low, high)

    @property
    def _total(self) -> int:
        return self.section.epochs * self.steps

    @property
    def _cycles(self) -> bool:
        return self.section.schedule == "one-cycle" and self._total >= SHORTEST_CYCLE

    def _shape(self, step: int, watched: Sequence[float]) -> float:
        section = self.section
        if section.schedule == "plateau":
            upwards = section.monitor in LARGER_IS_BETTER
            return section.plateau_factor ** plateaus(watched, section.plateau_patience, upwards=upwards)
        if section.schedule == "cosine":
            begin = section.warmup * self.steps
            done = max(0.0, step - begin) / max(1.0, self._total - begin)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self._cycle(step, 1 / 25, 1.0, 1 / 250_000) if self._cycles else 1.0

    def _cycle(self, step: int, start: float, top: float, end: float) -> float:
        peak, last = 0.25 * self._total - 1, self._total - 1
        if step <= peak:
            return _between(start, top, step / peak)
        return _between(top, end, (step - peak) / (last - peak))


def plateaus(watched: Sequence[float], patience: int, *, upwards: bool) -> int:
    """How often a sequence of epochs went more than `patience` epochs without a notable improvement."""
    best, bad, found = -math.inf if upwards else math.inf, 0, 0
    for value in watched:
        better = value > best * (1 + NOTABLE) if upwards else value < best * (1 - NOTABLE)
        best, bad = (value, 0) if better or math.isinf(best) else (best, bad + 1)
        if bad > patience:
            found, bad = found + 1, 0
    return found


def _between(a: float, b: float, share: float) -> float:
    return b + (a - b) / 2 * (1 + math.cos(math.pi * share))
