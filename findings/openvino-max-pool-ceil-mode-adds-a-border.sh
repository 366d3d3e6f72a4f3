#!/usr/bin/env bash
# OpenVINO: pooling of an ONNX file with `ceil_mode` may add a border of -3.4e+38, and takes other means at the border.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6. Date: 2026-11-30.
# Expected: ONNX (MaxPool-22, AveragePool-22) drops a window that would start in the padding on the right, as torch does, from which
#   such files come; and what `ceil_mode` adds beyond the padding is in no mean, even with `count_include_pad`.
# Behaviour: MaxPool of 11 x 11 with kernel 2, stride 2 and padding 1 has 7 x 7 outputs instead of 6 x 6, the last row and column
#   of them -3.4e+38, the least float32, which then enters any mean over the image. AveragePool of ones with kernel 3, stride 2 and
#   padding 1 ends in 0.33 instead of 0.50. ONNX Runtime and the reference of the onnx package agree with the definition.
# Output seen: MaxPool by ONNX Runtime and by the reference: 6 x 6, last row 1 ...; by OpenVINO: 7 x 7, last row -3.4e+38 ...
#   AveragePool: 4 x 4 by all, last row 0.33 0.5 0.5 0.25 by ONNX Runtime and by the reference, 0.22 0.33 0.33 0.11 by OpenVINO
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def answers(kind, side, **attributes):
    """What the three make of an image of ones."""
    ones = np.ones((1, 1, side, side), np.float32)
    node = helper.make_node(kind, ["x"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2], ceil_mode=1, **attributes)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", ones.shape), ("y", [1, 1, "h", "w"]))]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "pool.onnx")
    session = onnxruntime.InferenceSession("pool.onnx", providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model("pool.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {
        "ONNX Runtime": session.run(None, {"x": ones})[0],
        "the reference": ReferenceEvaluator(model).run(None, {"x": ones})[0],
        "OpenVINO": compiled([ones])[0],
    }
    for name, values in found.items():
        print(f"{kind} by {name}: {values.shape[2]} x {values.shape[3]}, last row", *(f"{v:.2g}" for v in values[0, 0, -1]))
    return [values[0, 0] for values in found.values()]


runtime, reference, vino = answers("MaxPool", 11, kernel_shape=[2, 2])
largest = np.array_equal(runtime, reference) and (runtime == 1).all() and vino.shape == (7, 7) and (vino[-1] < -1e38).all()
runtime, reference, vino = answers("AveragePool", 6, kernel_shape=[3, 3], count_include_pad=1)
mean = np.allclose(runtime, reference) and np.isclose(runtime[-1, 1], 1 / 2) and np.isclose(vino[-1, 1], 1 / 3)
sys.exit(0 if largest and mean else 1)
PY
