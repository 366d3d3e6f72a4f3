#!/usr/bin/env bash
# torchmetrics: whether logits go through a sigmoid is decided batch by batch, so that a metric depends on the batch size.
#
# Expected: a metric that takes logits or probabilities decides once which of them it gets, or at the end, when all are known.
# Behaviour: each call of update() applies a sigmoid only if a value of that batch lies outside 0..1. Logits that happen to lie
#   within 0..1 are taken for probabilities: 0.2 is then below the threshold of 0.5, although it is a positive logit. The same
#   ten logits, all positive and all of class 1, give an accuracy of 1.0 in one batch and 0.9 in batches of one.
# Seen: one batch 1.000, batches of one 0.900
# Versions: torchmetrics 1.9.0, torch 2.13.0; checked 2026-11-29. Needs Python 3.10 to 3.13, a package index and about 1.5 GB of disk space.
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 torch==2.13.0 torchmetrics==1.9.0
cat > "$folder/check.py" <<'PY'
import torch
from torchmetrics.classification import BinaryAccuracy

logits = torch.tensor([0.2, 0.7, 0.9, 1.5, 2.0, 3.0, 0.6, 0.8, 4.0, 5.0])
labels = torch.ones(10, dtype=torch.long)
together, one_by_one = BinaryAccuracy(), BinaryAccuracy()
together.update(logits, labels)
for i in range(10):
    one_by_one.update(logits[i : i + 1], labels[i : i + 1])
first, second = float(together.compute()), float(one_by_one.compute())
print(f"one batch {first:.3f}, batches of one {second:.3f}")
raise SystemExit(0 if first == 1.0 and abs(second - 0.9) < 1e-6 else 1)
PY
"$folder/venv/bin/python" -W ignore "$folder/check.py"
