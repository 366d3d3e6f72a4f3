"""A layer of a network with its evidence graph, and what a manifest says of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import GraphModule

from ..bundle.manifest import Layer
from .evidence_graph import trace_evidence
from .geometry import grid_geometry
from .layer_choice import LEAST_LAYERED
from .layered_graph import shares_the_front, trace_layered
from .layers import find_layer, keras_names


@dataclass(frozen=True)
class TracedLayer:
    """`graph` is that of `trace_evidence`, `example` its inputs and `activations` what it gives for them."""

    graph: GraphModule
    example: tuple[torch.Tensor, ...]
    activations: torch.Tensor
    layer: Layer


@dataclass(frozen=True)
class TracedLayers:
    """`graph` is that of `trace_layered`, `example` its inputs; `layers` are in the order of its outputs."""

    graph: GraphModule
    example: tuple[torch.Tensor, ...]
    layers: tuple[Layer, ...]


def trace_layer(frozen: nn.Module, name: str, size: tuple[int, int], logits: int) -> TracedLayer:
    """Trace a layer of a frozen network (see `frozen_copy`) for inputs of `size`; raises what `trace_evidence` does."""
    full = find_layer(frozen, name)
    graph, example = trace_evidence(frozen, frozen.get_submodule(full), size, logits)
    _, activations, _ = graph(*example)
    return TracedLayer(graph, example, activations, _described(frozen, full, graph, activations, size, 1))


def trace_layers(frozen: nn.Module, names: Sequence[str], size: tuple[int, int], logits: int) -> TracedLayers:
    """Trace several layers of a frozen network in one graph; `names` are full ones, from front to back.

    First ones are left out where the rest of the network does not run for several targets, because it takes the number
    of images from further in front. Where fewer than two are left, all are kept, and the whole network runs for each
    target.
    """
    names, from_image = _going_on(frozen, names, size, logits)
    modules = [frozen.get_submodule(name) for name in names]
    graph, example = trace_layered(frozen, modules, size, logits, from_image=from_image)
    outputs = graph(*example)
    layers = tuple(_described(frozen, name, graph, outputs[1 + 2 * i], size, 1 + 2 * i) for i, name in enumerate(names))
    return TracedLayers(graph, example, layers)


def _going_on(
    frozen: nn.Module, names: Sequence[str], size: tuple[int, int], logits: int
) -> tuple[Sequence[str], bool]:
    """The names without first ones whose rest of the network does not run for several targets, and False.

    All names and True where fewer than two are left.
    """
    for start in range(len(names) - LEAST_LAYERED + 1):
        some = names[start:]
        if shares_the_front(frozen, [frozen.get_submodule(n) for n in some], size, logits):
            return some, False
    return names, True


def _described(
    frozen: nn.Module, full: str, graph: GraphModule, activations: torch.Tensor, size: tuple[int, int], output: int
) -> Layer:
    """What a manifest says of a layer whose activations are an `output` of a traced graph."""
    cells = (int(activations.shape[2]), int(activations.shape[3]))
    geometry = grid_geometry(graph, cells, size, output)
    return Layer(
        name=full,
        channels=int(activations.shape[1]),
        height=cells[0],
        width=cells[1],
        stride=geometry.stride,
        offset=geometry.offset,
        also=tuple(keras for keras, torch_name in keras_names(frozen).items() if torch_name == full),
    )


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy on the CPU in float32 and evaluation mode, without gradients and without in-place activations."""
    frozen: nn.Module = copy.deepcopy(network).to("cpu", torch.float32)
    frozen.to(memory_format=torch.contiguous_format).eval()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    for module in frozen.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return frozen
