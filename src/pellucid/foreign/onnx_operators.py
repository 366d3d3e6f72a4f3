"""ONNX operators of image classifiers in torch, as literal rows: what differentiation needs of a foreign graph.

A value is a tensor, or a tuple of whole numbers where a graph computes with the shape of another value. Constants of
whole numbers are tuples or numbers too, so that shapes stay known while a graph is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

Value = Any
Operator = Callable[[Mapping[str, Any], Sequence[Value]], Value]


class NotConvertible(Exception):
    """An operator, or a use of it, that has no counterpart here."""


def _pads(attributes: Mapping[str, Any], image: torch.Tensor, kernel: Sequence[int]) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of a convolution or pooling."""
    automatic = attributes.get("auto_pad", "NOTSET")
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        sides: list[int] = []
        for axis in (1, 0):
            size = int(image.shape[2 + axis])
            total = max(
                (-(-size // strides[axis]) - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1 - size, 0
            )
            low = total // 2 if automatic == "SAME_UPPER" else total - total // 2
            sides += [low, total - low]
        return sides[0], sides[1], sides[2], sides[3]
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return left, right, top, bottom


def _padded(image: torch.Tensor, sides: tuple[int, int, int, int], fill: float = 0.0) -> torch.Tensor:
    return functional.pad(image, sides, value=fill) if any(sides) else image


def _convolution(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    image, weight, *bias = inputs
    if image.ndim != 4:
        raise NotConvertible("a convolution over other than two axes")
    padded = _padded(image, _pads(attributes, image, weight.shape[2:]))
    return functional.conv2d(
        padded,
        weight,
        bias[0] if bias else None,
        attributes.get("strides", [1, 1]),
        0,
        attributes.get("dilations", [1, 1]),
        attributes.get("group", 1),
    )


def _gemm(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    left, right, *rest = inputs
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    product = attributes.get("alpha", 1.0) * (left @ right)
    return product + attributes.get("beta", 1.0) * rest[0] if rest else product


def _max_pool(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    image, kernel = inputs[0], attributes["kernel_shape"]
    padded = _padded(image, _pads(attributes, image, kernel), torch.finfo(torch.float32).min)
    steps, ceil = attributes.get("strides", [1, 1]), bool(attributes.get("ceil_mode", 0))
    return functional.max_pool2d(padded, kernel, steps, 0, attributes.get("dilations", [1, 1]), ceil)


def _average_pool(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    image, kernel, steps = inputs[0], attributes["kernel_shape"], attributes.get("strides", [1, 1])
    if attributes.get("ceil_mode", 0):
        raise NotConvertible("an average pooling with ceil_mode")
    sides = _pads(attributes, image, kernel)
    pooled = functional.avg_pool2d(_padded(image, sides), kernel, steps)
    if not any(sides) or attributes.get("count_include_pad", 0):
        return pooled
    cells = torch.ones(1, 1, int(image.shape[2]), int(image.shape[3]), device=image.device)
    return pooled / functional.avg_pool2d(_padded(cells, sides), kernel, steps)


def _batch_norm(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    image, weight, bias, mean, variance = inputs[:5]
    if attributes.get("training_mode", 0):
        raise NotConvertible("a batch normalisation in training mode")
    return functional.batch_norm(image, mean, variance, weight, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def _layer_norm(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    values, *affine = inputs
    if attributes.get("axis", -1) not in (-1, values.ndim - 1):
        raise NotConvertible("a layer normalisation over several axes")
    weight, bias = (*affine, None, None)[:2]
    return functional.layer_norm(values, values.shape[-1:], weight, bias, attributes.get("epsilon", 1e-5))


def _clip(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    values, low, high = (*inputs, None, None)[:3]
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    return torch.clamp(values, None if low is None else float(low), None if high is None else float(high))


def _flatten(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    if attributes.get("axis", 1) != 1:
        raise NotConvertible("a flattening from another axis than the second")
    return inputs[0].flatten(1)


def _reshape(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    values, shape = inputs
    if isinstance(values, tuple):
        return values
    sizes = [values.shape[i] if s == 0 and not attributes.get("allowzero", 0) else s for i, s in enumerate(shape)]
    if attributes.get("one_image") and shape[:1] == (1,):
        # A graph exported for one image has its number of images written into its shapes.
        sizes[0] = values.shape[0]
    return values.reshape(sizes)


def _axes(attributes: Mapping[str, Any], inputs: Sequence[Value], position: int = 1) -> list[int]:
    given = inputs[position] if len(inputs) > position else attributes.get("axes", ())
    return [int(a) for a in ((given,) if isinstance(given, int) else given)]


def _squeeze(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    axes = _axes(attributes, inputs)
    if isinstance(inputs[0], tuple):
        return inputs[0][0]
    if not axes:
        raise NotConvertible("a squeeze of axes that are not named")
    return torch.squeeze(inputs[0], tuple(axes))


def _unsqueeze(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    values = inputs[0]
    if not isinstance(values, torch.Tensor):
        return values if isinstance(values, tuple) else (values,)
    for axis in sorted(_axes(attributes, inputs)):
        values = values.unsqueeze(axis)
    return values


def _reduce(function: Callable[..., torch.Tensor]) -> Operator:
    def reduce(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
        axes, keep = _axes(attributes, inputs), bool(attributes.get("keepdims", 1))
        if not axes or 0 in [a % inputs[0].ndim for a in axes]:
            raise NotConvertible("a reduction over the images of a batch")
        return function(inputs[0], axes, keep)

    return reduce


def _pad(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    values, sides, fill = (*inputs, None, None)[:3]
    sides = attributes.get("pads") if sides is None else sides
    if attributes.get("mode", "constant") != "constant" or len(inputs) > 3 or sides is None:
        raise NotConvertible("a padding other than by a constant")
    count = len(sides) // 2
    ordered = [side for axis in reversed(range(count)) for side in (sides[axis], sides[axis + count])]
    return functional.pad(values, ordered, value=float(attributes.get("value", 0.0) if fill is None else fill))


def _concat(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    if all(isinstance(v, torch.Tensor) for v in inputs):
        return torch.cat(list(inputs), attributes["axis"])
    return tuple(number for v in inputs for number in (v if isinstance(v, tuple) else (v,)))


def _gather(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    values, index = inputs
    if isinstance(values, tuple):
        return values[index] if isinstance(index, int) else tuple(values[i] for i in index)
    axis = attributes.get("axis", 0)
    if axis % values.ndim == 0:
        raise NotConvertible("a choice among the images of a batch")
    if isinstance(index, int):
        return values.select(axis, index)
    return torch.cat([values.narrow(axis, int(i) % values.shape[axis], 1) for i in index], axis)


def _slice(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    values, *limits = inputs
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (
        _numbers(limits[i] if len(limits) > i and limits[i] is not None else attributes.get(name))
        for i, name in enumerate(names)
    )
    if isinstance(values, tuple):
        return values[starts[0] : ends[0] : steps[0] if steps else 1]
    cut = values
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[place] if axes else place) % values.ndim
        step = steps[place] if steps else 1
        if axis == 0 or step < 1:
            raise NotConvertible("a slice through the images of a batch, or backwards")
        cut = cut[(slice(None),) * axis + (slice(start, end, step),)]
    return cut


def _numbers(value: Any) -> list[int]:
    return [] if value is None else [int(v) for v in ((value,) if isinstance(value, int) else value)]


def _softmax(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    return _over_rest(torch.softmax, attributes, inputs[0])


def _log_softmax(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    return _over_rest(torch.log_softmax, attributes, inputs[0])


def _over_rest(function: Callable[..., torch.Tensor], attributes: Mapping[str, Any], values: torch.Tensor) -> Value:
    """Over one axis; before version 13 over that axis and all behind it, by default the second."""
    if attributes.get("opset", 13) >= 13:
        return function(values, attributes.get("axis", -1))
    axis = attributes.get("axis", 1) % values.ndim
    return function(values.flatten(axis), axis).reshape(values.shape)


def _arithmetic(function: Callable[[Any, Any], Any]) -> Operator:
    def apply(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
        result = inputs[0]
        for other in inputs[1:]:
            if isinstance(result, tuple) or isinstance(other, tuple):
                raise NotConvertible("arithmetic with shapes")
            result = function(result, other)
        return result

    return apply


def _tensors(function: Callable[..., torch.Tensor]) -> Operator:
    def fold(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
        result = inputs[0]
        for other in inputs[1:]:
            result = function(result, other if isinstance(other, torch.Tensor) else torch.tensor(float(other)))
        return result

    return fold


def _plain(function: Callable[[torch.Tensor], torch.Tensor]) -> Operator:
    return lambda attributes, inputs: function(inputs[0])


def _same(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    return inputs[0]


def _hard_sigmoid(attributes: Mapping[str, Any], inputs: Sequence[Value]) -> Value:
    return (attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5)).clamp(0, 1)


OPERATORS: dict[str, Operator] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "MatMul": _arithmetic(lambda a, b: a @ b),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _plain(lambda x: x.mean((2, 3), keepdim=True)),
    "GlobalMaxPool": _plain(lambda x: functional.adaptive_max_pool2d(x, 1)),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Relu": _plain(functional.relu),
    "LeakyRelu": lambda a, x: functional.leaky_relu(x[0], a.get("alpha", 0.01)),
    "PRelu": lambda a, x: x[0].clamp(min=0) + x[1] * x[0].clamp(max=0),
    "Elu": lambda a, x: functional.elu(x[0], a.get("alpha", 1.0)),
    "Selu": _plain(functional.selu),
    "Sigmoid": _plain(torch.sigmoid),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(functional.hardswish),
    "Mish": _plain(functional.mish),
    "Gelu": lambda a, x: functional.gelu(x[0], approximate=a.get("approximate", "none")),
    "Softplus": _plain(functional.softplus),
    "Tanh": _plain(torch.tanh),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Log": _plain(torch.log),
    "Sqrt": _plain(torch.sqrt),
    "Reciprocal": _plain(torch.reciprocal),
    "Neg": _plain(torch.neg),
    "Abs": _plain(torch.abs),
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Clip": _clip,
    "Add": _arithmetic(lambda a, b: a + b),
    "Sum": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    "Div": _arithmetic(lambda a, b: a / b),
    "Pow": _arithmetic(lambda a, b: a**b),
    "Max": _tensors(torch.maximum),
    "Min": _tensors(torch.minimum),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": lambda a, x: x[0].permute(a["perm"]) if "perm" in a else x[0].T,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "Pad": _pad,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "Shape": lambda a, x: tuple(x[0].shape),
    "Cast": _same,
    "Identity": _same,
    "Dropout": _same,
}
