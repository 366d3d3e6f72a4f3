"""What Keras layers compute, in torch: exact "same" padding, and the order of axes that Keras has.

Feature maps are (N, C, H, W) here and (N, H, W, C) in Keras; whatever depends on the order (flattening, reshaping, an
axis) is done in Keras' order. Tensors of other ranks are as in Keras.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

Pair = tuple[int, int]


def to_last(values: torch.Tensor) -> torch.Tensor:
    """A feature map in Keras' order (N, H, W, C); other tensors as they are."""
    return values.permute(0, 2, 3, 1) if values.ndim == 4 else values


def to_first(values: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_last`."""
    return values.permute(0, 3, 1, 2) if values.ndim == 4 else values


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


class Dense(nn.Module):
    """Dense over the last axis of Keras, with its activation. `weight` is (units, inputs)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation = activation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(to_first(functional.linear(to_last(values), self.weight, self.bias)))
        return result


class BatchNormalization(nn.Module):
    """Normalisation by the statistics that were learned."""

    def __init__(
        self,
        mean: torch.Tensor,
        variance: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.epsilon = epsilon

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        if values.ndim == 3:  # (N, positions, channels)
            return self._normalised(values.transpose(1, 2), mean, variance).transpose(1, 2)
        return self._normalised(values, mean, variance)

    def _normalised(self, values: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(values, mean, variance, self.weight, self.bias, False, 0.0, self.epsilon)


class LayerNormalization(nn.Module):
    """Normalisation over the channels of each place."""

    def __init__(self, channels: int, weight: torch.Tensor | None, bias: torch.Tensor | None, epsilon: float) -> None:
        super().__init__()
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.channels, self.epsilon = channels, epsilon

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        normalised = functional.layer_norm(to_last(values), (self.channels,), self.weight, self.bias, self.epsilon)
        return to_first(normalised)


class Affine(nn.Module):
    """Rescaling and Normalization: `factor * x + shift`, for each channel or all alike."""

    def __init__(self, factor: torch.Tensor, shift: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)
        self.register_buffer("shift", shift)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        factor, shift = self.get_buffer("factor"), self.get_buffer("shift")
        if values.ndim == 4 and factor.ndim:
            factor = factor[:, None, None]
        if values.ndim == 4 and shift.ndim:
            shift = shift[:, None, None]
        return values * factor + shift


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


class Flatten(nn.Module):
    """Keras' Flatten: positions first, then channels."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return to_last(values).flatten(1)


class Reshape(nn.Module):
    """Keras' Reshape of all but the first axis; -1 stands for what is left."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return to_first(to_last(values).reshape(values.shape[0], *self.shape))


class Permute(nn.Module):
    """Keras' Permute; axes count from 1."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return to_first(to_last(values).permute(0, *self.axes))


class ZeroPadding(nn.Module):
    """ZeroPadding2D, and Cropping2D with negative numbers: (left, right, top, bottom)."""

    def __init__(self, sides: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.pad(image, self.sides)


class Upsampling(nn.Module):
    """UpSampling2D by repeating each cell."""

    def __init__(self, factor: Pair) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.repeat_interleave(self.factor[0], 2).repeat_interleave(self.factor[1], 3)


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


class Concatenate(nn.Module):
    """Concatenate along an axis as Keras counts it."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return to_first(torch.cat([to_last(v) for v in values], self.axis))


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


class ChannelSoftmax(nn.Module):
    """Softmax over channels: Keras' last axis, which is axis 1 of a feature map here."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.softmax(values, 1 if values.ndim == 4 else -1)
