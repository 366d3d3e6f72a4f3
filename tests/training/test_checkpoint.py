"""A state on disk: whole or not at all, tensors and JSON."""

import pytest
import torch
from safetensors.torch import save_file

from pellucid.errors import InputError
from pellucid.training.checkpoint import State, optimizer_state, read_state, restore_optimizer, write_state


def test_what_is_written_is_read(tmp_path):
    shared = torch.randn(3, 4)
    state = State(
        {"rows": [{"epoch": 1, "loss": 0.1 + 0.2}], "ended": ""},
        {"a": {"x": shared, "y/z": shared.T, "n": torch.tensor(3)}, "b": {"x": torch.zeros(2).bfloat16()}},
    )
    write_state(tmp_path / "state", state)
    found = read_state(tmp_path / "state")
    assert found.facts == state.facts
    for group, own in state.tensors.items():
        assert own.keys() == found.tensors[group].keys()
        assert all(torch.equal(own[k], found.tensors[group][k]) for k in own)
    assert [f.name for f in tmp_path.iterdir()] == ["state"]
    assert read_state(tmp_path / "none") is None


@pytest.mark.parametrize("kind", ["adam", "sgd", "rmsprop", "adamw"])
def test_an_optimizer_goes_on_as_it_would_have(tmp_path, kind):
    classes = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    classes["adamw"] = torch.optim.AdamW

    def made():
        weight = torch.nn.Parameter(torch.ones(3))
        options = {"momentum": 0.9} if kind == "sgd" else {}
        return weight, classes[kind]([weight], lr=0.1, **options)

    def step(weight, optimizer, number):
        weight.grad = torch.tensor([1.0, -2.0, 0.5]) * number
        optimizer.step()

    weight, optimizer = made()
    for number in range(1, 4):
        step(weight, optimizer, number)
    tensors, others = optimizer_state(optimizer)
    write_state(tmp_path / "state", State({"others": others}, {"o": tensors, "w": {"w": weight}}))
    found = read_state(tmp_path / "state")
    other, again = made()
    with torch.no_grad():
        other.copy_(found.tensors["w"]["w"])
    restore_optimizer(again, found.tensors["o"], found.facts["others"])
    for number in range(4, 7):
        step(weight, optimizer, number)
        step(other, again, number)
    assert torch.equal(weight, other)


def test_another_version_and_another_file_are_refused(tmp_path):
    save_file({"a/x": torch.zeros(1)}, tmp_path / "newer", metadata={"state": '{"version": 2}'})
    with pytest.raises(InputError, match="another version"):
        read_state(tmp_path / "newer")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(InputError, match="is damaged"):
        read_state(tmp_path / "other")
