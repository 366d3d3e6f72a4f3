"""One process alone; what several do is in tests/workflow/test_processes.py, with two of them."""

import pytest
import torch
from torch import nn

from pellucid.training.processes import Processes, plain_batch_norm

CPU = torch.device("cpu")


def test_alone_everything_is_as_it_is(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone, module = Processes.join(CPU), nn.Linear(2, 2)
    assert alone.first
    assert alone.share == (0, 1)
    assert alone.shared(module) is module
    rows = torch.arange(6.0).reshape(3, 2)
    assert alone.gathered(rows, 3) is rows
    assert alone.total(rows) is rows
    with alone.first_before_others(), alone.without_exchange(module, last=False):
        alone.wait()


def test_shared_normalisations_become_plain_again():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3)))
    module(torch.randn(2, 3, 8, 8))
    module.eval()
    images = torch.randn(2, 3, 8, 8)
    wanted, weight = module(images), module[1].weight
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    assert isinstance(shared[2][0], nn.SyncBatchNorm)
    plain_batch_norm(shared)
    assert [type(m) for m in (shared[1], shared[2][0])] == [nn.BatchNorm2d, nn.BatchNorm2d]
    assert shared[1].weight is weight
    assert torch.equal(shared(images), wanted)
    assert not shared[1].training


def test_averaged_in_step_alone_is_nothing_to_do():
    module = nn.BatchNorm2d(2)
    module.running_mean.fill_(3)
    Processes(CPU).in_step(module)
    assert module.running_mean.tolist() == pytest.approx([3, 3])
