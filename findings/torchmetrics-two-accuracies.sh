#!/usr/bin/env bash
# torchmetrics: Accuracy(task="multiclass") and MulticlassAccuracy() are different figures by default.
#
# Expected: Accuracy(task="multiclass", num_classes=K) is a short way to write MulticlassAccuracy(num_classes=K).
# Behaviour: it makes an object of that very class, but with average="micro"; the class itself defaults to "macro", which is the
#   balanced accuracy. A model that always answers the class of nine images in ten scores 0.9 by the one, 0.5 by the other.
# Seen: MulticlassAccuracy made by Accuracy: 0.900; MulticlassAccuracy: 0.500
# Versions: torchmetrics 1.9.0, torch 2.13.0; checked 2026-11-29. Needs Python 3.10 to 3.13, a package index and about 1.5 GB of disk space.
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 torch==2.13.0 torchmetrics==1.9.0
cat > "$folder/check.py" <<'PY'
import torch
from torchmetrics import Accuracy
from torchmetrics.classification import MulticlassAccuracy

labels, answers = torch.tensor([0] * 9 + [1]), torch.zeros(10, dtype=torch.long)
made, plain = Accuracy(task="multiclass", num_classes=2), MulticlassAccuracy(num_classes=2)
first, second = float(made(answers, labels)), float(plain(answers, labels))
print(f"{type(made).__name__} made by Accuracy: {first:.3f}; {type(plain).__name__}: {second:.3f}")
as_stated = type(made) is MulticlassAccuracy and abs(first - 0.9) < 1e-6 and abs(second - 0.5) < 1e-6
raise SystemExit(0 if as_stated else 1)
PY
"$folder/venv/bin/python" -W ignore "$folder/check.py"
