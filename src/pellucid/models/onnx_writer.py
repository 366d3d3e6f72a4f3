"""A traced graph of torch operations as an ONNX model, in a fraction of the time that torch's own exporter takes.

Torch's exporter traces a module twice more before it translates it. A graph of `trace_evidence` is already what an
exporter wants: forward operations with known shapes. This module only translates it, operation by operation
(`onnx_table.OPERATORS`). `Unwritable` names an operation that the table lacks; torch's exporter then takes over.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from .evidence_graph import GRADIENT_AXES
from .onnx_types import DTYPES

aten = torch.ops.aten
OPSET, IR_VERSION = 20, 10
MOVES = (aten.permute.default, aten.t.default, aten.transpose.int, aten.expand.default)
"""Operations that only lay values out in another way: the runtime does so with large weights, which a file has once."""

CREATORS = (
    aten.arange.start_step,
    aten.full.default,
    aten.zeros.default,
    aten.ones.default,
    aten.scalar_tensor.default,
)
"""Operations that make a tensor of no other."""

SMALL = 1 << 16
"""The most values of a constant that is stored once more in another layout."""


class Unwritable(Exception):  # a signal to the caller, never shown
    """An operation, or a use of one, that the table of operators has no translation for."""


class GraphWriter:
    """Collects the ONNX nodes and constants of one graph. Symbolic integers are ONNX values of shape (1,), int64."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.values: dict[Node, Any] = {}
        self._stored: dict[Node, str] = {}
        self._count = 0
        self._constants: dict[tuple[Any, ...], str] = {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or a tuple of names for several `outputs`."""
        names = tuple(self._name(kind) for _ in range(outputs))
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), **given))
        return names[0] if outputs == 1 else names

    def constant(self, array: Any, dtype: Any = None) -> str:
        """The name of a constant, one for each content."""
        values = np.array(array, dtype)
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(values, "constant")
        return self._constants[key]

    def initializer(self, values: Any, name: str) -> str:
        """Add a tensor of the graph's own under a name that is free."""
        chosen = self._name(name) if name in self.initializers or name == "constant" else name
        self.initializers[chosen] = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), chosen)
        return chosen

    def numbers(self, parts: Sequence[Any]) -> str:
        """A list of integers, some symbolic, as an ONNX value of shape (len,), int64."""
        known = [self.values.get(p, p) if isinstance(p, Node) else p for p in parts]
        if all(isinstance(k, int) for k in known):
            return self.constant(known, np.int64)
        single = [k if isinstance(k, str) else self.constant([k], np.int64) for k in known]
        return single[0] if len(single) == 1 else str(self.op("Concat", *single, axis=0))

    def shape(self, parts: Sequence[Any]) -> str:
        """The target of a Reshape: one symbolic length is left to the runtime as -1, which costs no operations."""
        known = [self.values.get(p, p) if isinstance(p, Node) else p for p in parts]
        symbolic = [i for i, k in enumerate(known) if isinstance(k, str)]
        if len(symbolic) == 1 and -1 not in known:
            known[symbolic[0]] = -1
        return self.numbers(known)

    def value(self, argument: Any, like: torch.dtype | None = None) -> str:
        """An argument as an ONNX value; a number becomes a constant of the type `like`. Symbolic integers are cast."""
        if isinstance(argument, Node):
            known = self.values[argument]
            if isinstance(known, torch.Tensor):
                known = self.store(argument, known)
            if isinstance(known, str):
                return self.cast(known, argument, like)
            argument = known
        if isinstance(argument, tuple) or argument is None or like is None:
            raise Unwritable(f"a value of type {type(argument).__name__}")
        return self.constant(argument, DTYPES[like].numpy)

    def store(self, node: Node, tensor: torch.Tensor) -> str:
        """The name of the tensor that a node always gives, stored when it is first used."""
        if node not in self._stored:
            name = str(node.target) if node.op == "get_attr" else node.name
            self._stored[node] = self.initializer(tensor.detach().cpu().contiguous().numpy(), name)
        return self._stored[node]

    def cast(self, name: str, node: Node, like: torch.dtype | None) -> str:
        """A value in the type `like`, where it is of another."""
        found = dtype_of(node)
        if like is None or found == like:
            return name
        return str(self.op("Cast", name, to=DTYPES[like].onnx))

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


Table = Mapping[Any, Callable[[GraphWriter, Node], Any]]


