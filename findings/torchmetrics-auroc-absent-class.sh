#!/usr/bin/env bash
# torchmetrics: macro AUROC counts a class without images as an area of 0.
#
# Expected: the area of a class that no image belongs to is not defined, so the macro average is over the other classes, as
#   average precision of the same library does it (and as the documentation of its reduction says of NaN values).
# Behaviour: the area of the absent class is 0 and enters the mean. Perfect answers for two of three classes score 0.667; the
#   macro average precision of the same answers is 1.0.
# Seen: AUROC macro 0.667, per class [1.0, 1.0, 0.0]; average precision macro 1.000, per class [1.0, 1.0, nan]
# Versions: torchmetrics 1.9.0, torch 2.13.0; checked 2026-11-29. Needs Python 3.10 to 3.13, a package index and about 1.5 GB of disk space.
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 torch==2.13.0 torchmetrics==1.9.0
cat > "$folder/check.py" <<'PY'
import torch
from torchmetrics.functional.classification import multiclass_auroc, multiclass_average_precision

labels = torch.tensor([0, 1, 0, 1, 0, 1])  # a test set without images of class 2
answers = torch.eye(3)[labels]  # every image answered correctly, with certainty
area, areas = (multiclass_auroc(answers, labels, 3, average=a) for a in ("macro", "none"))
precision, precisions = (multiclass_average_precision(answers, labels, 3, average=a) for a in ("macro", "none"))
print(f"AUROC macro {area:.3f}, per class {areas.tolist()}")
print(f"average precision macro {precision:.3f}, per class {precisions.tolist()}")
as_stated = abs(float(area) - 2 / 3) < 1e-6 and areas.tolist() == [1.0, 1.0, 0.0] and float(precision) == 1.0
raise SystemExit(0 if as_stated else 1)
PY
"$folder/venv/bin/python" -W ignore "$folder/check.py"
