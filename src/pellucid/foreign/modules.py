"""What Keras' layers with weights, poolings and merges compute, in torch, with exact "same" padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ..errors import InputError
from .axes import dimensions, to_first, to_last

Pair = tuple[int, int]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """TensorFlow's "same" padding of one axis, (before, after): as little as gives ceil(size / stride), more behind."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def padded(
    values: torch.Tensor, kernel: Pair, stride: Pair, dilation: Pair = (1, 1), fill: float = 0.0
) -> torch.Tensor:
    """A feature map with TensorFlow's "same" padding around it."""
    height, width = int(values.shape[2]), int(values.shape[3])
    top, bottom = same_padding(height, kernel[0], stride[0], dilation[0])
    left, right = same_padding(width, kernel[1], stride[1], dilation[1])
    if not (top or bottom or left or right):
        return values
    return functional.pad(values, (left, right, top, bottom), value=fill)


class Convolution(nn.Module):
    """Conv2D and DepthwiseConv2D with their activation. `weight` is (out, in / groups, h, w)."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        stride: Pair,
        dilation: Pair,
        same: bool,
        groups: int,
        activation: nn.Module,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = None if bias is None else nn.Parameter(bias)
        self.stride, self.dilation, self.same, self.groups = stride, dilation, same, groups
        self.activation = activation

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.same:
            kernel = int(self.weight.shape[2]), int(self.weight.shape[3])
            image = padded(image, kernel, self.stride, self.dilation)
        convolved = functional.conv2d(image, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        result: torch.Tensor = self.activation(convolved)
        return result


class TransposedConvolution(nn.Module):
    """Conv2DTranspose with its activation. `weight` is (in, out, h, w); `cropped` are two sides of each axis.

    The whole result of a transposed convolution is cropped to what Keras keeps, or filled up with zeros where a side is
    negative.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        stride: Pair,
        dilation: Pair,
        cropped: tuple[Pair, Pair],
        activation: nn.Module,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = None if bias is None else nn.Parameter(bias)
        self.stride, self.dilation, self.cropped = stride, dilation, cropped
        self.activation = activation

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        whole = functional.conv_transpose2d(image, self.weight, None, self.stride, dilation=self.dilation)
        (top, bottom), (left, right) = self.cropped
        kept = functional.pad(whole, (-left, -right, -top, -bottom)) if any((top, bottom, left, right)) else whole
        biased = kept if self.bias is None else kept + self.bias[:, None, None]
        result: torch.Tensor = self.activation(biased)
        return result


class Separable(nn.Module):
    """SeparableConv2D: a depthwise convolution, then one of 1 x 1."""

    def __init__(self, depthwise: Convolution, pointwise: Convolution) -> None:
        super().__init__()
        self.depthwise, self.pointwise = depthwise, pointwise

    @property
    def activation(self) -> nn.Module:
        """What follows the whole."""
        return self.pointwise.activation

    @activation.setter
    def activation(self, module: nn.Module) -> None:
        self.pointwise.activation = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.pointwise(self.depthwise(image))
        return result


