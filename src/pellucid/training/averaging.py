"""A running average of a module's weights, which often generalises better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class RunningAverage:
    """An exponential average over steps of what trains and of the statistics of normalisations.

    `average = decay * average + (1 - decay) * weights`, where the decay rises from 2/11 as (1 + n) / (10 + n) to its
    value, so that the first weights are soon forgotten. Reference: Polyak and Juditsky 1992; Tan and Le 2019.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._live = {k: v for k, v in module.state_dict(keep_vars=True).items() if v.is_floating_point()}
        self.values = {k: v.detach().clone() for k, v in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now, after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(self.values.values()), [v.detach() for v in self._live.values()], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module with the average for its weights, while open."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, live in self._live.items():
            kept = live.detach().clone()
            live.copy_(self.values[name])
            self.values[name].copy_(kept)
