"""Operations on each value, and tensors of one number, in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.fx import Node

from .onnx_table import OPERATORS, Row, argument, lengths, row
from .onnx_types import DTYPES
from .onnx_writer import GraphWriter, Unwritable, dtype_of

aten = torch.ops.aten


def _unary(kind: str) -> Row:
    return lambda w, n: w.op(kind, w.value(n.args[0], dtype_of(n)))


for _target, _kind in {
    aten.neg: "Neg", aten.abs: "Abs", aten.exp: "Exp", aten.log: "Log", aten.sqrt: "Sqrt", aten.sigmoid: "Sigmoid",
    aten.tanh: "Tanh", aten.erf: "Erf", aten.relu: "Relu", aten.reciprocal: "Reciprocal", aten.sin: "Sin",
    aten.cos: "Cos", aten.floor: "Floor", aten.ceil: "Ceil", aten.round: "Round", aten.sign: "Sign",
    aten.logical_not: "Not", aten.bitwise_not: "Not",
}.items():  # fmt: skip
    OPERATORS[_target.default] = _unary(_kind)


def _binary(kind: str, turned: bool = False) -> Row:
    def write(w: GraphWriter, n: Any) -> str:
        like = dtype_of(n)
        a, b = (w.value(v, like) for v in n.args[:2])
        factor = argument(n, 2, "alpha", 1)
        if factor != 1:
            b = w.op("Mul", b, w.value(factor, like))
        return str(w.op(kind, *((b, a) if turned else (a, b))))

    return write


for _targets, _kind in (
    ((aten.add.Tensor, aten.add.Scalar), "Add"),
    ((aten.sub.Tensor, aten.sub.Scalar), "Sub"),
    ((aten.mul.Tensor, aten.mul.Scalar), "Mul"),
    ((aten.div.Tensor, aten.div.Scalar), "Div"),
    ((aten.maximum.default,), "Max"),
    ((aten.minimum.default,), "Min"),
    ((aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor), "Pow"),
    ((aten.logical_and.default, aten.bitwise_and.Tensor), "And"),
    ((aten.logical_or.default, aten.bitwise_or.Tensor), "Or"),
):
    for _one in _targets:
        OPERATORS[_one] = _binary(_kind)
OPERATORS[aten.rsub.Scalar] = _binary("Sub", turned=True)


def _comparison(kind: str, negated: bool = False) -> Row:
    def write(w: GraphWriter, n: Any) -> str:
        first, second = n.args[:2]
        like = dtype_of(first) if isinstance(first, Node) else torch.float32
        if isinstance(second, Node) and dtype_of(second).is_floating_point:
            like = dtype_of(second)
        elif isinstance(second, float) and not like.is_floating_point:
            like = torch.float32
        found = str(w.op(kind, w.value(first, like), w.value(second, like)))
        return str(w.op("Not", found)) if negated else found

    return write


for _name, _kind, _negated in (
    ("eq", "Equal", False), ("ne", "Equal", True), ("lt", "Less", False), ("gt", "Greater", False),
    ("le", "LessOrEqual", False), ("ge", "GreaterOrEqual", False),
):  # fmt: skip
    for _form in ("Scalar", "Tensor"):
        OPERATORS[getattr(getattr(aten, _name), _form)] = _comparison(_kind, _negated)


@row(
    aten.clone.default, aten.alias.default, aten.contiguous.default, aten.lift_fresh_copy.default, aten.detach.default,
    aten._to_copy.default,
)  # fmt: skip
def _same(w: GraphWriter, n: Any) -> str:
    return w.value(n.args[0], dtype_of(n))


@row(aten.rsqrt.default)
def _rsqrt(w: GraphWriter, n: Any) -> str:
    return str(w.op("Reciprocal", w.op("Sqrt", w.value(n.args[0], dtype_of(n)))))


@row(aten.gelu.default)
def _gelu(w: GraphWriter, n: Any) -> str:
    return str(w.op("Gelu", w.value(n.args[0]), approximate=argument(n, 1, "approximate", "none")))


@row(aten.elu.default)
def _elu(w: GraphWriter, n: Any) -> str:
    if argument(n, 2, "scale", 1) != 1 or argument(n, 3, "input_scale", 1) != 1:
        raise Unwritable("a scaled ELU")
    return str(w.op("Elu", w.value(n.args[0]), alpha=float(argument(n, 1, "alpha", 1))))


@row(aten.leaky_relu.default)
def _leaky_relu(w: GraphWriter, n: Any) -> str:
    return str(w.op("LeakyRelu", w.value(n.args[0]), alpha=float(argument(n, 1, "negative_slope", 0.01))))


@row(aten.clamp.default, aten.hardtanh.default, aten.clamp_min.default)
def _clamp(w: GraphWriter, n: Any) -> str:
    like = dtype_of(n)
    hard = n.target is aten.hardtanh.default
    low, high = argument(n, 1, "min", -1 if hard else None), argument(n, 2, "max", 1 if hard else None)
    bounds = ["" if b is None else w.value(b, like) for b in (low, high)]
    return str(w.op("Clip", w.value(n.args[0], like), *(bounds if high is not None else bounds[:1])))


@row(aten.where.self)
def _where(w: GraphWriter, n: Any) -> str:
    like = dtype_of(n)
    return str(w.op("Where", w.value(n.args[0]), w.value(n.args[1], like), w.value(n.args[2], like)))


@row(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked_fill(w: GraphWriter, n: Any) -> str:
    like = dtype_of(n)
    return str(w.op("Where", w.value(n.args[1]), w.value(n.args[2], like), w.value(n.args[0], like)))


def filled(w: GraphWriter, n: Any, sizes: Any, number: Any) -> str:
    """A tensor of one number; of the sizes of the node's tensor, some symbolic."""
    dtype = DTYPES[dtype_of(n)].numpy
    known = [w.values.get(s, s) if isinstance(s, Node) else s for s in sizes]
    if not known:
        return w.constant(number, dtype)
    value = w.constant(number, dtype)
    return str(w.op("Expand", value, w.numbers(known)))


