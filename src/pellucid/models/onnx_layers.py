"""Sums, products and layers in ONNX."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch

from .decompositions import cells_counted
from .onnx_table import OPERATORS, Row, argument, axis_of, each_axis, lengths, row
from .onnx_types import DTYPES
from .onnx_writer import GraphWriter, Unwritable, dtype_of

aten = torch.ops.aten


def _reduction(kind: str) -> Row:
    def write(w: GraphWriter, n: Any) -> str:
        source: Any = n.args[0]
        dims = argument(n, 1, "dim", None)
        dims = [dims] if isinstance(dims, int) else dims
        axes = [axis_of(source, d) for d in dims] if dims else list(range(source.meta["val"].ndim))
        keep = int(bool(argument(n, 2, "keepdim", False)))
        value = w.value(source, dtype_of(n))
        return str(w.op(kind, value, w.constant(axes, np.int64), keepdims=keep)) if axes else value

    return write


OPERATORS[aten.sum.dim_IntList] = OPERATORS[aten.sum.default] = _reduction("ReduceSum")
OPERATORS[aten.mean.dim] = OPERATORS[aten.mean.default] = _reduction("ReduceMean")
OPERATORS[aten.amax.default], OPERATORS[aten.amin.default] = _reduction("ReduceMax"), _reduction("ReduceMin")


@row(aten.any.dim, aten.any.dims)
def _any(w: GraphWriter, n: Any) -> str:
    source: Any = n.args[0]
    dims = argument(n, 1, "dim")
    axes = [axis_of(source, d) for d in ([dims] if isinstance(dims, int) else dims)]
    numbers = w.op("Cast", w.value(source), to=DTYPES[torch.int32].onnx)
    most = w.op("ReduceMax", numbers, w.constant(axes, np.int64), keepdims=int(bool(argument(n, 2, "keepdim", False))))
    return str(w.op("Cast", most, to=DTYPES[torch.bool].onnx))


@row(aten.argmax.default)
def _argmax(w: GraphWriter, n: Any) -> str:
    axis = argument(n, 1, "dim")
    if axis is None:
        raise Unwritable("the largest of a whole tensor")
    keep = int(bool(argument(n, 2, "keepdim", False)))
    return str(w.op("ArgMax", w.value(n.args[0]), axis=axis_of(n.args[0], axis), keepdims=keep))


@row(aten.max.dim)
def _max(w: GraphWriter, n: Any) -> Any:
    source: Any = n.args[0]
    axis, keep = axis_of(source, n.args[1]), int(bool(argument(n, 2, "keepdim", False)))
    value = w.value(source)
    most = w.op("ReduceMax", value, w.constant([axis], np.int64), keepdims=keep)
    return most, w.op("ArgMax", value, axis=axis, keepdims=keep)


@row(aten.cumsum.default)
def _cumsum(w: GraphWriter, n: Any) -> str:
    return str(w.op("CumSum", w.value(n.args[0], dtype_of(n)), w.constant(axis_of(n, n.args[1]), np.int64)))


@row(aten._softmax.default)
def _softmax(w: GraphWriter, n: Any) -> str:
    return str(w.op("Softmax", w.value(n.args[0]), axis=axis_of(n, n.args[1])))


@row(aten._log_softmax.default)
def _log_softmax(w: GraphWriter, n: Any) -> str:
    return str(w.op("LogSoftmax", w.value(n.args[0]), axis=axis_of(n, n.args[1])))


@row(aten.mm.default, aten.bmm.default)
def _matmul(w: GraphWriter, n: Any) -> str:
    if (weight := _turned_weight(w, n.args[1])) is not None:
        return str(w.op("Gemm", w.value(n.args[0]), weight, transB=1))
    return str(w.op("MatMul", w.value(n.args[0]), w.value(n.args[1])))


def _turned_weight(w: GraphWriter, matrix: Any) -> str | None:
    """The name of a weight of which a matrix is the transpose, for a product that turns it itself; None for others."""
    if matrix.target is not aten.permute.default or list(matrix.args[1]) != [1, 0]:
        return None
    source = matrix.args[0]
    return w.value(source) if isinstance(w.values[source], torch.Tensor) else None


@row(aten.addmm.default, aten.baddbmm.default)
def _addmm(w: GraphWriter, n: Any) -> str:
    if n.kwargs.get("alpha", 1) != 1 or n.kwargs.get("beta", 1) != 1:
        raise Unwritable("a weighted sum of products")
    if n.target is aten.baddbmm.default:
        return str(w.op("Add", w.op("MatMul", w.value(n.args[1]), w.value(n.args[2])), w.value(n.args[0])))
    turned = _turned_weight(w, n.args[2])
    matrix = w.value(n.args[2]) if turned is None else turned
    return str(w.op("Gemm", w.value(n.args[1]), matrix, w.value(n.args[0]), transB=None if turned is None else 1))


@row(aten.var.correction)
def _variance(w: GraphWriter, n: Any) -> str:
    source: Any = n.args[0]
    axes = w.constant([axis_of(source, d) for d in argument(n, 1, "dim")], np.int64)
    counts = [lengths(source)[axis_of(source, d)] for d in argument(n, 1, "dim")]
    correction = n.kwargs.get("correction", 1)
    count = int(np.prod(counts))
    value = w.value(source)
    off = w.op("Sub", value, w.op("ReduceMean", value, axes, keepdims=1))
    keep = int(bool(n.kwargs.get("keepdim", False)))
    mean = w.op("ReduceMean", w.op("Mul", off, off), axes, keepdims=keep)
    return str(w.op("Mul", mean, w.constant(count / (count - (1 if correction is None else correction)), np.float32)))


@row(aten.convolution.default)
def _convolution(w: GraphWriter, n: Any) -> str:
    image, weight, bias, stride, padding, dilation, transposed, extra, groups = n.args[:9]
    inputs = [w.value(image), w.value(weight), *([w.value(bias)] if bias is not None else [])]
    shape: Any = n.args[1].meta["val"].shape if "val" in n.args[1].meta else None
    kernel = [int(s) for s in shape[2:]] if shape is not None else None
    rank = n.meta["val"].ndim - 2
    steps, pads, spread, rest = (each_axis(v, rank) for v in (stride, padding, dilation, extra))
    common = {"strides": steps, "pads": [*pads, *pads], "dilations": spread, "group": groups, "kernel_shape": kernel}
    if transposed:
        return str(w.op("ConvTranspose", *inputs, **common, output_padding=rest))
    return str(w.op("Conv", *inputs, **common))


@row(aten._native_batch_norm_legit_no_training.default)
def _batch_norm(w: GraphWriter, n: Any) -> Any:
    image, weight, bias, mean, variance, _, epsilon = n.args[:7]
    channels = lengths(n.args[0])[1]
    scale = w.constant(np.ones(channels), np.float32) if weight is None else w.value(weight)
    shift = w.constant(np.zeros(channels), np.float32) if bias is None else w.value(bias)
    out = w.op(
        "BatchNormalization", w.value(image), scale, shift, w.value(mean), w.value(variance), epsilon=float(epsilon)
    )
    return out, None, None


@row(aten.native_layer_norm.default)
def _layer_norm(w: GraphWriter, n: Any) -> Any:
    image, shape, weight, bias, epsilon = n.args[:5]
    sizes: Any = shape
    scale = w.constant(np.ones(sizes), np.float32) if weight is None else w.value(weight)
    inputs = [w.value(image), scale, *([w.value(bias)] if bias is not None else [])]
    return w.op("LayerNormalization", *inputs, outputs=3, axis=-len(sizes), epsilon=float(epsilon))


@row(aten.max_pool2d_with_indices.default)
def _max_pool(w: GraphWriter, n: Any) -> Any:
    source: Any = n.args[0]
    kernel = each_axis(n.args[1], 2)
    stride = each_axis(argument(n, 2, "stride") or kernel, 2)
    pads, spread = each_axis(argument(n, 3, "padding", 0), 2), each_axis(argument(n, 4, "dilation", 1), 2)
    ceil = int(bool(argument(n, 5, "ceil_mode", False)))
    shape: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "dilations": spread, "ceil_mode": ceil}
    shape["pads"] = [*pads, *pads]
    if not any(u.target is operator.getitem and u.args[1] == 1 and u.users for u in n.users):
        return w.op("MaxPool", w.value(source), **shape), None
    most, places = w.op("MaxPool", w.value(source), outputs=2, **shape)
    # ONNX counts over the whole tensor, torch within a channel.
    cells = int(np.prod(lengths(source)[2:]))
    return most, w.op("Mod", places, w.constant(cells, np.int64))


@row(aten.avg_pool2d.default)
def _average_pool(w: GraphWriter, n: Any) -> str:
    kernel = each_axis(n.args[1], 2)
    stride = each_axis(argument(n, 2, "stride") or kernel, 2)
    pads = each_axis(argument(n, 3, "padding", 0), 2)
    counted, divisor = bool(argument(n, 5, "count_include_pad", True)), argument(n, 6, "divisor_override")
    if any(pads) or argument(n, 4, "ceil_mode", False) or divisor is not None:
        return _uneven_average(w, n, kernel, stride, pads, counted, divisor)
    return str(w.op("AveragePool", w.value(n.args[0]), kernel_shape=kernel, strides=stride))


def _uneven_average(
    w: GraphWriter, n: Any, kernel: list[int], stride: list[int], pads: list[int], counted: bool, divisor: int | None
) -> str:
    """An average whose windows are of different sizes: of the padded map, times what each window's share is off by."""
    cells, windows = lengths(n.args[0])[2:], lengths(n)[2:]
    behind = [max(0, (windows[i] - 1) * stride[i] + kernel[i] - cells[i] - pads[i]) for i in range(2)]
    places = w.constant([0, 0, *pads, 0, 0, *behind], np.int64)
    padded = w.op("Pad", w.value(n.args[0]), places, w.constant(0, np.float32))
    mean = w.op("AveragePool", padded, kernel_shape=kernel, strides=stride)
    counts = [cells_counted(cells[i], windows[i], kernel[i], stride[i], pads[i], counted).numpy() for i in range(2)]
    shares = 1 / (divisor or np.outer(*counts))
    return str(w.op("Mul", mean, w.constant(kernel[0] * kernel[1] * shares, np.float32)))


@row(aten.adaptive_max_pool2d.default)
def _global_max(w: GraphWriter, n: Any) -> Any:
    source: Any = n.args[0]
    if each_axis(n.args[1], 2) != [1, 1]:
        raise Unwritable("an adaptive maximum of several cells")
    shape = lengths(source)
    flat = w.op("Reshape", w.value(source), w.constant([-1, shape[1], shape[2] * shape[3]], np.int64))
    last = w.constant([-1, shape[1], 1, 1], np.int64)
    most = w.op("ReduceMax", flat, w.constant([2], np.int64), keepdims=1)
    places = w.op("ArgMax", flat, axis=2, keepdims=1)
    return w.op("Reshape", most, last), w.op("Reshape", places, last)
