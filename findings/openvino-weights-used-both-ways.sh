#!/usr/bin/env bash
# OpenVINO on a CPU: weights that one layer uses as they are and another the other way round give wrong answers.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6. Date: 2026-11-30.
# Expected: x W' and x W from one graph that holds W once, in float32, as ONNX Runtime gives them. Graphs with a layer's
#   forward and backward part (gradients, tied autoencoders, tied embeddings) are made so.
# Behaviour: where the weights have as many outputs as inputs, the second product is that of the first orientation,
#   without a word. So with Gemm and its transposed twin, with MatMul behind a Transpose, and with Conv and ConvTranspose.
#   It depends on the place of the weights in memory: two initializers that lie in two places are right; one, or two
#   that refer to the same bytes of a file beside the graph, are wrong. A graph that is right becomes wrong when
#   save_model and read_model have passed it through OpenVINO's own format, which keeps equal weights once.
# Output seen:
#   Gemm, weights once: first product off by 0.00, second by 23.03
#   Gemm, weights twice: first product off by 0.00, second by 0.00
#   Gemm, weights twice, saved and read: first product off by 0.00, second by 23.06
#   Conv and ConvTranspose, weights once: first product off by 0.00, second by 23.40
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

SIDE = 24
random = np.random.default_rng(0)


def graph(kinds, options, weights, shape, twice):
    names = ("a", "b" if twice else "a")
    nodes = [helper.make_node(k, ["x", n], [o], **given) for k, n, o, given in zip(kinds, names, "yz", options)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xyz"]
    held = [numpy_helper.from_array(weights, name) for name in dict.fromkeys(names)]
    model = helper.make_graph(nodes, "both", values[:1], values[1:], held)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def off(content, shape, saved=False):
    x = random.normal(size=shape).astype(np.float32)
    right = onnxruntime.InferenceSession(content).run(["y", "z"], {"x": x})
    core = openvino.Core()
    model = core.read_model(content)
    if saved:
        openvino.save_model(model, "saved.xml", compress_to_fp16=False)
        model = core.read_model("saved.xml")
    found = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])
    return [float(np.abs(found[i] - right[i]).max()) for i in (0, 1)]


matrix = random.normal(size=(SIDE, SIDE)).astype(np.float32)
kernel = random.normal(size=(SIDE, SIDE, 1, 1)).astype(np.float32)
products = ("Gemm", "Gemm"), ({"transB": 1}, {}), matrix, (5, SIDE)
convolutions = ("Conv", "ConvTranspose"), ({}, {}), kernel, (2, SIDE, 8, 8)
seen = {
    "Gemm, weights once": off(graph(*products, twice=False), (5, SIDE)),
    "Gemm, weights twice": off(graph(*products, twice=True), (5, SIDE)),
    "Gemm, weights twice, saved and read": off(graph(*products, twice=True), (5, SIDE), saved=True),
    "Conv and ConvTranspose, weights once": off(graph(*convolutions, twice=False), (2, SIDE, 8, 8)),
}
for what, (first, second) in seen.items():
    print(f"{what}: first product off by {first:.2f}, second by {second:.2f}")
wrong = [second > 1 for _, second in seen.values()]
sys.exit(0 if wrong == [True, False, True, True] and all(first < 1e-3 for first, _ in seen.values()) else 1)
PY
