"""A model from elsewhere as one of ours: what stands before it, and what makes logits of its answers.

A bundle wants RGB images in and logits out, one logit for two classes. Whatever a model does differently (BGR, grey
images, a softmax at its end, two outputs for two classes) becomes part of the network, so that preprocessing stays
plain and every explanation is about the model as it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from ..classifier import Task
from ..errors import InputError, UnknownNameError
from ..models.evidence_graph import check_layer
from ..models.layers import spatial_layers
from ..models.network import explained_module
from ..preprocessing import FloatArray
from .module_graph import ModuleGraph
from .modules import AveragePooling, ChannelSoftmax, Flatten, GlobalPooling, MaxPooling, Reshape, ReversedChannels

Order = Literal["rgb", "bgr"]
LEAST = 1e-7
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
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
)
MOST_TRIED = 40


@dataclass(frozen=True)
class Source:
    """A model as it was found.

    `network` takes images (N, channels, height, width) and gives what comes before `activation` (softmax, sigmoid,
    linear, or another's name). `size` is (height, width), None where open. `rescaling` names a layer of its own that
    changes pixel values. `original` runs the model where it came from: the same images to its own answers; `black_box`
    does so as a module that cannot be differentiated, for when `network` turns out not to compute the same.
    """

    kind: str
    network: nn.Module
    activation: str
    channels: int = 3
    size: tuple[int | None, int | None] = (None, None)
    rescaling: str | None = None
    logits_loss: bool = False
    runtime: str = "torch"
    original: Callable[[FloatArray], FloatArray] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    black_box: nn.Module | None = None


class Grey(nn.Module):
    """RGB to one channel of luma."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        red, green, blue = (LUMA[i] * image[:, i : i + 1] for i in range(3))
        return red + green + blue


class Difference(nn.Module):
    """Two logits to one, z[second] - z[1 - second]: the sigmoid of it is the softmax of both."""

    def __init__(self, second: int) -> None:
        super().__init__()
        self.second = second

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, self.second : self.second + 1] - logits[:, 1 - self.second : 2 - self.second]


class Negative(nn.Module):
    """One logit turned round."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return -logits


class LogOfProbabilities(nn.Module):
    """Probabilities (N, K) to logarithms, whose softmax they are; one (N, 1) to its log-odds. Kept off 0 and 1."""

    def forward(self, probabilities: torch.Tensor) -> torch.Tensor:
        kept = probabilities.clamp(LEAST, 1 - LEAST)
        return torch.log(kept) - torch.log1p(-kept) if probabilities.shape[1] == 1 else torch.log(kept)


class ImportedNetwork(nn.Module):
    """Images (N, 3, H, W) to logits (N, L) by way of a foreign model."""

    def __init__(self, entry: nn.Module, model: nn.Module, answer: nn.Module) -> None:
        super().__init__()
        self.entry, self.model, self.answer = entry, model, answer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.answer(self.model(self.entry(image)).flatten(1))
        return logits

    def answers(self, batch: FloatArray) -> FloatArray:
        """Logits (N, L) of tensors (N, 3, height, width)."""
        with torch.no_grad():
            logits: FloatArray = self(torch.from_numpy(batch)).numpy()
            return logits


@dataclass(frozen=True)
class Answer:
    """What a model's outputs mean: the task, how many logits, the module that makes them, and what to tell of it."""

    task: Task
    logits: int
    module: nn.Module
    notes: tuple[str, ...] = ()


def entry_of(channels: int, order: Order) -> nn.Module:
    """What turns RGB images into those that a model takes."""
    if channels == 1:
        return Grey()
    return ReversedChannels() if order == "bgr" else nn.Identity()


