#!/usr/bin/env bash
# ONNX Runtime: a graph with BatchNormalization in training mode answers differently each time it is asked.
#
# Versions: onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6. Date: 2026-11-29.
# Expected: an InferenceSession keeps no state: the same input gives the same output. ONNX defines training_mode=1 as
#   y = (x - mean of the batch) / sqrt(variance of the batch + epsilon); the updated running statistics are outputs 2, 3.
#   Such files are common: torch.onnx.export(..., training=TRAINING), or a model exported before model.eval().
# Behaviour: where outputs 2 and 3 are not outputs of the graph, the session overwrites its own constants: the answer
#   to one input moves away from the definition call by call, with every caller's images, and already the first is off.
# Output seen: same input four times, distance from the definition: 1.7, 3.3, 4.7, 5.9
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

statistics = {"scale": 1, "bias": 0, "mean": 0, "variance": 1}
tensors = [numpy_helper.from_array(np.full(3, value, np.float32), name) for name, value in statistics.items()]
node = helper.make_node("BatchNormalization", ["x", *statistics], ["y", "m", "v"], training_mode=1)
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 4, 4]) for name in "xy"]
graph = helper.make_graph([node], "g", values[:1], values[1:], tensors)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
x = np.random.default_rng(0).normal(2, 3, (4, 3, 4, 4)).astype(np.float32)
axes = (0, 2, 3)
wanted = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
off = [float(np.abs(session.run(None, {"x": x})[0] - wanted).max()) for _ in range(4)]
print("same input four times, distance from the definition:", ", ".join(f"{o:.1f}" for o in off))
sys.exit(0 if off[0] > 0.1 and all(b > a + 0.1 for a, b in zip(off, off[1:])) else 1)
PY
