"""Evidence at several layers from one pass: for methods that combine maps of several depths.

The part before the first of the layers runs once for all targets. Behind it, one pass back gives the gradients at every
layer on its way, so that several layers cost what the first one alone would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from ..errors import InputError
from .evidence_graph import EVIDENCE_AXES, NO_FEATURE_MAP, question, repeated, score_weights, traced
from .layout import Grids, Layout

LayeredFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class _OnTheWay:
    """A layer's tensor on the way to the answer, which the gradient is asked for, and its layout."""

    tensor: torch.Tensor
    layout: Layout


def layered_function(model: nn.Module, layers: Sequence[nn.Module], *, from_image: bool = False) -> LayeredFunction:
    """The function (image, target, contrast) -> (logits, A of the first layer, its G, A of the second, ...).

    As `evidence_function`, for layers that are given from front to back. Everything must pass the first one. With
    `from_image` what lies before it runs for each target too: what lies behind may then take the number of images
    from anywhere.
    """

    def evidence(image: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images, targets = target.shape[0], target.shape[1]
        if from_image:
            image = repeated(image, targets)
        with torch.enable_grad(), _watched(model, layers, image, None if from_image else targets) as passed:
            every = model(image)
        if len(passed) < len(layers):
            raise InputError("A layer takes no part in the answer; choose others.")
        logits = every.reshape(images, targets, every.shape[1])[:, 0]
        cotangent = score_weights(logits.detach(), target, contrast)
        found = [passed[id(layer)] for layer in layers]
        gradients = torch.autograd.grad((every * cotangent.flatten(0, 1)).sum(), [p.tensor for p in found])
        outputs = [logits]
        for own, gradient in zip(found, gradients, strict=True):
            for values in (own.tensor.detach(), gradient):
                maps = own.layout.maps(values)
                outputs.append(maps.reshape(images, targets, *maps.shape[1:]))
        # Each image's activations are the same for all of its targets.
        return tuple(o[:, 0].clone() if i % 2 else o for i, o in enumerate(outputs))

    return evidence


@contextmanager
def _watched(
    model: nn.Module, layers: Sequence[nn.Module], image: torch.Tensor, targets: Any
) -> Iterator[dict[int, _OnTheWay]]:
    """While open, the first layer's output is a leaf, and those of the others are noted.

    The leaf is repeated for each of the `targets`; None means that it has been before.
    """
    passed: dict[int, _OnTheWay] = {}
    grids = Grids(model, image.shape[2:])

    def note(module: nn.Module, inputs: Any, output: Any) -> Any:
        layout = grids.layout(output)
        if layout is None or layout.element is not None:
            raise InputError(NO_FEATURE_MAP)
        if id(module) in passed:
            raise InputError("A layer is used more than once in a pass; choose others.")
        tensor = output
        if not passed:
            leaf = output.detach()
            tensor = (leaf.clone() if targets is None else repeated(leaf, targets)).requires_grad_(True)
        passed[id(module)] = _OnTheWay(tensor, layout)
        # Cloned, so that an in-place activation behind the layer cannot change what is reported.
        return tensor.clone()

    handles = []
    with grids.watching(model):
        try:
            handles += [layer.register_forward_hook(note) for layer in layers]
            yield passed
        finally:
            for handle in handles:
                handle.remove()


def shares_the_front(model: nn.Module, layers: Sequence[nn.Module], size: tuple[int, int], logits: int) -> bool:
    """Whether what lies before the first layer may run once for all targets; the rest of some networks refuses that.

    A model that reads the number of images off its input, and shapes a later tensor by it, needs `from_image`.
    """
    try:
        layered_function(model, layers)(*(t.to(_device(model)) for t in question(2, 2, size, logits)))
    except RuntimeError:
        return False
    return True


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def trace_layered(
    model: nn.Module, layers: Sequence[nn.Module], size: tuple[int, int], logits: int, *, from_image: bool = False
) -> tuple[GraphModule, tuple[torch.Tensor, ...]]:
    """Trace `layered_function`, as `trace_evidence` does its function."""
    example = question(3, 2, size, logits)
    return traced(layered_function(model, layers, from_image=from_image), example, EVIDENCE_AXES), example
