#!/usr/bin/env bash
# Keras 3: `predict` ignores `training=True` of a layer in a functional model; calling the model honours it.
#
# Versions: keras 3.15.1 on jax 0.10.2 (the torch backend does the same). Date: 2026-11-29.
# Expected: Monte Carlo dropout as papers and tutorials write it, `Dropout(0.5)(x, training=True)`, samples in
#   `model.predict(x)` as it does in `model(x)`. The saved file records `"training": true` for that call.
# Behaviour: `predict` gives the same answer each time, without dropout. So an uncertainty estimate from repeated
#   `predict` is exactly zero, without a warning.
# Output seen: predict without dropout: True; model(x) with dropout: True; recorded in the file: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$work"
KERAS_BACKEND=jax "$work/venv/bin/python" - <<'PY'
import json
import sys

import keras
import numpy as np
from keras import layers

image = layers.Input((64,))
model = keras.Model(image, layers.Dropout(0.5)(image, training=True))
ones = np.ones((4, 64), np.float32)
predicted = [model.predict(ones, verbose=0) for _ in range(3)]
called = np.asarray(model(ones))
nodes = json.loads(model.to_json())["config"]["layers"][1]["inbound_nodes"]
plain = all(np.array_equal(p, ones) for p in predicted)
dropped = bool((called == 0).any())
recorded = nodes[0]["kwargs"].get("training") is True
print(f"predict without dropout: {plain}; model(x) with dropout: {dropped}; recorded in the file: {recorded}")
sys.exit(0 if plain and dropped and recorded else 1)
PY
