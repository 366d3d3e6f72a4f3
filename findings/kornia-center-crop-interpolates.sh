#!/usr/bin/env bash
# kornia: `center_crop` blurs the image where the margin is odd, to one flat grey in the worst case.
#
# Versions: kornia 0.9.0, torch 2.13.0, numpy 2.3.5. Date: 2026-11-30. Needs Python 3.10 to 3.13 and about 1.5 GB of disk space.
# Expected: a crop copies pixels: where the margin cannot be halved, it is one pixel larger on one side, as in torchvision,
#   Pillow and kornia's own `CenterCrop` layer.
# Behaviour: `kornia.geometry.center_crop` warps bilinearly about the exact centre. An odd margin puts every sample between two
#   pixels, along one axis or both; each pixel is then the mean of two or four. The documentation names `mode` "interpolation
#   mode to calculate output values", and not when it matters.
# Output seen: a board of 0 and 1, 6 x 6 to 4 x 4: center_crop [0.0, 1.0], CenterCrop [0.0, 1.0]
#   a board of 0 and 1, 6 x 6 to 3 x 3: center_crop [0.5], CenterCrop [0.0, 1.0]
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.13.0 kornia==0.9.0 numpy==2.3.5
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from kornia.augmentation import CenterCrop
from kornia.geometry import center_crop

board = (torch.arange(6)[:, None] + torch.arange(6)).remainder(2).float()[None, None]


def greys(cropped):
    return sorted({round(float(v), 3) + 0.0 for v in cropped.ravel()})


crops = {side: (greys(center_crop(board, (side, side))), greys(CenterCrop(side, p=1.0)(board))) for side in (4, 3)}
for side, (function, layer) in crops.items():
    print(f"a board of 0 and 1, 6 x 6 to {side} x {side}: center_crop {function}, CenterCrop {layer}")
sys.exit(0 if crops[4] == ([0, 1], [0, 1]) and crops[3] == ([0.5], [0, 1]) else 1)
PY
