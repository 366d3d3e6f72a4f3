"""Modules wired by name: what a model read from a file becomes, so that any of its layers can be explained."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import InputError
from ..models.further_graphs import root_sentence

# Values of one layer for one image; a network for classifying images stays a hundred times below.
LARGEST_OUTPUT = 2**27


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a module: the value that it gives, the module's name, and the values that it takes, in order."""

    value: str
    module: str
    inputs: tuple[str, ...]


class ModuleGraph(nn.Module):
    """Calls modules in order; each is a submodule under its own name, made fit for torch.

    `inputs` and `output` name values. `steps` are in an order in which they can run.
    """

    def __init__(
        self, inputs: Sequence[str], steps: Sequence[Step], output: str, modules: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.inputs, self.output = tuple(inputs), output
        attributes = {name: self._adopt(name, module) for name, module in modules.items()}
        self.steps = tuple(Step(s.value, attributes[s.module], s.inputs) for s in steps)
        used: set[str] = {output}
        self._done_with: list[tuple[str, ...]] = []
        for step in reversed(self.steps):
            self._done_with.append(tuple({v for v in step.inputs if v not in used}))
            used.update(step.inputs)
        self._done_with.reverse()

    def _adopt(self, name: str, module: nn.Module) -> str:
        attribute = re.sub(r"\W", "_", name) or "layer"
        while hasattr(self, attribute):
            attribute += "_"
        self.add_module(attribute, module)
        return attribute

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        values = dict(zip(self.inputs, inputs, strict=True))
        for step, done in zip(self.steps, self._done_with, strict=True):
            values[step.value] = self.get_submodule(step.module)(*(values[v] for v in step.inputs))
            for value in done:
                del values[value]
        return values[self.output]

    def last(self) -> Step | None:
        """The step that gives the output; None when the graph hands its input on."""
        return next((s for s in self.steps if s.value == self.output), None)

    def behind(self, value: str) -> Step | None:
        """The step that gives a value."""
        return next((s for s in self.steps if s.value == value), None)

    def replace(self, module: str, by: nn.Module) -> None:
        """Put another module in the place of one."""
        setattr(self, module, by)


def in_order(needs: Mapping[str, Sequence[str]], given: Sequence[str]) -> Iterator[str]:
    """The keys of `needs`, each after all that it needs (values of `given` are there from the start).

    Raises InputError for a circle, or when something needs what nothing gives.
    """
    ready, waiting = set(given), dict(needs)
    unknown = {n for wanted in needs.values() for n in wanted} - set(needs) - ready
    if unknown:
        raise InputError(f"The model's description is broken: nothing gives {sorted(unknown)[0]!r}. Save it again.")
    users: dict[str, list[str]] = {}
    open_needs = {key: len({n for n in wanted if n not in ready}) for key, wanted in waiting.items()}
    for key, wanted in waiting.items():
        for name in {n for n in wanted if n not in ready}:
            users.setdefault(name, []).append(key)
    line = [key for key, count in open_needs.items() if count == 0]
    done = 0
    while done < len(line):
        key = line[done]
        done += 1
        yield key
        for user in users.get(key, ()):
            open_needs[user] -= 1
            if open_needs[user] == 0:
                line.append(user)
    if done < len(waiting):
        raise InputError(
            "The model's description is broken: its layers wait for each other in a circle. Save it again."
        )


def check_sizes(model: nn.Module, channels: int, size: tuple[int, int]) -> None:
    """Run a model on torch's meta device, without any memory, and refuse what no image classifier would compute.

    Raises InputError for a layer whose output would be absurdly large, or whose inputs do not fit it.
    """
    shadow = copy.deepcopy(model).to("meta")
    place = ""

    def look(name: str) -> Callable[[nn.Module, object], None]:
        def before(module: nn.Module, inputs: object) -> None:
            nonlocal place
            place = name

        return before

    def measure(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.numel() > LARGEST_OUTPUT:
            raise InputError(
                f"Layer {place!r} would give {output.numel():,} values for one image of {size[0]} x {size[1]} pixels; "
                f"up to {LARGEST_OUTPUT:,} are accepted. Is `size=` right?"
            )

    for name, module in shadow.named_modules():
        if not isinstance(module, ModuleGraph):
            module.register_forward_pre_hook(look(name))
            module.register_forward_hook(measure)
    try:
        with torch.no_grad():
            shadow.eval()(torch.empty(1, channels, *size, device="meta"))
    except InputError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, OverflowError) as error:
        raise InputError(
            f"Layer {place!r} does not fit what comes before it, for images of {size[0]} x {size[1]} pixels: "
            f"{root_sentence(error)}. Give the size that the model was made for by `size=`."
        ) from error
