#!/usr/bin/env bash
# torch on a CPU with bfloat16 units: the input gradient of a strided depthwise convolution is many times slower than it
# need be.
#
# Versions: torch 2.13.0 (oneDNN inside), also seen with 2.15.0. Date: 2026-11-30.
# Expected: `convolution_backward` is at least as quick as the same gradient made of torch's own parts: zeros put between
#   the values of the gradient, then a depthwise convolution without stride by the mirrored kernel. In float32 it is.
# Behaviour: in bfloat16, on a CPU that has AVX512-BF16, it takes several times as long, with the same bits. The forward
#   pass is quick, so autocast looks like a gain; a training step of MobileNetV2 (four such layers) loses a third of its
#   time there.
# Output seen: bfloat16: 34.1 times as long, the same bits: True; float32: 0.7 times
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.13.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import statistics
import sys
import time

import torch

torch.set_num_threads(1)
if not torch.cpu._is_avx512_bf16_supported():
    print("this CPU has no AVX512-BF16: nothing to see here")
    sys.exit(0)
backward = torch.ops.aten.convolution_backward


def ratio(kind: torch.dtype) -> tuple[float, bool]:
    """How many times as long as its parts torch's gradient takes, and whether both are the same."""
    torch.manual_seed(0)
    images = torch.randn(16, 576, 14, 14).to(kind).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(576, 1, 3, 3).to(kind)
    gradient = torch.randn(16, 576, 7, 7).to(kind).contiguous(memory_format=torch.channels_last)

    def whole() -> torch.Tensor:
        wanted = [True, False, False]
        return backward(gradient, images, kernel, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 576, wanted)[0]

    def parts() -> torch.Tensor:
        spread = torch.zeros(16, 14, 14, 576, dtype=kind).permute(0, 3, 1, 2)
        spread[:, :, ::2, ::2] = gradient
        return torch.nn.functional.conv2d(spread, kernel.flip(2, 3), padding=1, groups=576)

    took = {whole: [], parts: []}
    for _ in range(12):
        for way, seconds in took.items():
            began = time.process_time()
            way()
            seconds.append(time.process_time() - began)
    a, b = (statistics.median(s[2:]) for s in took.values())
    return a / b, torch.equal(whole(), parts())


(narrow, same), (wide, _) = ratio(torch.bfloat16), ratio(torch.float32)
print(f"bfloat16: {narrow:.1f} times as long, the same bits: {same}; float32: {wide:.1f} times")
sys.exit(0 if narrow > 3 and same and wide < narrow / 2 else 1)
PY