def answer_of(activation: str, units: int, *, task: Task | None = None, turned: bool = False) -> Answer:
    """What `units` outputs before an activation mean. `turned`: of two classes, the model's first is the positive one.

    Raises InputError when the task does not fit the outputs.
    """
    if activation == "softmax" and units == 1:
        raise InputError("The model ends in a softmax over one unit, which always answers 1: it has learned nothing.")
    found: Task = "multiclass" if units > 2 else "binary"
    if units == 1 and activation != "sigmoid":
        found = task or "regression"
    if task not in (None, found) and not (units == 1 and activation == "sigmoid" and task == "regression"):
        raise InputError(f"A model with {units} outputs ({activation}) is no {task} model, but {found}.")
    if (task or found) == "regression":
        if turned:
            raise InputError(
                "A regression's higher output speaks for the second class: name the classes in that order."
            )
        return Answer("regression", 1, nn.Sigmoid() if activation == "sigmoid" else nn.Identity())
    steps: list[nn.Module] = []
    notes: list[str] = []
    if activation == "sigmoid" and units > 1:
        steps.append(nn.LogSigmoid())
        notes.append(f"{units} sigmoids were brought to a sum of 1: one class is answered for each image.")
    elif activation not in {"softmax", "sigmoid", "linear"}:
        raise InputError(f"The model ends in the activation {activation}; probabilities need softmax, sigmoid or none.")
    elif activation == "linear":
        notes.append("The model ends without softmax or sigmoid, so its outputs are taken for logits.")
    if units == 2:
        steps.append(Difference(0 if turned else 1))
    elif units == 1 and turned:
        steps.append(Negative())
    return Answer(found, units if units > 2 else 1, nn.Sequential(*steps), tuple(notes))


def strip_activation(graph: ModuleGraph) -> str:
    """Take the last activation off a graph; returns its name: softmax, sigmoid, linear, or its class.

    What only passes values on (a reshape, a dropout) is looked through.
    """
    step = graph.last()
    while step is not None:
        module = graph.get_submodule(step.module)
        if isinstance(module, ModuleGraph):
            return strip_activation(module)
        own = getattr(module, "activation", None)
        if own is None and not isinstance(module, nn.Identity | Flatten | Reshape):
            name = activation_name(module)
            if name in {"softmax", "sigmoid"}:
                graph.replace(step.module, nn.Identity())
            return "linear" if name is None else name
        if own is not None and not isinstance(own, nn.Identity):
            name = activation_name(own) or type(own).__name__
            if name in {"softmax", "sigmoid"}:
                module.activation = nn.Identity()
            return name
        if own is not None:
            return "linear"
        step = graph.behind(step.inputs[0])
    return "linear"


def activation_name(module: nn.Module) -> str | None:
    """softmax, sigmoid, the class of another activation, or None for what is none."""
    if isinstance(module, ChannelSoftmax | nn.Softmax):
        return "softmax"
    if isinstance(module, nn.Sigmoid):
        return "sigmoid"
    return type(module).__name__ if type(module).__module__.startswith("torch.nn.modules.activation") else None


def choose_layer(network: nn.Module, size: tuple[int, int], logits: int, wanted: str | None = None) -> str | None:
    """The layer to explain: the last that gives a feature map and that everything passes; None when there is none.

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
    seen = spatial_layers(network, size)
    modules = dict(network.named_modules())
    plain: list[str] = [
        s.name
        for s in seen
        if not isinstance(modules[s.name], (*POOLINGS, *containers)) and getattr(modules[s.name], "explainable", True)
    ]
    for name in list(reversed(plain))[:MOST_TRIED]:
        if name.startswith("entry"):
            break
        try:
            check_layer(network, modules[name], size, logits)
        except InputError:
            continue
        return name
    return None


def strip_torch(module: nn.Module) -> tuple[nn.Module, str]:
    """A torch module without the softmax or sigmoid at the end of its outermost sequence, and what it was."""
    if isinstance(module, nn.Sequential) and len(module):
        name, last = list(module.named_children())[-1]
        found = activation_name(last)
        if found in {"softmax", "sigmoid"}:
            kept: OrderedDict[str, nn.Module] = OrderedDict(list(module.named_children())[:-1])
            return nn.Sequential(kept), found
        if isinstance(last, nn.Sequential):
            inner, found_inside = strip_torch(last)
            rest = OrderedDict(list(module.named_children())[:-1])
            return nn.Sequential(OrderedDict([*rest.items(), (name, inner)])), found_inside
    return module, "linear"
