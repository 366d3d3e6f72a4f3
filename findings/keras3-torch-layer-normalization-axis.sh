#!/usr/bin/env bash
# Keras 3 on torch: LayerNormalization(axis=1) normalises the last axis where the lengths agree, and fails where not.
#
# Versions: keras 3.15.1, torch 2.15.0, numpy 2.4.6. Date: 2026-11-29.
# Expected: `axis` is "the axis or axes to normalize across", as on TensorFlow and JAX: the mean over that axis is 0.
# Behaviour: on the torch backend neighbouring axes are handed to torch.nn.functional.layer_norm by their lengths only,
#   which takes the last axes. With equal sides the answer is that of axis=-1, without a word; the same model file
#   gives other answers on another backend. UnitNormalization and BatchNormalization with axis=1 are right.
# Output seen: axis=1 on 4 x 4 x 4: mean along axis 1 up to 1.2e+00, along the last axis up to 1.2e-07
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install keras==3.15.1 torch==2.15.0 numpy==2.4.6
cd "$work"
KERAS_BACKEND=torch CUDA_VISIBLE_DEVICES= "$work/venv/bin/python" - <<'PY'
import sys

import keras
import numpy as np
from keras import layers

image = layers.Input((4, 4, 4))
model = keras.Model(image, layers.LayerNormalization(axis=1, epsilon=1e-6)(image))
x = np.random.default_rng(0).normal(0, 1, (2, 4, 4, 4)).astype(np.float32)
answer = model.predict(x, verbose=0)
asked, taken = np.abs(answer.mean(1)).max(), np.abs(answer.mean(-1)).max()
print(f"axis=1 on 4 x 4 x 4: mean along axis 1 up to {asked:.1e}, along the last axis up to {taken:.1e}")
sys.exit(0 if asked > 0.1 and taken < 1e-5 else 1)
PY
