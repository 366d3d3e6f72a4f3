"""Weights on grids come back bit for bit, in the page's own code; others stay as they are."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tests.private_page.harness import CODEC, in_node, needs_node, packed

from pellucid.private_page.compact import MAGIC, compacted, on_grid

CODE = (
    'import { expanded } from "./compact.js";\n'
    + CODEC
    + """
globalThis.harness = async ({ graph }) => textOf(expanded(bytesOf(graph)));
"""
)


def on_steps(rows: int, columns: int, seed: int) -> np.ndarray:
    """8-bit integers times a step for each row, with a normalisation folded in, as published weights are."""
    random = np.random.default_rng(seed)
    integers = random.integers(-127, 128, (rows, columns)).astype(np.float32)
    steps = random.uniform(1e-4, 1e-1, (rows, 1)).astype(np.float32)
    return integers * steps * random.uniform(0.2, 3, (rows, 1)).astype(np.float32)


def graph_of(**tensors: np.ndarray) -> bytes:
    held = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph([node], "g", [value], [output], held)).SerializeToString()


@needs_node
def test_a_graph_comes_back_bit_for_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    tensors = {
        "grid": on_steps(40, 60, 1),
        "plain": random.normal(0, 1, (50, 50)).astype(np.float32),
        "small": on_steps(3, 3, 2),
        "kernels": on_steps(64, 27, 3).reshape(64, 3, 3, 3),
        "zeros": np.zeros((40, 60), np.float32),
        "again": on_steps(40, 60, 1),
        "places": np.arange(3000).reshape(30, 100),
    }
    graph = graph_of(**tensors)
    small = compacted(graph)
    assert small.startswith(MAGIC)
    assert len(small) < len(graph) - 3 * 2 * 40 * 60 * 0.4
    back = base64.b64decode(in_node(tmp_path, CODE, {"graph": packed(np.frombuffer(small, np.uint8))}))
    assert back == graph
    onnx.load_from_string(back)


@needs_node
def test_a_graph_without_a_grid_is_left_alone(tmp_path: Path) -> None:
    graph = graph_of(plain=np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float32))
    assert compacted(graph) is graph
    back = base64.b64decode(in_node(tmp_path, CODE, {"graph": packed(np.frombuffer(graph, np.uint8))}))
    assert back == graph


def test_what_lies_on_no_grid_is_refused() -> None:
    assert on_grid(np.random.default_rng(1).normal(0, 1, (8, 64)).astype(np.float32)) is None
    bad = on_steps(8, 64, 4)
    bad[5, 7] = np.nan
    assert on_grid(bad) is None
    found = on_grid(on_steps(8, 64, 4))
    assert found is not None
    assert np.abs(found[1]).max() <= 127
    assert np.abs(found[2]).max() <= 2
