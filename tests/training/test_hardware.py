"""Which device, and in which precision a forward pass runs on it."""

import pytest
import torch

from pellucid.training import hardware
from pellucid.training.hardware import autocast, denormals_as_zero, describe, fast_bf16, pick_device, seed_torch

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, cuda, mps, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device() == torch.device(wanted)


@pytest.mark.parametrize(
    ("precision", "fast", "wanted"),
    [
        ("float32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_the_precision_of_a_product(monkeypatch, precision, fast, wanted):
    monkeypatch.setattr(hardware, "fast_bf16", lambda device: fast)
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == wanted


def test_bf16_is_fast_on_a_cpu_that_multiplies_it(monkeypatch):
    kinds = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    for tiles, vectors in ((False, False), (True, False), (False, True)):
        for kind, there in zip(kinds, (tiles, vectors), strict=True):
            monkeypatch.setattr(torch.cpu, kind, lambda there=there: there, raising=False)
        assert fast_bf16(CPU) == (tiles or vectors)
    for kind in kinds:
        monkeypatch.delattr(torch.cpu, kind)
    assert not fast_bf16(CPU)
    assert not fast_bf16(torch.device("mps"))


def test_a_cpu_in_words():
    assert describe(CPU) == f"cpu, {torch.get_num_threads()} threads"


def test_a_seed_decides_initial_weights():
    def weights(seed):
        seed_torch(seed)
        return torch.nn.Linear(3, 3).weight

    assert (weights(3) == weights(3)).all()
    assert not (weights(3) == weights(4)).any()


def test_denormal_numbers_count_as_zero_only_while_asked():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor has no such mode")
    tiny = torch.tensor([1e-39])
    with denormals_as_zero():
        assert float(tiny * 0.5) == 0
    assert float(tiny * 0.5) > 0