@row(aten.full.default)
def _full(w: GraphWriter, n: Any) -> str:
    return filled(w, n, n.args[0], n.args[1])


@row(aten.scalar_tensor.default)
def _scalar(w: GraphWriter, n: Any) -> str:
    return w.value(n.args[0], dtype_of(n))


@row(aten.zeros.default, aten.empty.memory_format, aten.new_zeros.default)
def _zeros(w: GraphWriter, n: Any) -> str:
    return filled(w, n, n.args[1] if n.target is aten.new_zeros.default else n.args[0], 0)


@row(aten.ones.default)
def _ones(w: GraphWriter, n: Any) -> str:
    return filled(w, n, n.args[0], 1)


@row(aten.full_like.default, aten.zeros_like.default, aten.ones_like.default, aten.empty_like.default)
def _like(w: GraphWriter, n: Any) -> str:
    number: Any = {aten.ones_like.default: 1, aten.full_like.default: argument(n, 1, "fill_value", 0)}.get(n.target, 0)
    source = n.args[0]
    if not isinstance(source, Node):
        raise Unwritable("the shape of a number")
    value = w.constant(number, DTYPES[dtype_of(n)].numpy)
    if None not in lengths(source):
        return str(w.op("Expand", value, w.constant(lengths(source), np.int64)))
    return str(w.op("Expand", value, w.op("Shape", w.value(source))))


@row(aten.arange.start_step)
def _arange(w: GraphWriter, n: Any) -> str:
    start, end, step = n.args[0], n.args[1], argument(n, 2, "step", 1)
    numpy = DTYPES[dtype_of(n)].numpy
    if not any(isinstance(a, Node) for a in (start, end, step)):
        return w.constant(np.arange(start, end, step), numpy)
    bounds = [
        w.op("Squeeze", w.value(a)) if isinstance(a, Node) else w.constant(a, np.int64) for a in (start, end, step)
    ]
    found = str(w.op("Range", *bounds))
    return found if dtype_of(n) == torch.int64 else str(w.op("Cast", found, to=DTYPES[dtype_of(n)].onnx))
