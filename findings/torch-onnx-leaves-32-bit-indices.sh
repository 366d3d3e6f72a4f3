#!/usr/bin/env bash
# torch's ONNX exporter: indexing by a tensor of 32-bit integers gives a file that is no valid ONNX model, without a word.
#
# Versions: torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.31.1, numpy 2.4.6. Date: 2026-11-30.
# Expected: torch takes 32-bit and 64-bit indices alike, and ONNX's GatherND and ScatterND take 64-bit ones only. The exporter, which
#   knows both types, widens the indices, or refuses.
# Behaviour: `x[order]` and `index_put` are exported without warning as GatherND and ScatterND on the 32-bit tensor. onnx's checker
#   with types and ONNX Runtime refuse the file. Networks with tables of relative positions in 32 bits (HaloNet of timm, whose gradient
#   scatters by them) export and cannot be loaded.
# Output seen: 64 bits: ['equal']; 32 bits: export without warning, GatherND refused, ScatterND refused
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import numpy as np
import onnxruntime
import torch


class Take(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.register_buffer("order", torch.tensor([2, 0, 1], dtype=kind))

    def forward(self, rows):
        return rows[self.order]


class Add(Take):
    def forward(self, rows):
        return torch.zeros_like(rows).index_put((self.order,), rows, accumulate=True)


def fate(module):
    rows = torch.arange(12.0).reshape(3, 4)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        program = torch.onnx.export(module, (rows,), dynamo=True, verbose=False)
    warned = any("int32" in str(w.message).lower() for w in said)
    try:
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    except Exception as error:
        return "refused" if "int32" in str(error) and not warned else "otherwise"
    (found,) = session.run(None, {session.get_inputs()[0].name: rows.numpy()})
    return "equal" if np.array_equal(found, module(rows).numpy()) else "otherwise"


long = {fate(Take(torch.int64)), fate(Add(torch.int64))}
taken, added = fate(Take(torch.int32)), fate(Add(torch.int32))
print(f"64 bits: {sorted(long)}; 32 bits: export without warning, GatherND {taken}, ScatterND {added}")
sys.exit(0 if long == {"equal"} and taken == added == "refused" else 1)
PY
