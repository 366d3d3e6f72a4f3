#!/usr/bin/env bash
# OpenSlide: a region of a lower level is blurred where its position is no multiple of the level's scale.
#
# Versions: openslide-python 1.4.7, openslide-bin 4.0.1.2, tiffslide 3.0.1, tifffile 2026.3.3, numpy 2.4.6. Date: 2026-11-30.
# Expected: `read_region(location, level, size)` copies pixels of that level. `location` counts in pixels of level 0, so a position between two
#   pixels of the level is rounded, as the pure Python reader tiffslide with the same interface does.
# Behaviour: the region is shifted by a part of a pixel and interpolated. At (1, 1) of a level half as large each pixel is the mean of four,
#   and a board of black and white becomes one grey. Patches cut at random positions differ in sharpness, by position only, which a
#   network can learn, and differ from those that another reader cuts from the same slide.
# Output seen: OpenSlide: at (100, 100) [0, 255], at (101, 101) [128]
#   tiffslide: at (100, 100) [0, 255], at (101, 101) [0, 255]
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install openslide-python==1.4.7 openslide-bin==4.0.1.2 tiffslide==3.0.1 tifffile==2026.3.3 numpy==2.4.6 imagecodecs==2026.3.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
import openslide
import tifffile
import tiffslide

board = (255 * (np.indices((256, 256)).sum(axis=0) % 2)).astype(np.uint8)
lower = np.repeat(board[..., None], 3, axis=2)
with tifffile.TiffWriter("slide.tif") as file:
    for level in (np.full((512, 512, 3), 128, np.uint8), lower):
        file.write(level, tile=(128, 128), photometric="rgb", compression="zlib", subfiletype=int(level is lower))


def greys(slide, location):
    """The values of a region of 16 x 16 pixels of level 1."""
    return np.unique(np.asarray(slide.read_region(location, 1, (16, 16)).convert("RGB"))).tolist()


found = {}
for name, slide in (("OpenSlide", openslide.OpenSlide("slide.tif")), ("tiffslide", tiffslide.TiffSlide("slide.tif"))):
    found[name] = [greys(slide, location) for location in ((100, 100), (101, 101))]
    print(f"{name}: at (100, 100) {found[name][0]}, at (101, 101) {found[name][1]}")
sharp = [0, 255]
same = found["tiffslide"] == [sharp, sharp] and found["OpenSlide"][0] == sharp
sys.exit(0 if same and all(120 < grey < 136 for grey in found["OpenSlide"][1]) else 1)
PY
