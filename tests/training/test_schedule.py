"""The rate as a pure function, against torch's own schedulers, which keep a state."""

import math

import pytest
import torch

from pellucid.recipe_sections import TrainSection
from pellucid.training.schedule import Schedule, plateaus


def optimizer(rate=0.5):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate, momentum=0.9)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_plateau_is_torchs(mode, patience, seed):
    torch.manual_seed(seed)
    watched = (torch.rand(40).round(decimals=1) + 0.1).tolist()
    mine = optimizer(1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(mine, mode, factor=0.5, patience=patience)
    for epoch, value in enumerate(watched, 1):
        scheduler.step(value)
        found = 0.5 ** plateaus(watched[:epoch], patience, upwards=mode == "max")
        # torch does not lower a rate below its smallest change.
        assert found == pytest.approx(mine.param_groups[0]["lr"], abs=2e-8)


def test_a_cosine_is_torchs():
    mine = optimizer()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(mine, 30)
    schedule = Schedule(TrainSection(epochs=6, schedule="cosine", learning_rate=0.5), 5)
    for step in range(30):
        assert schedule.rate(step) == pytest.approx(mine.param_groups[0]["lr"])
        mine.step()
        scheduler.step()


def test_a_warm_up_rises_linearly_and_the_cosine_begins_behind_it():
    section = TrainSection(epochs=10, schedule="cosine", learning_rate=0.4, warmup=2)
    rates = [Schedule(section, 5).rate(step) for step in range(50)]
    assert rates[:10] == pytest.approx([0.04 * n for n in range(1, 11)])
    assert rates[10] == pytest.approx(0.4)
    assert rates[30] == pytest.approx(0.2)
    assert rates[49] == pytest.approx(0.2 * (1 + math.cos(math.pi * 39 / 40)))
    assert Schedule(section.model_copy(update={"schedule": "constant"}), 5).rate(40) == 0.4


def test_only_a_cycle_moves_the_momentum():
    assert Schedule(TrainSection(schedule="cosine"), 5).momentum(3) is None
    assert Schedule(TrainSection(schedule="one-cycle", optimizer="rmsprop"), 5).momentum(3) is None
    assert Schedule(TrainSection(schedule="one-cycle", epochs=4), 5).momentum(4) == pytest.approx(0.85)
