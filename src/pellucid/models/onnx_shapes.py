"""Operations that lay values out in another way, pick or join values, in ONNX."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from .onnx_table import OPERATORS, Row, argument, axis_of, lengths, row
from .onnx_writer import GraphWriter, Unwritable, dtype_of

aten = torch.ops.aten
FARTHEST = np.iinfo(np.int64).max


@row(aten.sym_size.int)
def _size(w: GraphWriter, n: Any) -> Any:
    axis = axis_of(n.args[0], n.args[1])
    length = lengths(n.args[0])[axis]
    if length is not None:
        return length
    return w.op("Shape", w.value(n.args[0]), start=axis, end=axis + 1)


def _integers(kind: str, compute: Callable[[Any, Any], Any]) -> Row:
    def write(w: GraphWriter, n: Any) -> Any:
        known = [w.values.get(a, a) if isinstance(a, Node) else a for a in n.args[:2]]
        if all(isinstance(k, int) for k in known):
            return compute(*known)
        if not all(isinstance(k, int | str) for k in known):
            raise Unwritable("arithmetic of symbolic numbers that are no integers")
        return w.op(kind, *(k if isinstance(k, str) else w.constant([k], np.int64) for k in known))

    return write


for _function, _kind in (
    (operator.mul, "Mul"), (operator.add, "Add"), (operator.sub, "Sub"), (operator.floordiv, "Div"),
    (torch.sym_max, "Max"), (torch.sym_min, "Min"),
):  # fmt: skip
    OPERATORS[_function] = _integers(_kind, _function)


@row(aten.view.default, aten._unsafe_view.default, aten.reshape.default)
def _view(w: GraphWriter, n: Any) -> str:
    return str(w.op("Reshape", w.value(n.args[0]), w.shape(n.args[1])))


@row(aten.permute.default)
def _permute(w: GraphWriter, n: Any) -> str:
    order = [axis_of(n, a) for a in n.args[1]]
    return str(w.op("Transpose", w.value(n.args[0]), perm=order))


@row(aten.transpose.int, aten.t.default)
def _transpose(w: GraphWriter, n: Any) -> str:
    order = list(range(n.meta["val"].ndim))
    a, b = (axis_of(n, i) for i in (n.args[1:3] if len(n.args) > 2 else (0, 1)))
    order[a], order[b] = order[b], order[a]
    return str(w.op("Transpose", w.value(n.args[0]), perm=order))


@row(aten.expand.default)
def _expand(w: GraphWriter, n: Any) -> str:
    source: Any = n.args[0]
    sizes: Any = n.args[1]
    missing = len(sizes) - source.meta["val"].ndim
    own = [1] * missing + lengths(source)
    # An axis of -1 keeps its length, and 1 does so in ONNX.
    wanted = [1 if isinstance(s, int) and s == -1 else s for s in sizes]
    if all(isinstance(s, int) and isinstance(o, int) and (s in (1, o)) for s, o in zip(wanted, own, strict=True)):
        return str(w.op("Reshape", w.value(source), w.shape(own))) if missing else w.value(source)
    return str(w.op("Expand", w.value(source), w.numbers(wanted)))


@row(aten.squeeze.dims, aten.squeeze.dim)
def _squeeze(w: GraphWriter, n: Any) -> str:
    source: Any = n.args[0]
    asked = n.args[1] if isinstance(n.args[1], list | tuple) else [n.args[1]]
    axes = [a for a in (axis_of(source, a) for a in asked) if lengths(source)[a] == 1]
    return str(w.op("Squeeze", w.value(source), w.constant(axes, np.int64))) if axes else w.value(source)


@row(aten.unsqueeze.default)
def _unsqueeze(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n.args[0], n.args[1], extra=1)
    return str(w.op("Unsqueeze", w.value(n.args[0]), w.constant([axis], np.int64)))


@row(aten.cat.default)
def _cat(w: GraphWriter, n: Any) -> str:
    parts: Any = n.args[0]
    # Torch passes over empty tensors of one axis.
    kept = [p for p in parts if not (p.meta["val"].ndim == 1 and lengths(p) == [0] and n.meta["val"].ndim > 1)]
    return str(w.op("Concat", *(w.value(p, dtype_of(n)) for p in kept), axis=axis_of(n, argument(n, 1, "dim", 0))))


@row(aten.stack.default)
def _stack(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n, argument(n, 1, "dim", 0))
    places = w.constant([axis], np.int64)
    parts = [w.op("Unsqueeze", w.value(p, dtype_of(n)), places) for p in n.args[0]]
    return str(w.op("Concat", *parts, axis=axis))


@row(aten.repeat.default)
def _repeat(w: GraphWriter, n: Any) -> str:
    counts: Any = n.args[1]
    source: Any = n.args[0]
    missing = len(counts) - source.meta["val"].ndim
    value = w.value(source)
    if missing:
        value = w.op("Unsqueeze", value, w.constant(list(range(missing)), np.int64))
    return str(w.op("Tile", value, w.numbers(counts)))


def sliced(w: GraphWriter, value: str, axis: int, start: Any, end: Any, step: int = 1) -> str:
    """A slice of one axis; bounds may be symbolic."""
    parts = [w.numbers([start]), w.numbers([end]), w.constant([axis], np.int64), w.constant([step], np.int64)]
    return str(w.op("Slice", value, *parts))


@row(aten.slice.Tensor)
def _slice(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n.args[0], argument(n, 1, "dim", 0))
    start, end, step = argument(n, 2, "start") or 0, argument(n, 3, "end"), argument(n, 4, "step", 1)
    end = FARTHEST if end is None else end
    if isinstance(start, int) and isinstance(end, int) and start == 0 and end >= FARTHEST and step == 1:
        return w.value(n.args[0])
    return sliced(w, w.value(n.args[0]), axis, start, end, step)


@row(aten.select.int)
def _select(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n.args[0], n.args[1])
    if isinstance(n.args[2], Node):
        raise Unwritable("a symbolic index")
    return str(w.op("Gather", w.value(n.args[0]), w.constant(n.args[2], np.int64), axis=axis))


@row(aten.split_with_sizes.default)
def _split(w: GraphWriter, n: Any) -> Any:
    axis = axis_of(n.args[0], argument(n, 2, "dim", 0))
    sizes: Any = n.args[1]
    found = w.op("Split", w.value(n.args[0]), w.numbers(sizes), outputs=len(sizes), axis=axis)
    return (found,) if isinstance(found, str) else found


@row(aten.unbind.int)
def _unbind(w: GraphWriter, n: Any) -> Any:
    source: Any = n.args[0]
    axis = axis_of(source, argument(n, 1, "dim", 0))
    count = lengths(source)[axis]
    return tuple(w.op("Gather", w.value(source), w.constant(i, np.int64), axis=axis) for i in range(count))


@row(aten.flip.default)
def _flip(w: GraphWriter, n: Any) -> str:
    value = w.value(n.args[0])
    for axis in n.args[1]:
        value = sliced(w, value, axis_of(n, axis), -1, -FARTHEST, -1)
    return value


@row(aten.index.Tensor)
def _index(w: GraphWriter, n: Any) -> str:
    source: Any = n.args[0]
    indices: Any = n.args[1]
    used = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if any(not isinstance(i, Node) or dtype_of(i) == torch.bool for _, i in used):
        raise Unwritable("indices that are no numbers")
    value = w.value(source)
    if len(used) == 1:
        axis, index = used[0]
        return str(w.op("Gather", value, w.value(index), axis=axis))
    axes = [axis for axis, _ in used]
    separable = _as_grid(used)
    if separable and axes == list(range(axes[0], axes[0] + len(axes))):
        for axis, index in used:
            flat = w.op("Reshape", w.value(index), w.constant([-1], np.int64))
            value = w.op("Gather", value, flat, axis=axis)
        return value
    raise Unwritable("several indices that form no grid")


def _as_grid(used: list[tuple[int, Any]]) -> bool:
    """Whether the indices broadcast to a grid: each varies along an axis of its own, in order."""
    rank = len(used)
    for place, (_, index) in enumerate(used):
        shape = [1] * (rank - index.meta["val"].ndim) + lengths(index)
        if len(shape) != rank or any(isinstance(s, int) and s != 1 for i, s in enumerate(shape) if i != place):
            return False
    return True


@row(aten.index_select.default)
def _index_select(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n.args[0], n.args[1])
    return str(w.op("Gather", w.value(n.args[0]), w.value(n.args[2]), axis=axis))


@row(aten.embedding.default)
def _embedding(w: GraphWriter, n: Any) -> str:
    return str(w.op("Gather", w.value(n.args[0]), w.value(n.args[1]), axis=0))


@row(aten.gather.default)
def _gather(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n, n.args[1])
    return str(w.op("GatherElements", w.value(n.args[0]), w.value(n.args[2]), axis=axis))


@row(aten.scatter_add.default, aten.scatter.src, aten.scatter.value)
def _scatter(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n, n.args[1])
    index: Any = n.args[2]
    if n.target is aten.scatter.value:
        updates = w.op("Expand", w.value(n.args[3], dtype_of(n)), w.op("Shape", w.value(index)))
    else:
        updates = w.value(n.args[3])
    add = "add" if n.target is aten.scatter_add.default else None
    return str(w.op("ScatterElements", w.value(n.args[0]), w.value(index), updates, axis=axis, reduction=add))


@row(aten.slice_scatter.default)
def _slice_scatter(w: GraphWriter, n: Any) -> str:
    into, source = n.args[0], w.value(n.args[1])
    axis = axis_of(n, argument(n, 2, "dim", 0))
    length = lengths(n)[axis]
    start, end, step = argument(n, 3, "start") or 0, argument(n, 4, "end"), argument(n, 5, "step", 1)
    end = FARTHEST if end is None else end
    if start == 0 and isinstance(end, int) and end >= FARTHEST and step == 1:
        return source
    if length is None or not all(isinstance(b, int) for b in (start, end, step)):
        raise Unwritable("a slice of symbolic bounds that is written to")
    start, end = (min(b + length if b < 0 else b, length) for b in (start, end))
    if step == 1:
        return _between(w, w.value(into), source, axis, start, end, length)
    return _every_nth(w, n, w.value(into), source, axis, range(start, end, step))


def _between(w: GraphWriter, into: str, source: str, axis: int, start: int, end: int, length: int) -> str:
    before = [sliced(w, into, axis, 0, start)] if start else []
    behind = [sliced(w, into, axis, end, length)] if end < length else []
    parts = [*before, source, *behind]
    return str(w.op("Concat", *parts, axis=axis)) if len(parts) > 1 else source


def _every_nth(w: GraphWriter, n: Any, into: str, source: str, axis: int, places: range) -> str:
    """Rows of `source` at some places of an axis, those of `into` at the others: one Gather of both, in order."""
    length = lengths(n)[axis]
    order = np.arange(length)
    order[places] = length + np.arange(len(places))
    return str(w.op("Gather", w.op("Concat", into, source, axis=axis), w.constant(order, np.int64), axis=axis))


@row(aten.select_scatter.default)
def _select_scatter(w: GraphWriter, n: Any) -> str:
    axis = axis_of(n, n.args[2])
    length, index = lengths(n)[axis], n.args[3]
    if length is None or not isinstance(index, int):
        raise Unwritable("a symbolic place that is written to")
    index %= length
    source = str(w.op("Unsqueeze", w.value(n.args[1]), w.constant([axis], np.int64)))
    return _between(w, w.value(n.args[0]), source, axis, index, index + 1, length)


@row(aten.constant_pad_nd.default)
def _pad(w: GraphWriter, n: Any) -> str:
    return _padded(w, n, "constant")


@row(aten.reflection_pad2d.default)
def _reflect(w: GraphWriter, n: Any) -> str:
    return _padded(w, n, "reflect")


@row(aten.replication_pad2d.default)
def _replicate(w: GraphWriter, n: Any) -> str:
    return _padded(w, n, "edge")


def _padded(w: GraphWriter, n: Any, mode: str) -> str:
    pads: Any = n.args[1]
    if any(isinstance(p, Node) for p in pads):
        raise Unwritable("symbolic padding")
    rank = n.meta["val"].ndim
    before, behind = [0] * rank, [0] * rank
    for i in range(len(pads) // 2):
        before[rank - 1 - i], behind[rank - 1 - i] = pads[2 * i], pads[2 * i + 1]
    inputs = [w.value(n.args[0]), w.constant([*before, *behind], np.int64)]
    if mode == "constant":
        inputs.append(w.value(argument(n, 2, "value", 0) or 0, dtype_of(n)))
    return str(w.op("Pad", *inputs, mode=mode))
