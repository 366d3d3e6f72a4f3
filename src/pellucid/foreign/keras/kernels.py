"""Keras' layers with kernels: their weights, checked, as torch modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ...errors import WeightsError
from ..modules import Convolution, DenseLayer, Separable, TransposedConvolution
from .activations import activation
from .settings import Settings

Weights = Sequence[torch.Tensor]
PADDINGS = ("valid", "same")


def check_shapes(settings: Settings, weights: Weights, *shapes: tuple[int | None, ...]) -> None:
    """Raise WeightsError when arrays do not have these shapes; None stands for any length."""
    for values, wanted in zip(weights, shapes, strict=False):
        if values.ndim != len(wanted) or any(w not in (None, n) for w, n in zip(wanted, values.shape, strict=True)):
            expected = " x ".join("any" if w is None else str(w) for w in wanted)
            raise WeightsError(
                f"A weight of the layer {settings.name!r} ({settings.kind}) has the shape {tuple(values.shape)}, "
                f"but its settings say {expected}. The file is damaged or was changed."
            )


def with_bias(*names: str) -> Callable[[Settings], tuple[str, ...]]:
    """The names of a layer's arrays, with `bias` where its settings have one."""
    return lambda settings: (*names, "bias") if settings.flag("use_bias", True) else names


def _window(settings: Settings) -> tuple[tuple[int, int], tuple[int, int], bool]:
    same = settings.choice("padding", "valid", PADDINGS) == "same"
    return settings.pair("strides", 1), settings.pair("dilation_rate", 1), same


def convolution(settings: Settings, weights: Weights) -> nn.Module:
    """The layer Conv2D."""
    filters, groups = settings.whole("filters"), settings.whole("groups", 1)
    check_shapes(settings, weights, (*settings.pair("kernel_size"), None, filters), (filters,))
    stride, dilation, same = _window(settings)
    kernel = weights[0].permute(3, 2, 0, 1)
    bias = weights[1] if len(weights) > 1 else None
    return Convolution(
        kernel, bias, stride=stride, dilation=dilation, same=same, groups=groups, activation=activation(settings)
    )


def _depthwise_kernel(kernel: torch.Tensor) -> torch.Tensor:
    height, width, channels, multiplier = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)


def depthwise(settings: Settings, weights: Weights) -> nn.Module:
    """The layer DepthwiseConv2D."""
    check_shapes(
        settings, weights, (*settings.pair("kernel_size"), None, settings.whole("depth_multiplier", 1)), (None,)
    )
    stride, dilation, same = _window(settings)
    bias = weights[1] if len(weights) > 1 else None
    return Convolution(
        _depthwise_kernel(weights[0]),
        bias,
        stride=stride,
        dilation=dilation,
        same=same,
        groups=int(weights[0].shape[2]),
        activation=activation(settings),
    )


def separable(settings: Settings, weights: Weights) -> nn.Module:
    """The layer SeparableConv2D."""
    filters, depth = settings.whole("filters"), settings.whole("depth_multiplier", 1)
    check_shapes(settings, weights, (*settings.pair("kernel_size"), None, depth), (1, 1, None, filters), (filters,))
    stride, dilation, same = _window(settings)
    plain, ones = nn.Identity(), (1, 1)
    first = Convolution(
        _depthwise_kernel(weights[0]),
        None,
        stride=stride,
        dilation=dilation,
        same=same,
        groups=int(weights[0].shape[2]),
        activation=plain,
    )
    second = Convolution(
        weights[1].permute(3, 2, 0, 1),
        weights[2] if len(weights) > 2 else None,
        stride=ones,
        dilation=ones,
        same=False,
        groups=1,
        activation=activation(settings),
    )
    return Separable(first, second)


def dense(settings: Settings, weights: Weights) -> nn.Module:
    """The layer Dense."""
    units = settings.whole("units")
    check_shapes(settings, weights, (None, units), (units,))
    return DenseLayer(weights[0].T, weights[1] if len(weights) > 1 else None, activation(settings))


def transposed(settings: Settings, weights: Weights) -> nn.Module:
    """The layer Conv2DTranspose."""
    check_shapes(settings, weights, (*settings.pair("kernel_size"), settings.whole("filters"), None), (None,))
    stride, dilation, same = _window(settings)
    more = None if settings.get("output_padding") is None else settings.pair("output_padding", least=0)
    sides = []
    for axis in (0, 1):
        kernel = (int(weights[0].shape[axis]) - 1) * dilation[axis] + 1
        sides.append(_cropped(kernel, stride[axis], same, None if more is None else more[axis]))
    return TransposedConvolution(
        weights[0].permute(3, 2, 0, 1),
        weights[1] if len(weights) > 1 else None,
        stride=stride,
        dilation=dilation,
        cropped=(sides[0], sides[1]),
        activation=activation(settings),
    )


def _cropped(kernel: int, stride: int, same: bool, more: int | None) -> tuple[int, int]:
    """What Keras crops of one axis of a transposed convolution, (before, after); negative where it adds zeros."""
    if not same:
        return 0, -(max(kernel, stride) - kernel if more is None else more)
    length = stride + kernel - 2 if more is None else kernel + kernel % 2 - 2 + more
    before = min(length // 2 + length % 2, kernel - 1)
    return kernel - 1 - before, kernel - 1 - (length - before)
