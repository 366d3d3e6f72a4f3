#!/usr/bin/env bash
# fastai: `vision_learner(cut=...)` takes the argument and builds the network as if it had not been given.
#
# Versions: fastai 2.8.12, fastcore 2.2.41, torch 2.15.0, torchvision 0.29.2. Date: 2026-11-30.
# Expected: `cut` says where the body of an architecture ends, as in create_vision_model, whose arguments vision_learner
#   says it takes: cut=-3 leaves out one stage of ResNet-18 more than its default of -2.
# Behaviour: vision_learner hands on every argument of the head but not `cut`. Its body is the default one, without a
#   word. So an architecture without a pooling module (torchvision's MobileNetV2 pools by a function), for which a cut
#   has to be given, cannot be made at all: it ends in StopIteration whether `cut` is given or not.
# Output seen:
#   children of the body with cut=-3: create_vision_model 7, vision_learner 8
#   MobileNetV2 with cut=-1: create_vision_model built it, vision_learner StopIteration
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install fastai==2.8.12 fastcore==2.2.41 fastprogress==1.0.5 torch==2.15.0 torchvision==0.29.2
cd "$work"
CUDA_VISIBLE_DEVICES= "$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from fastai.vision.all import DataLoader, DataLoaders, create_vision_model, models, vision_learner

items = [(torch.zeros(3, 64, 64), torch.tensor(i % 2)) for i in range(4)]
loaders = DataLoaders(DataLoader(items, bs=2), DataLoader(items, bs=2))
given = {"pretrained": False, "cut": -3}
model = create_vision_model(models.resnet18, 2, **given)
learner = vision_learner(loaders, models.resnet18, n_out=2, normalize=False, loss_func=torch.nn.CrossEntropyLoss(), **given)
direct, through = len(model[0]), len(learner.model[0])
print(f"children of the body with cut=-3: create_vision_model {direct}, vision_learner {through}")
given["cut"] = -1
create_vision_model(models.mobilenet_v2, 2, **given)
try:
    vision_learner(loaders, models.mobilenet_v2, n_out=2, normalize=False, loss_func=torch.nn.CrossEntropyLoss(), **given)
    mobile = "built it"
except StopIteration:
    mobile = "StopIteration"
print(f"MobileNetV2 with cut=-1: create_vision_model built it, vision_learner {mobile}")
sys.exit(0 if (direct, through, mobile) == (7, 8, "StopIteration") else 1)
PY
