"""Layers by name: as torch names them, with or without `backbone.`, and as Keras names those of a VGG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import UnknownNameError
from .layout import Grids

BACKBONE = "backbone."
PLAIN = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d)


@dataclass(frozen=True, slots=True)
class SpatialLayer:
    """A layer that gives a feature map of (channels, height, width): one that can be asked for by `name`."""

    name: str
    kind: str
    channels: int
    height: int
    width: int
    also: tuple[str, ...] = ()


def find_layer(network: nn.Module, wanted: str) -> str:
    """The full name of a layer of a network; UnknownNameError with the nearest names if it does not exist."""
    names = [name for name, _ in network.named_modules() if name]
    known: dict[str, str] = {**{name: name for name in names}, **keras_names(network)}
    found = known.get(wanted, known.get(BACKBONE + wanted))
    if found is None:
        raise UnknownNameError("layer", wanted, [*known, *(n.removeprefix(BACKBONE) for n in names)])
    return found


def keras_names(network: nn.Module) -> dict[str, str]:
    """Keras's names of a VGG's convolutions and poolings (`block5_conv3`, `block5_pool`), each with torch's name.

    Blocks end in a pooling. Empty for a network that has no plain sequence named `features`.
    """
    names: dict[str, str] = {}
    for path, sequence in network.named_modules():
        plain = isinstance(sequence, nn.Sequential) and all(isinstance(m, PLAIN) for m in sequence)
        if path.rpartition(".")[2] != "features" or not plain:
            continue
        block, convolution = 1, 0
        for number, module in enumerate(sequence.children()):
            if isinstance(module, nn.Conv2d):
                convolution += 1
                names[f"block{block}_conv{convolution}"] = f"{path}.{number}"
            elif isinstance(module, nn.MaxPool2d):
                names[f"block{block}_pool"] = f"{path}.{number}"
                block, convolution = block + 1, 0
    return names


def spatial_layers(network: nn.Module, size: tuple[int, int]) -> list[SpatialLayer]:
    """The layers of a network that give a feature map for an image of `size`, once in a pass, from front to back.

    Whether a layer is one branch of several shows only when it is chosen. The network must be in evaluation mode.
    """
    seen: dict[str, list[SpatialLayer]] = {}
    grids = Grids(network, size)
    spelt = {torch_name: keras for keras, torch_name in keras_names(network).items()}
    handles = []
    for name, module in network.named_modules():

        def look(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            for shape in _map_shapes(grids, output):
                also = (spelt[name],) if name in spelt else ()
                seen.setdefault(name, []).append(SpatialLayer(name, type(module).__name__, *shape, also))

        if name:
            handles.append(module.register_forward_hook(look))
    try:
        with torch.no_grad(), grids.watching(network):
            network(torch.zeros(1, 3, *size))
    finally:
        for handle in handles:
            handle.remove()
    return [found[0] for found in seen.values() if len(found) == 1 and found[0].height * found[0].width > 1]


def _map_shapes(grids: Grids, output: Any) -> Iterator[tuple[int, int, int]]:
    if (layout := grids.layout(output)) is not None:
        _, channels, height, width = layout.maps(layout.of(output)).shape
        yield int(channels), int(height), int(width)
