"""Keras' activations as torch modules, in every spelling: a name, a function as Keras 3 writes it, or a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ...errors import InputError
from ..modules import AxisSoftmax
from .settings import Settings


class Elementwise(nn.Module):
    """An element-wise function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.function(values)


class RectifiedLinear(nn.Module):
    """Keras' ReLU layer: `slope * (x - threshold)` below the threshold, x above it, never more than `most`."""

    def __init__(self, most: float | None, slope: float, threshold: float) -> None:
        super().__init__()
        self.most, self.slope, self.threshold = most, slope, threshold

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.threshold:
            kept = torch.where(values >= self.threshold, values, self.slope * (values - self.threshold))
        else:
            kept = functional.leaky_relu(values, self.slope) if self.slope else functional.relu(values)
        return kept if self.most is None else kept.clamp(max=self.most)


def _hard_sigmoid_2(values: torch.Tensor) -> torch.Tensor:
    """Keras 1 and 2 took 0.2 x + 0.5 between 0 and 1; Keras 3 takes x / 6 + 0.5."""
    return (0.2 * values + 0.5).clamp(0, 1)


def _squareplus(values: torch.Tensor) -> torch.Tensor:
    return (values + (values * values + 4).sqrt()) / 2


def _sparse_plus(values: torch.Tensor) -> torch.Tensor:
    between = (values + 1) * (values + 1) / 4
    return torch.where(values <= -1, torch.zeros_like(values), torch.where(values < 1, between, values))


def _sparse_sigmoid(values: torch.Tensor) -> torch.Tensor:
    return (0.5 * (values + 1)).clamp(0, 1)


NAMED: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hard_silu": nn.Hardswish,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,
    "log_sigmoid": nn.LogSigmoid,
    "exponential": lambda: Elementwise(torch.exp),
    "softmax": AxisSoftmax,
    "log_softmax": lambda: AxisSoftmax(logarithm=True),
    "hard_tanh": nn.Hardtanh,
    "squareplus": lambda: Elementwise(_squareplus),
    "tanh_shrink": nn.Tanhshrink,
    "hard_shrink": nn.Hardshrink,
    "soft_shrink": nn.Softshrink,
    "sparse_plus": lambda: Elementwise(_sparse_plus),
    "sparse_sigmoid": lambda: Elementwise(_sparse_sigmoid),
}
OTHER_NAMES = {"swish": "silu", "hard_swish": "hard_silu"}


def activation(settings: Settings, key: str = "activation") -> nn.Module:
    """The activation that a layer's settings name; none is the identity. InputError for one that is not Keras' own."""
    value: Any = settings.get(key, "linear")
    if isinstance(value, dict):
        kind, inner = str(value.get("class_name")), value.get("config")
        if kind == "function":
            value = inner
        elif isinstance(inner, dict) and kind in LAYERS:
            return LAYERS[kind](Settings(settings.name, kind, inner, settings.version))
        else:
            # Keras 2 could write an activation's name as the class of an object.
            value = kind.rpartition(">")[2]
    name = OTHER_NAMES.get(str(value), str(value))
    if not isinstance(value, str) or name not in NAMED:
        raise InputError(
            f"The layer {settings.name!r} ({settings.kind}) has the activation {value!r}, which cannot be read; "
            f"{', '.join(sorted(NAMED))} can be"
            f". Export the model to ONNX, and import that."
        )
    if name == "hard_sigmoid" and not settings.version.startswith("3"):
        return Elementwise(_hard_sigmoid_2)
    return NAMED[name]()


def relu_layer(settings: Settings) -> nn.Module:
    """The layer ReLU, as plain as its settings allow."""
    most = None if settings.get("max_value") is None else settings.number("max_value")
    slope, threshold = settings.number("negative_slope", 0.0), settings.number("threshold", 0.0)
    return RectifiedLinear(most, slope, threshold)


def leaky_layer(settings: Settings) -> nn.Module:
    """The layer LeakyReLU."""
    return nn.LeakyReLU(settings.number("negative_slope", 0.3))


def elu_layer(settings: Settings) -> nn.Module:
    """The layer ELU."""
    return nn.ELU(float(settings.get("alpha", 1.0)))


def thresholded_layer(settings: Settings) -> nn.Module:
    """The layer ThresholdedReLU: x above theta, 0 elsewhere."""
    return nn.Threshold(settings.number("theta", 1.0), 0.0)


def softmax_layer(settings: Settings) -> nn.Module:
    """The layer or operation Softmax."""
    return AxisSoftmax(settings.axes() or (-1,))


LAYERS: dict[str, Callable[[Settings], nn.Module]] = {
    "ReLU": relu_layer,
    "LeakyReLU": leaky_layer,
    "ELU": elu_layer,
    "ThresholdedReLU": thresholded_layer,
    "Softmax": softmax_layer,
    "Activation": activation,
}
