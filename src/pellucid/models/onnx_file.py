"""Traced graphs as ONNX files, with weights of their own or those that lie beside them."""

from __future__ import annotations

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
from torch.fx import GraphModule

from ..bundle.manifest import WEIGHTS

FREE_IMAGES = {"image": ("images",), "target": ("images", "targets"), "contrast": (), "activations": ("images",)}
"""The axes of each input whose length is free, first ones first."""

LEAST_SHARED = 1024
"""Bytes of a tensor that is worth a reference."""


def onnx_program(
    graph: GraphModule, example: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> Any:
    """A traced graph as torch's ONNXProgram, for any number of images and targets."""
    sizes = {name: torch.export.Dim(name, min=1, max=65536) for name in ("images", "targets")}
    free = tuple({i: sizes[axis] for i, axis in enumerate(FREE_IMAGES[name])} or None for name in inputs)
    with quiet():
        return torch.onnx.export(
            graph,
            example,
            dynamo=True,
            verbose=False,
            dynamic_shapes=free,
            input_names=list(inputs),
            output_names=list(outputs),
        )


def save_beside(program: Any, path: Path, weights: bytes) -> None:
    """Write a program whose weights are read from the WEIGHTS file beside it, where its bytes `weights` have them.

    A matrix that lies there with rows and columns exchanged is turned by a node, which a runtime does once, on loading.
    """
    model: onnx.ModelProto = program.model_proto
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
    path.write_bytes(model.SerializeToString())


def _refer(tensor: onnx.TensorProto, raw: bytes, weights: bytes) -> bool:
    """Let a tensor be read from the WEIGHTS file, if its bytes are there at a place that suits single precision."""
    place = weights.find(raw)
    if place < 0 or place % 4:
        return False
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", str(place)), ("length", str(len(raw)))):
        tensor.external_data.add(key=key, value=value)
    return True


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