class DenseLayer(nn.Module):
    """Dense over the last axis of Keras, with its activation. `weight` is (units, inputs)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation = activation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(to_first(functional.linear(to_last(values), self.weight, self.bias)))
        return result


class ParametricReLU(nn.Module):
    """PReLU: a slope below zero for each value or channel."""

    def __init__(self, slope: torch.Tensor) -> None:
        super().__init__()
        self.slope = nn.Parameter(slope.contiguous())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.clamp(min=0) + self.slope * values.clamp(max=0)


class MaxPooling(nn.Module):
    """MaxPooling2D; what is padded is never the largest."""

    def __init__(self, kernel: Pair, stride: Pair, same: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.same = kernel, stride, same

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.same:
            # The least float rather than minus infinity: exporters and half precision keep it.
            image = padded(image, self.kernel, self.stride, fill=torch.finfo(torch.float32).min)
        return functional.max_pool2d(image, self.kernel, self.stride)


class AveragePooling(nn.Module):
    """AveragePooling2D; what is padded does not count."""

    def __init__(self, kernel: Pair, stride: Pair, same: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.same = kernel, stride, same

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not self.same:
            return functional.avg_pool2d(image, self.kernel, self.stride)
        cells = torch.ones(1, 1, int(image.shape[2]), int(image.shape[3]), device=image.device)
        counted = functional.avg_pool2d(padded(cells, self.kernel, self.stride), self.kernel, self.stride)
        return functional.avg_pool2d(padded(image, self.kernel, self.stride), self.kernel, self.stride) / counted


class GlobalPooling(nn.Module):
    """GlobalAveragePooling2D and GlobalMaxPooling2D."""

    def __init__(self, largest: bool, keep: bool) -> None:
        super().__init__()
        self.largest, self.keep = largest, keep

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = functional.adaptive_max_pool2d(image, 1) if self.largest else image.mean((2, 3), keepdim=True)
        return pooled if self.keep else pooled.flatten(1)


class Merge(nn.Module):
    """Add, Subtract, Multiply, Average, Maximum, Minimum, of inputs of one rank."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if not others or any(other.ndim != first.ndim for other in others):
            raise ValueError("two or more inputs of one rank are merged, no others")
        merged = first
        for other in others:
            if self.operation == "Multiply":
                merged = merged * other
            elif self.operation == "Maximum":
                merged = torch.maximum(merged, other)
            elif self.operation == "Minimum":
                merged = torch.minimum(merged, other)
            else:
                merged = merged - other if self.operation == "Subtract" else merged + other
        return merged / (1 + len(others)) if self.operation == "Average" else merged


class Pointwise(nn.Module):
    """One of + - * / with a number, or with one number for each channel; `turned` puts the number first."""

    def __init__(self, operation: str, operand: torch.Tensor, turned: bool) -> None:
        super().__init__()
        self.register_buffer("operand", operand)
        self.operation, self.turned = operation, turned

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        operand = self.get_buffer("operand")
        if operand.ndim and values.ndim == 4:
            operand = operand[:, None, None]
        left, right = (operand, values) if self.turned else (values, operand)
        if self.operation == "+":
            return left + right
        if self.operation == "-":
            return left - right
        return left * right if self.operation == "*" else left / right


class ReversedChannels(nn.Module):
    """Channels in reverse order, RGB to BGR and back."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flip(1)


class Channel(nn.Module):
    """One channel of an image, (N, H, W)."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, self.index]


class StackedChannels(nn.Module):
    """Channels (N, H, W) to an image."""

    def forward(self, *channels: torch.Tensor) -> torch.Tensor:
        return torch.stack(channels, 1)


class AxisSoftmax(nn.Module):
    """Softmax, or its logarithm, over `axes` as Keras counts them."""

    def __init__(self, axes: Sequence[int] = (-1,), logarithm: bool = False) -> None:
        super().__init__()
        self.axes, self.logarithm = tuple(axes), logarithm

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        places = dimensions(self.axes, values.ndim)
        if len(places) == 1:
            return (torch.log_softmax if self.logarithm else torch.softmax)(values, places[0])
        logarithms = values - torch.logsumexp(values, places, keepdim=True)
        return logarithms if self.logarithm else logarithms.exp()


class WholeAnswer(nn.Module):
    """What stands where a softmax over `axes` was taken off. InputError unless it went over the whole answer."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        places = dimensions(self.axes, values.ndim)
        beside = [n for i, n in enumerate(values.shape[1:], 1) if i not in places]
        if any(n != 1 for n in beside):
            places_beside = " x ".join(map(str, beside))
            raise InputError(
                f"The model's last softmax is taken at each of {places_beside} places, so it looks like a segmenter or "
                "a detector; a classifier answers by one number for each class."
            )
        return values
