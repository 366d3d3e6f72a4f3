#!/usr/bin/env bash
# OpenVINO does not compile a usual reordering of attention heads for a free number of images.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6. Date: 2026-11-30.
# Expected: Reshape, Transpose and Reshape, which put queries, keys and values (or their gradients) side by side, are
#   valid for any number of images, as the ONNX checker says; shapes with a free first axis are usual.
# Behaviour: read_model takes the graph, and compile_model raises RuntimeError: a pass that looks for channels to shuffle
#   (ShuffleChannelsFusion) asks the free axis for its length. With the same number of images fixed, the graph compiles
#   and is right. So vision transformers can be compiled forwards, and some of them with their gradient not.
# Output seen:
#   2 images, fixed: off by 0.0
#   free number of images: RuntimeError, ShuffleChannelsFusion named: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

HEADS, TOKENS, WIDTH = 2, 17, 12


def graph(first):
    nodes = [
        helper.make_node("Reshape", ["x", "apart"], ["three"]),
        helper.make_node("Transpose", ["three"], ["beside"], perm=[1, 3, 0, 2, 4]),
        helper.make_node("Reshape", ["beside", "rows"], ["y"]),
    ]
    shapes = {"apart": [3, -1, HEADS, TOKENS, WIDTH], "rows": [-1, 3 * HEADS * WIDTH]}
    held = [numpy_helper.from_array(np.array(shape), name) for name, shape in shapes.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [first, HEADS, TOKENS, WIDTH])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3 * HEADS * WIDTH])
    whole = helper.make_graph(nodes, "heads", [given], [made], held)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


core = openvino.Core()
x = np.random.default_rng(0).normal(size=(3 * 2, HEADS, TOKENS, WIDTH)).astype(np.float32)
right = x.reshape(3, 2, HEADS, TOKENS, WIDTH).transpose(1, 3, 0, 2, 4).reshape(-1, 3 * HEADS * WIDTH)
fixed = core.compile_model(core.read_model(graph(len(x))), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
off = float(np.abs(fixed([x])[0] - right).max())
print(f"2 images, fixed: off by {off}")
try:
    core.compile_model(core.read_model(graph("n")), "CPU")
    named = None
    print("free number of images: compiled")
except RuntimeError as error:
    named = "ShuffleChannelsFusion" in str(error)
    print(f"free number of images: RuntimeError, ShuffleChannelsFusion named: {named}")
sys.exit(0 if off == 0 and named else 1)
PY
