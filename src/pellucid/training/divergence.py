"""A learning rate that is too high: the training loss grows tenfold, or far above that of guessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..classifier import Task
from ..recipe_sections import TrainSection

GROWN = 10.0
"""A loss has grown when it exceeds its reference by this factor."""


def guessing_loss(section: TrainSection, task: Task, classes: int) -> float:
    """The loss of a model that gives every class the same probability, or every image the score 0.5."""
    if task == "regression":
        return 0.25 if section.loss == "mse" else 0.5
    return math.log(classes)


def grown(rows: Sequence[Mapping[str, float]], guessing: float) -> Mapping[str, float] | None:
    """The epoch in which the training loss was largest, where it grew tenfold; None where it did not.

    It grew when it is ten times that of guessing, or ten times the lowest of the epochs before and above that of
    guessing. An epoch with a loss that is not a number is never among the rows.
    """
    lowest = math.inf
    worst: Mapping[str, float] | None = None
    for row in rows:
        loss = row["train_loss"]
        if loss > GROWN * guessing or (loss > GROWN * lowest and loss > guessing):
            worst = row if worst is None or loss > worst["train_loss"] else worst
        lowest = min(lowest, loss)
    return worst
