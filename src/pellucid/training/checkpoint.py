"""The state of a training after an epoch, in one file: tensors by name, and the rest as JSON. Never a pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import InputError
from ..files import write_whole

VERSION = 1
Tensors = dict[str, torch.Tensor]


@dataclass
class State:
    """What a training needs to resume: tensors in named groups, and facts that JSON can hold."""

    facts: dict[str, Any]
    tensors: dict[str, Tensors] = field(default_factory=dict)


def write_state(path: Path, state: State) -> None:
    """Write a state whole or not at all, so that what is read is the last epoch that ended. Raises OSError."""
    flat = {f"{group}/{name}": _plain(v) for group, own in state.tensors.items() for name, v in own.items()}
    facts = {"version": VERSION, **state.facts}
    write_whole(path, save(flat, metadata={"state": json.dumps(facts)}))


def read_state(path: Path) -> State | None:
    """The state in a file, None without the file. Raises InputError for a file that is damaged or newer."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["state"])
            tensors: dict[str, Tensors] = {}
            for key in list(file.keys()):
                group, _, name = key.partition("/")
                tensors.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): remove its folder and train again.") from error
    if facts.pop("version") != VERSION:
        raise InputError(f"{path} is of another version of pellucid: finish with that version, or train again.")
    return State(facts, tensors)


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[Tensors, list[dict[str, Any]]]:
    """An optimiser's tensors, and its other values for each parameter."""
    tensors: Tensors = {}
    others: list[dict[str, Any]] = []
    for number, own in optimizer.state_dict()["state"].items():
        tensors |= {f"{number}.{k}": v for k, v in own.items() if isinstance(v, torch.Tensor)}
        others.append({"number": number, **{k: v for k, v in own.items() if not isinstance(v, torch.Tensor)}})
    return tensors, others


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors, others: list[dict[str, Any]]) -> None:
    """Put back what `optimizer_state` gave."""
    state: dict[int, dict[str, Any]] = {}
    for own in others:
        state[int(own["number"])] = {k: v for k, v in own.items() if k != "number"}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state[int(number)][name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    # Memory of its own: weights that are shared, or lie in another order of axes, cannot be written as they are.
    return tensor.detach().cpu().contiguous().clone()
