"""A foreign model as a network: what stands before it, and which layer is explained.

A bundle wants RGB images in and logits out, one logit for two classes. Whatever a model does differently (BGR, grey
images, a softmax at its end, two outputs for two classes) becomes part of the network, so that preprocessing stays
plain and every explanation is about the model as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from ..errors import UnknownNameError
from ..models.evidence_graph import check_layer
from ..models.layer_choice import last_deciding_layer
from ..models.network import explained_module
from ..preprocessing import FloatArray
from .module_graph import ModuleGraph
from .modules import AveragePooling, GlobalPooling, MaxPooling, ReversedChannels
from .shapes import Reduced

Order = Literal["rgb", "bgr"]
# Luma of ITU-R 601, as Pillow, OpenCV and TensorFlow turn colours to grey.
LUMA = (0.299, 0.587, 0.114)
POOLINGS = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    MaxPooling,
    AveragePooling,
    GlobalPooling,
    Reduced,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
)


@dataclass(frozen=True)
class Source:
    """A model as its file describes it.

    `network` takes images (N, channels, height, width) and gives what comes before `activation` (one of ENDINGS,
    linear, or another's name). `size` is (height, width), None where open. `pixels` says why the model takes values of
    0..255 as they are, None when it does not. `original` runs the model where it came from, in `runtime`: the same
    images to its own answers. `black_box` does so as a module that cannot be differentiated, for when `network` turns
    out not to compute the same. `second` is the runtime that counts when `original` fails, None when that is an error.
    Unless `batchable`, an answer depends on the other images of its batch.
    """

    kind: str
    network: nn.Module
    activation: str
    channels: int = 3
    size: tuple[int | None, int | None] = (None, None)
    pixels: str | None = None
    logits_loss: bool = False
    runtime: str = "torch"
    original: Callable[[FloatArray], FloatArray] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    black_box: nn.Module | None = None
    batchable: bool = True
    second: str | None = None


class Grey(nn.Module):
    """RGB to one channel of luma."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        red, green, blue = (LUMA[i] * image[:, i : i + 1] for i in range(3))
        return red + green + blue


class ImportedNetwork(nn.Module):
    """Images (N, 3, H, W) to logits (N, L) by way of a foreign model."""

    def __init__(self, entry: nn.Module, model: nn.Module, answer: nn.Module) -> None:
        super().__init__()
        self.entry, self.model, self.answer = entry, model, answer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        outputs = self.model(self.entry(image))
        logits: torch.Tensor = self.answer(
            outputs.reshape(image.shape[0], -1) if outputs.ndim < 2 else outputs.flatten(1)
        )
        return logits

    def answers(self, batch: FloatArray) -> FloatArray:
        """Logits (N, L) of tensors (N, 3, height, width)."""
        with torch.no_grad():
            logits: FloatArray = self(torch.from_numpy(batch)).numpy()
            return logits


def entry_of(channels: int, order: Order) -> nn.Module:
    """What turns RGB images into those that a model takes."""
    if channels == 1:
        return Grey()
    return ReversedChannels() if order == "bgr" else nn.Identity()


def choose_layer(network: nn.Module, size: tuple[int, int], logits: int, wanted: str | None = None) -> str | None:
    """The layer to explain: the last that gives a feature map and that everything passes; None without one.

    Poolings and what changes nothing are passed over: the map before them says the same, finer. A layer that is
    `wanted` is checked instead, by its full name or its end; InputError when no evidence can be taken there.
    """
    if wanted is not None:
        names: list[str] = [name for name, _ in network.named_modules() if name]
        name = next((n for n in names if n == wanted or n.endswith("." + wanted)), None)
        if name is None:
            raise UnknownNameError("layer", wanted, [n.rpartition(".")[2] for n in names])
        check_layer(network, explained_module(network, name), size, logits)
        return name
    containers = (nn.Sequential, ModuleGraph, ImportedNetwork)
    skip = {
        name: isinstance(module, (*POOLINGS, *containers))
        or not getattr(module, "explainable", True)
        or name.partition(".")[0] == "entry"
        for name, module in network.named_modules()
    }
    return last_deciding_layer(network, size, logits, skip)
