"""Traced graphs as ONNX files, with weights of their own or those that lie beside them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
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
    with _quiet():
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
    """Write a program whose weights are read from the WEIGHTS file beside it, where its bytes `weights` have them."""
    model: onnx.ModelProto = program.model_proto
    for tensor in model.graph.initializer:
        raw = tensor.raw_data
        place = weights.find(raw) if len(raw) >= LEAST_SHARED else -1
        if place < 0 or place % 4:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", str(place)), ("length", str(len(raw)))):
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
