#!/usr/bin/env bash
# Pillow: the same picture resized by the same call has other pixels in Pillow 13 than in Pillow 12, if it is tall.
#
# Expected: resize() with a fixed filter gives the same bytes in every version, so that a model trained with one version sees the
#   same tensors when it is used with the next.
# Behaviour: each of the two passes rounds to bytes, and from Pillow 13 on the vertical pass comes first where the height shrinks by
#   more than twice the pixels that the width shrinks by; before, the horizontal pass always came first. Wide and square pictures are equal.
# Seen: 300x300 and 640x480 to 224x224: equal. 200x1000 to 224x224: 21.4 % of values differ, by 1 of 255; 1200x3000: 9.7 %.
# Versions: pillow 12.0.0 and 13.0.0, numpy 2.2.6; checked 2026-11-30. Needs Python 3.10 to 3.13 and a package index.
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/resize.py" <<'PY'
import sys

import numpy as np
import PIL.Image

random = np.random.default_rng(0)
resized = {}
for width, height in ((300, 300), (640, 480), (200, 1000), (1200, 3000)):
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    picture = PIL.Image.fromarray(pixels).resize((224, 224), PIL.Image.Resampling.BILINEAR)
    resized[f"{width}x{height}"] = np.asarray(picture)
np.savez(sys.argv[1], **resized)
PY
for version in 12.0.0 13.0.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check pillow==$version numpy==2.2.6
  "$folder/$version/bin/python" "$folder/resize.py" "$folder/$version.npz"
done
cat > "$folder/check.py" <<'PY'
import sys

import numpy as np

old, new = (np.load(path) for path in sys.argv[1:])
share = {name: float((old[name] != new[name]).mean()) for name in old.files}
most = {name: int(np.abs(old[name].astype(int) - new[name]).max()) for name in old.files}
for name in old.files:
    print(f"{name} to 224x224: {100 * share[name]:.1f} % of values differ, by at most {most[name]}")
wide, tall = ("300x300", "640x480"), ("200x1000", "1200x3000")
as_stated = all(share[name] == 0 for name in wide) and all(share[name] > 0.02 and most[name] == 1 for name in tall)
raise SystemExit(0 if as_stated else 1)
PY
"$folder/13.0.0/bin/python" "$folder/check.py" "$folder/12.0.0.npz" "$folder/13.0.0.npz"
