"""A layer of a network with its evidence graph, and what a manifest says of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import GraphModule

from ..bundle.manifest import Layer
from .evidence_graph import trace_evidence
from .geometry import grid_geometry
from .layers import find_layer, keras_names


@dataclass(frozen=True)
class TracedLayer:
    """`graph` is that of `trace_evidence`, `example` its inputs and `activations` what it gives for them."""

    graph: GraphModule
    example: tuple[torch.Tensor, ...]
    activations: torch.Tensor
    layer: Layer


def trace_layer(frozen: nn.Module, name: str, size: tuple[int, int], logits: int) -> TracedLayer:
    """Trace a layer of a frozen network (see `frozen_copy`) for inputs of `size`; raises what `trace_evidence` does."""
    full = find_layer(frozen, name)
    graph, example = trace_evidence(frozen, frozen.get_submodule(full), size, logits)
    _, activations, _ = graph(*example)
    cells = (int(activations.shape[2]), int(activations.shape[3]))
    geometry = grid_geometry(graph, cells, size)
    layer = Layer(
        name=full,
        channels=int(activations.shape[1]),
        height=cells[0],
        width=cells[1],
        stride=geometry.stride,
        offset=geometry.offset,
        also=tuple(keras for keras, torch_name in keras_names(frozen).items() if torch_name == full),
    )
    return TracedLayer(graph, example, activations, layer)


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