def dtype_of(node: Node) -> torch.dtype:
    """The type of a node's tensor; int64 for a symbolic integer."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        return value.dtype
    return torch.int64 if isinstance(value, torch.SymInt | int) else torch.float32


def write_onnx(
    graph: GraphModule, inputs: Sequence[str], outputs: Sequence[str], free: dict[str, tuple[str, ...]], table: Table
) -> onnx.ModelProto:
    """The ONNX model of a traced graph; `free` names the axes of each input whose length is open, first ones first.

    Raises Unwritable for a graph with an operation that has no row in the `table`.
    """
    writer = GraphWriter()
    placeholders = [n for n in graph.graph.nodes if n.op == "placeholder"]
    for node, name in zip(placeholders, inputs, strict=True):
        writer.values[node] = name
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            writer.values[node] = _attribute(graph, node)
        elif node.op == "call_function":
            writer.values[node] = _call(writer, node, table)
    (last,) = (n for n in graph.graph.nodes if n.op == "output")
    answers = last.args[0] if isinstance(last.args[0], list | tuple) else [last.args[0]]
    for node, name in zip(answers, outputs, strict=True):
        writer.nodes.append(helper.make_node("Identity", [writer.value(node)], [name]))
    asked = [_info(name, node, free[name]) for node, name in zip(placeholders, inputs, strict=True)]
    given = [_info(name, node, _open_axes(node)) for node, name in zip(answers, outputs, strict=True)]
    drawn = _used_only(helper.make_graph(writer.nodes, "graph", asked, given, list(writer.initializers.values())))
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(drawn, opset_imports=opsets, ir_version=IR_VERSION, producer_name="pellucid")


def _attribute(graph: GraphModule, node: Node) -> torch.Tensor:
    owner: Any = graph
    for part in str(node.target).split("."):
        owner = getattr(owner, part)
    if not isinstance(owner, torch.Tensor):
        raise Unwritable(f"a constant of type {type(owner).__name__}")
    node.meta.setdefault("val", owner)
    return owner


def _call(writer: GraphWriter, node: Node, table: Table) -> Any:
    if node.target is operator.getitem:
        source = writer.values[node.args[0]]  # type: ignore[index]
        return source[node.args[1]]
    if (known := _known(writer, node)) is not None:
        return known
    write = table.get(node.target)
    if write is None:
        return _in_place(writer, node, table)
    return write(writer, node)


def _in_place(writer: GraphWriter, node: Node, table: Table) -> Any:
    """An operation that changes its first input: the plain one, whose result then stands for that input.

    Unwritable where another node shares the input's memory, as its value would have to change too.
    """
    name, _, overload = str(node.target).removeprefix("aten.").partition(".")
    plain = getattr(getattr(aten, name.rstrip("_"), None), overload, None) if name.endswith("_") else None
    write = table.get(plain)
    if write is None:
        raise Unwritable(str(node.target))
    changed = node.args[0]
    if not isinstance(changed, Node) or changed.op != "call_function" or _shares_memory(changed, node):
        raise Unwritable(f"{node.target} on shared memory")
    writer.values[changed] = write(writer, node)
    return writer.values[changed]


def _shares_memory(changed: Node, by: Node) -> bool:
    """Whether a node is a view of another, or has a view that is made before `by` changes it and used later."""
    if _is_view(changed):
        return True
    order = {node: place for place, node in enumerate(by.graph.nodes)}
    views = [user for user in changed.users if _is_view(user) and order[user] < order[by]]
    return any(order[user] > order[by] for view in views for user in view.users)


def _is_view(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)


def _known(writer: GraphWriter, node: Node) -> Any:
    """The value of an operation on constants alone, computed once here; None where it is left to the runtime."""
    inputs = node.all_input_nodes
    if not inputs and node.target not in CREATORS:
        return None
    if not all(isinstance(writer.values[i], torch.Tensor) for i in inputs) or _changes_its_input(node):
        return None
    if node.target in MOVES and (node.target is MOVES[-1] or writer.values[inputs[0]].numel() > SMALL):
        return None
    given = map_arg((node.args, node.kwargs), lambda n: writer.values[n])
    with torch.no_grad():
        found = node.target(*given[0], **given[1])  # type: ignore[operator]
    return found if inputs or found.numel() <= SMALL else None


def _changes_its_input(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is None or schema.is_mutable)


def _open_axes(node: Node) -> tuple[str, ...]:
    """The axes of an output whose length is open: gradients (N, T, C, h, w) have one for targets, others do not."""
    return ("images", "targets") if node.meta["val"].ndim == GRADIENT_AXES else ("images",)


def _info(name: str, node: Node, free: tuple[str, ...]) -> onnx.ValueInfoProto:
    value = node.meta["val"]
    lengths = [free[i] if i < len(free) else int(size) for i, size in enumerate(value.shape)]
    return helper.make_tensor_value_info(name, DTYPES[value.dtype].onnx, lengths)


def _used_only(graph: onnx.GraphProto) -> onnx.GraphProto:
    """The graph without nodes and constants that nothing needs."""
    needed = {o.name for o in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(node.input)
    initializers = [t for t in graph.initializer if t.name in needed]
    return helper.make_graph(kept[::-1], graph.name, graph.input, graph.output, initializers)
