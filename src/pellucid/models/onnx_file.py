"""Traced graphs as ONNX files, which read the weights that lie beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import torch
from torch import nn
from torch.fx import GraphModule

from ..bundle.manifest import WEIGHTS
from . import onnx_layers, onnx_operators, onnx_shapes  # noqa: F401  # each adds its rows to the table
from .onnx_table import OPERATORS
from .onnx_writer import Unwritable, write_onnx

FREE_IMAGES = {"image": ("images",), "target": ("images", "targets"), "contrast": (), "activations": ("images",)}
"""The axes of each input whose length is free, first ones first."""

LEAST_SHARED = 256
"""Bytes of a tensor that is worth a reference."""

NORMALISATION = "BatchNormalization"
INDEXED = frozenset({"GatherND", "ScatterND"})
WEIGHTS_KEY = "weights sha256"


def onnx_program(
    graph: GraphModule, example: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """A traced graph as an ONNX model, for any number of images and targets.

    Written by `write_onnx`, and by torch's own exporter (ten times slower) where an operation is not in its table.
    """
    free = {name: tuple(axes) for name, axes in FREE_IMAGES.items()}
    try:
        return write_onnx(graph, inputs, outputs, free, OPERATORS)
    except (Unwritable, AttributeError, IndexError, KeyError, TypeError, ValueError):  # an operation used oddly
        return onnx_program_by_torch(graph, example, inputs, outputs)


def onnx_program_by_torch(
    graph: nn.Module, example: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """As `onnx_program`, by torch's own exporter, which takes any module.

    The exporter simplifies the graph, but for one step: it would fold batch normalisation into copies of the weights.
    Runtimes do so themselves on loading, and so the graph can refer to the weights as they were trained.
    """
    sizes = {name: torch.export.Dim(name, min=1, max=65536) for name in ("images", "targets")}
    free = tuple({i: sizes[axis] for i, axis in enumerate(FREE_IMAGES[name])} or None for name in inputs)
    with quiet():
        program: Any = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            verbose=False,
            optimize=False,
            dynamic_shapes=free,
            input_names=list(inputs),
            output_names=list(outputs),
        )
        if program is None:
            raise RuntimeError("the exporter gave nothing")
        kept = [node for node in program.model.graph.all_nodes() if node.op_type == NORMALISATION and not node.domain]
        for node in kept:
            node.op_type = f"{NORMALISATION}Kept"  # a name that no rule of the optimiser knows
        program.optimize()
        for node in program.model.graph.all_nodes():
            if node.op_type == f"{NORMALISATION}Kept":
                node.op_type = NORMALISATION
    model: onnx.ModelProto = program.model_proto
    _with_long_indices(model)
    return model


def _with_long_indices(model: onnx.ModelProto) -> None:
    """Make the indices of GatherND and ScatterND 64 bits wide, as ONNX asks: torch's exporter leaves them as they are.

    Torch takes indices of 32 bits too (2.15), and so some networks have them.
    """
    nodes = []
    for node in model.graph.node:
        if node.op_type in INDEXED:
            long = f"{node.input[1]} as {node.output[0]} indexes"
            nodes.append(onnx.helper.make_node("Cast", [node.input[1]], [long], to=onnx.TensorProto.INT64))
            node.input[1] = long
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class StoredWeights:
    """The bytes of a WEIGHTS file, and where in it each tensor lies."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        spans = [value["data_offsets"] for name, value in header.items() if name != "__metadata__"]
        self._places: dict[bytes, int] = {}
        for start, end in spans:
            place = 8 + length + start
            if place % 4 == 0:
                self._places.setdefault(_digest(content[place : place + end - start]), place)

    @property
    def checksum(self) -> str:
        """The sha256 of the whole file."""
        return hashlib.sha256(self.content).hexdigest()

    def find(self, raw: bytes) -> int | None:
        """Where a tensor with these bytes lies; None if none has them, or it does not suit single precision."""
        return self._places.get(_digest(raw))


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def save_beside(model: onnx.ModelProto, path: Path, weights: StoredWeights) -> None:
    """Write a model whose weights are read from the WEIGHTS file beside it, where that has them.

    A matrix that lies there with rows and columns exchanged is turned by a node, which a runtime does once, on loading.
    The graph names the checksum of its weights, so that the checksum of the graph tells one model from another.
    """
    _merge_repeated(model)
    turns: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) < LEAST_SHARED or _refer(tensor, tensor.raw_data, weights):
            continue
        if len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT:
            turned = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor).T)
            if _refer(tensor, turned.tobytes(), weights):
                name = tensor.name
                tensor.name += " as stored"
                tensor.dims[:] = turned.shape
                turns.append(onnx.helper.make_node("Transpose", [tensor.name], [name], perm=[1, 0]))
    nodes = [*turns, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _without_remarks(model)
    model.metadata_props.add(key=WEIGHTS_KEY, value=weights.checksum)
    path.write_bytes(model.SerializeToString())


def _merge_repeated(model: onnx.ModelProto) -> None:
    """Let tensors with the same content be one: a pass back uses the weights of the pass before it again.

    A runtime would load each one. Graphs that have graphs within, which may name a tensor too, stay as they are.
    """
    nodes, outputs = model.graph.node, {output.name for output in model.graph.output}
    if any(attribute.HasField("g") or attribute.graphs for node in nodes for attribute in node.attribute):
        return
    kept: list[onnx.TensorProto] = []
    first: dict[tuple[object, ...], str] = {}
    instead: dict[str, str] = {}
    for tensor in model.graph.initializer:
        key = (tensor.data_type, tuple(tensor.dims), _digest(tensor.raw_data))
        if len(tensor.raw_data) >= LEAST_SHARED and key in first and tensor.name not in outputs:
            instead[tensor.name] = first[key]
        else:
            first.setdefault(key, tensor.name)
            kept.append(tensor)
    if not instead:
        return
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in nodes:
        node.input[:] = [instead.get(name, name) for name in node.input]


def _refer(tensor: onnx.TensorProto, raw: bytes, weights: StoredWeights) -> bool:
    """Let a tensor be read from the WEIGHTS file, if its bytes are there."""
    place = weights.find(raw)
    if place is None:
        return False
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", str(place)), ("length", str(len(raw)))):
        tensor.external_data.add(key=key, value=value)
    return True


def _without_remarks(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes on where each node came from, which takes more room than a small graph."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del item.metadata_props[:]
        item.ClearField("doc_string")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the remarks that tracer and exporter make about themselves from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
