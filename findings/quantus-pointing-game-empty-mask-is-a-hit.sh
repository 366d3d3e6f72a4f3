#!/usr/bin/env bash
# Quantus: an image without any marked pixel counts as a hit in the pointing game.
#
# Versions: quantus 0.6.0, numpy 2.3.5. Date: 2026-11-30.
# Expected: no score for an image whose mask is empty (a healthy image among those with lesions), that is NaN, as the metric's own
#   source says and as its sister AUC gives; or a miss, since the largest attribution lies outside.
# Behaviour: the scores are an array of bool, and NaN put into it becomes True. The mean over the images, which is the figure
#   that papers print, rises with the share of images that have nothing to find: an explanation that misses every lesion
#   scores 0.5 where half of the images are healthy.
# Output seen: pointing game: [0.0, 0.0, 1.0, 1.0], mean 0.5; AUC: [0.55, 0.43, 'nan', 'nan']
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install quantus==0.6.0 numpy==2.3.5
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
import quantus

rng = np.random.default_rng(0)
images = rng.random((4, 1, 8, 8)).astype(np.float32)
masks = np.zeros((4, 1, 8, 8), int)
masks[:2, 0, :3, :3] = 1  # two images have a lesion, two have none
maps = images.copy()
maps[:, 0, 7, 7] = 2  # the largest attribution never lies on a lesion
asked = dict(model=None, x_batch=images, y_batch=np.zeros(4, int), a_batch=maps, s_batch=masks)
pointing, area = ([float(s) for s in metric(disable_warnings=True)(**asked)] for metric in (quantus.PointingGame, quantus.AUC))
print(f"pointing game: {pointing}, mean {np.mean(pointing)}; AUC: {['nan' if np.isnan(a) else round(a, 2) for a in area]}")
sys.exit(0 if pointing == [0, 0, 1, 1] and np.isnan(area[2:]).all() else 1)
PY
