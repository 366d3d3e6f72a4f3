#!/usr/bin/env bash
# A dynamically quantised ONNX model answers an image differently, depending on the other images of its batch.
#
# Versions: onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6. Date: 2026-11-29.
# Expected: inference has no batch statistics, so row i of an answer depends on row i of the input, up to rounding of
#   1e-7. `quantize_dynamic` documents that scales are computed at run time, and not over what.
# Behaviour: DynamicQuantizeLinear takes one scale over the whole tensor, batch included. One bright image coarsens the
#   steps of all others: a probability moved by 0.11 here, and the predicted class of a row changed. Servers
#   that batch requests of several users, and perturbation explanations (LIME, occlusion), get answers nobody can repeat.
# Output seen: float model: largest change 0.0e+00; int8 model: largest change 1.1e-01, predicted class changed in 1 of 32
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

rng = np.random.default_rng(0)
tensors = [
    numpy_helper.from_array(rng.normal(0, 0.3, (64, 32)).astype(np.float32), "w1"),
    numpy_helper.from_array(rng.normal(0, 0.3, (32, 3)).astype(np.float32), "w2"),
]
nodes = [
    helper.make_node("MatMul", ["x", "w1"], ["a"]),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("MatMul", ["b", "w2"], ["c"]),
    helper.make_node("Softmax", ["c"], ["y"], axis=1),
]
graph = helper.make_graph(
    nodes,
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    tensors,
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "float.onnx")
quantize_dynamic("float.onnx", "int8.onnx")
x = rng.normal(0, 1, (32, 64)).astype(np.float32)
bright = np.concatenate([x, np.full((1, 64), 40, np.float32)])
changes, classes = {}, {}
for name in ("float", "int8"):
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    alone = np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])
    beside = session.run(None, {"x": bright})[0][:-1]
    changes[name] = float(np.abs(alone - beside).max())
    classes[name] = int((alone.argmax(1) != beside.argmax(1)).sum())
print(
    f"float model: largest change {changes['float']:.1e}; int8 model: largest change {changes['int8']:.1e}, "
    f"predicted class changed in {classes['int8']} of {len(x)}"
)
sys.exit(0 if changes["float"] < 1e-5 and changes["int8"] > 1e-2 and classes["int8"] else 1)
PY
