"""When a loss counts as grown tenfold."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.recipe_sections import TrainSection
from pellucid.training.divergence import grown, guessing_loss
from pellucid.training.objective import loss_function


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        ([0.7, 0.5, 0.3], None),
        ([0.7, 40.0, 900.0, 0.7], 3),  # up and back: all units are dead
        ([9.0, 0.7, 0.6], 1),  # at once
        ([0.01, 0.0001, 0.02], None),  # still far better than guessing
        ([0.05, 0.04, 0.9], 3),  # a good start is lost: fine-tuning at too high a rate
        ([0.2, 0.1, 0.71], None),  # seven times is not ten
    ],
)
def test_the_epoch_of_the_largest_loss(losses: list[float], epoch: int | None) -> None:
    rows = [{"epoch": i, "train_loss": loss, "learning_rate": 0.1} for i, loss in enumerate(losses, 1)]
    found = grown(rows, math.log(2))
    assert (found and found["epoch"]) == epoch


@pytest.mark.parametrize(
    ("task", "loss", "classes"),
    [("binary", "auto", 2), ("multiclass", "auto", 5), ("regression", "auto", 2), ("regression", "mse", 2)],
)
def test_the_loss_of_guessing_is_that_of_the_loss_function(task: str, loss: str, classes: int) -> None:
    section = TrainSection(loss=loss)  # type: ignore[arg-type]
    logits = torch.full((10, 1), 0.5) if task == "regression" else torch.zeros(10, 1 if classes == 2 else classes)
    found = loss_function(section, task)(logits, torch.arange(10) % classes)  # type: ignore[arg-type]
    assert guessing_loss(section, task, classes) == pytest.approx(float(found))  # type: ignore[arg-type]
