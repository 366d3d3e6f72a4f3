#!/usr/bin/env bash
# albumentations: `ImageCompression` compresses an RGB image as if its red were blue and its blue red.
#
# Versions: albumentations 2.0.8, opencv-python-headless 5.0.0.93, pillow 13.0.0, numpy 2.4.6. Date: 2026-11-30.
# Expected: the same picture as a camera or Pillow makes of it by JPEG of that quality: brightness, which keeps its resolution, is
#   0.30 red + 0.59 green + 0.11 blue. The library takes RGB images everywhere.
# Behaviour: the array goes to OpenCV's encoder, which takes BGR, and back. Colours look right, since it is swapped both ways, but
#   brightness is 0.11 red + 0.59 green + 0.30 blue. Fine red detail (vessels, stained cells) loses more and blue detail less
#   than by real JPEG, which the augmentation is to teach. Turned to BGR around the step, it is what Pillow makes.
# Output seen: fine red detail, error by albumentations 60.2, by Pillow 51.4
#   fine blue detail, error by albumentations 51.4, by Pillow 60.2
#   turned to BGR and back: mean difference from Pillow 0.00 of 255
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install albumentations==2.0.8 opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
cd "$work"
NO_ALBUMENTATIONS_UPDATE=1 "$work/venv/bin/python" -W ignore - <<'PY'
import io
import sys

import albumentations
import numpy as np
from PIL import Image


def by_albumentations(image):
    return albumentations.ImageCompression(quality_range=(90, 90), p=1)(image=image)["image"]


def by_pillow(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def error(image, result):
    return float(np.sqrt(np.mean((result.astype(float) - image) ** 2)))


speckles = np.random.default_rng(0).random((64, 64)) < 0.5
errors, swapped = {}, []
for colour, channel in (("red", 0), ("blue", 2)):
    image = np.zeros((64, 64, 3), np.uint8)
    image[speckles, channel] = 255
    errors[colour] = error(image, by_albumentations(image)), error(image, by_pillow(image))
    turned = by_albumentations(np.ascontiguousarray(image[..., ::-1]))[..., ::-1]
    swapped.append(np.abs(turned.astype(int) - by_pillow(image)).mean())
    print(f"fine {colour} detail, error by albumentations {errors[colour][0]:.1f}, by Pillow {errors[colour][1]:.1f}")
print(f"turned to BGR and back: mean difference from Pillow {max(swapped):.2f} of 255")
(red, red_right), (blue, blue_right) = errors.values()
sys.exit(0 if red > red_right + 5 and blue < blue_right - 5 and max(swapped) < 0.5 else 1)
PY
