#!/usr/bin/env bash
# lime's image explainer never hides the last superpixel of scikit-image's `slic`, so that it can have no weight.
#
# Versions: lime 0.2.0.1, scikit-image 0.26.0. Date: 2026-11-29.
# Expected: a `segmentation_fn` may number superpixels as it likes, and each of them is hidden in about half of the
#   samples; `slic` is one of the segmentations that lime itself wraps, and it numbers from 1 by default.
# Behaviour: lime takes labels for indices 0..S-1. With labels 1..S, index 0 hides nothing and label S is never hidden:
#   a model that looks at nothing but that superpixel gets an explanation with no weight at all, without a warning.
#   With `slic(..., start_label=0)` the same superpixel gets almost all of the weight.
# Output seen: labels 1..16: last superpixel hidden in 0 of 400 samples, largest weight 0.00; from 0: 0.98
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install setuptools==80.9.0 wheel==0.45.1
"$work/venv/bin/pip" -q install --no-build-isolation lime==0.2.0.1 scikit-image==0.26.0 numpy==2.4.6 scipy==1.17.1
cd "$work"
"$work/venv/bin/python" - 2> /dev/null <<'PY'
import sys

import numpy as np
from lime.lime_image import LimeImageExplainer
from skimage.segmentation import slic

random = np.random.default_rng(0)
image = np.kron(random.random((4, 4, 3)), np.ones((16, 16, 1))) * 0.5 + 0.5


def largest_weight(start):
    """The largest weight that any superpixel gets, and how often the last one was hidden."""
    labels = slic(image, n_segments=16, start_label=start)
    inside = labels == labels.max()
    hidden = 0

    def model(pictures):
        nonlocal hidden
        gone = np.array([p[inside].max() == 0 for p in pictures])
        hidden += int(gone.sum())
        return np.stack([gone, ~gone], axis=1).astype(float)

    explained = LimeImageExplainer(random_state=0).explain_instance(
        image, model, labels=(1,), top_labels=None, hide_color=0, num_samples=400,
        segmentation_fn=lambda picture: labels,
    )
    return max(abs(weight) for _, weight in explained.local_exp[1]), hidden, labels.max()


usual, hidden, last = largest_weight(1)
from_zero, _, _ = largest_weight(0)
print(f"labels 1..{last}: last superpixel hidden in {hidden} of 400 samples, largest weight {usual:.2f}; from 0: {from_zero:.2f}")
sys.exit(0 if hidden == 0 and usual < 0.01 and from_zero > 0.9 else 1)
PY
