#!/usr/bin/env bash
# OpenVINO with bfloat16: a Reshape behind the last matrix product rounds the outputs, declared float32, to bfloat16.
#
# Versions: openvino 2026.4.1, numpy 2.4.6. Date: 2026-11-30. Needs a CPU that reports BF16 (AVX512-BF16 or AMX).
# Expected: INFERENCE_PRECISION_HINT bf16 rounds the factors of a product; sums and the float32 output keep more digits. A Reshape
#   moves no number and therefore changes none.
# Behaviour: the product alone gives float32 sums. With a Reshape between it and the output, every output is a number of bfloat16
#   (8 bits of mantissa), though the output's type is float32. Logits near 20 then lie on steps of 0.125: different images tie,
#   thresholds and calibration work on the steps. The same happens without any setting, since bf16 is the default on such a CPU.
# Output seen: product alone: 0.00 of the outputs are bfloat16 numbers; with a Reshape: 1.00; by default: 1.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install openvino==2026.4.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import openvino
from openvino import opset13 as ops

core = openvino.Core()
if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
    print("this CPU has no units for bfloat16, so there is nothing to show")
    sys.exit(0)
rng = np.random.default_rng(0)
weights, images = rng.normal(size=(64, 3)).astype(np.float32), rng.normal(size=(50, 64)).astype(np.float32)


def share_of_bfloat16(reshaped: bool, settings: dict) -> float:
    x = ops.parameter([-1, 64], np.float32, name="x")
    y = ops.matmul(x, ops.constant(weights), False, False)
    if reshaped:
        y = ops.reshape(y, ops.constant(np.array([-1, 1, 3])), False)
    compiled = core.compile_model(openvino.Model([y], [x], "m"), "CPU", settings)
    assert compiled.outputs[0].element_type == openvino.Type.f32
    found = np.array(compiled(images)[0])
    return float(((found.view(np.uint32) & 0xFFFF) == 0).mean())


bf16 = {"INFERENCE_PRECISION_HINT": "bf16"}
alone, reshaped, default = share_of_bfloat16(False, bf16), share_of_bfloat16(True, bf16), share_of_bfloat16(True, {})
print(f"product alone: {alone:.2f} of the outputs are bfloat16 numbers; with a Reshape: {reshaped:.2f}; by default: {default:.2f}")
sys.exit(0 if alone < 0.1 and reshaped == 1 and default == 1 else 1)
PY
