#!/usr/bin/env bash
# onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6. 2026-11-29.
#
# Expected: a model that onnxruntime.quantization.quantize_dynamic made answers each row of a batch by itself, as the
# float model does, so that the batch size changes the last digits at most.
# Seen: activations are scaled by the smallest and largest value of the whole batch (DynamicQuantizeLinear works per
# tensor). A row of large values beside it multiplies the error of a row of small ones by some hundred. A server that
# batches the requests of several clients makes each answer depend on the others.
# Output seen:
#   float model: row 0 alone and in the batch differ by 0.0e+00
#   int8 model:  row 0 alone and in the batch differ by 3.9e-01
#   error of row 0 against float: 6.3e-04 alone, 3.9e-01 in the batch
# Exit 0: as stated. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat > check.py <<'PYTHON'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
weights = rng.normal(0, 1, (64, 3)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["z"])],
    "linear",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
    [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 3])],
    [numpy_helper.from_array(weights, "w")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "float.onnx")
quantize_dynamic("float.onnx", "int8.onnx")
dark = rng.random((1, 64), np.float32) * np.float32(0.05)
bright = np.full((1, 64), 40, np.float32)


def answers(name, rows):
    return onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"]).run(None, {"x": rows})[0]


both = np.concatenate([dark, bright])
float_alone, float_both = answers("float.onnx", dark)[0], answers("float.onnx", both)[0]
alone, beside = answers("int8.onnx", dark)[0], answers("int8.onnx", both)[0]
moved_float, moved = np.abs(float_alone - float_both).max(), np.abs(alone - beside).max()
errors = np.abs(alone - float_alone).max(), np.abs(beside - float_alone).max()
print(f"float model: row 0 alone and in the batch differ by {moved_float:.1e}")
print(f"int8 model:  row 0 alone and in the batch differ by {moved:.1e}")
print(f"error of row 0 against float: {errors[0]:.1e} alone, {errors[1]:.1e} in the batch")
sys.exit(0 if moved_float < 1e-5 and errors[1] > 20 * errors[0] else 1)
PYTHON
"$folder/venv/bin/python" check.py
