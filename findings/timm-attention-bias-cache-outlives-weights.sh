#!/usr/bin/env bash
# timm's TinyViT (LeViT and EfficientFormer alike) answers with biases of the weights that it had before load_state_dict.
#
# Versions: timm 1.0.31, torch 2.15.0, torchvision 0.29.2, numpy 2.4.6. Date: 2026-11-30.
# Expected: a module in evaluation mode computes from the weights that it holds. After load_state_dict, or after an average of weights
#   is copied in, it answers as a fresh module with these weights does.
# Behaviour: in evaluation mode the attention keeps what it looked up in its table of biases at the first pass. Moving the module and
#   changing its mode (while something is kept) clear that; new values of the same parameter do not. So weights loaded into a model
#   that has answered once give answers that belong to no weights: part old, part new. `model.eval()` again mends it.
# Output seen: a first pass, then other weights: the logits differ from a fresh model's; after eval() again, and without a first pass, they are equal
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install timm==1.0.31 torch==2.15.0 torchvision==0.29.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import timm
import torch

SMALL = {"embed_dims": (16, 32, 48, 64), "depths": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4), "num_classes": 3}


def tiny(seed):
    torch.manual_seed(seed)
    model = timm.create_model("tiny_vit_5m_224", **SMALL)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("attention_biases"):  # all 0 before training, never after it
                weights.normal_()
    return model.eval()


@torch.no_grad()
def apart(first_pass, eval_again):
    images, weights = torch.rand(2, 3, 224, 224), tiny(1).state_dict()
    model, fresh = tiny(0), tiny(2)
    if first_pass:
        model(images)
    model.load_state_dict(weights)
    fresh.load_state_dict(weights)
    if eval_again:
        model.eval()
    return float((model(images) - fresh(images)).abs().max())


stale, again, without = apart(True, False), apart(True, True), apart(False, False)
said = "differ from" if stale > 1e-3 else "are"
mended = "are equal" if again == without == 0 else "are not equal"
print(f"a first pass, then other weights: the logits {said} a fresh model's; after eval() again, and without a first pass, they {mended}")
sys.exit(0 if stale > 1e-3 and again == without == 0 else 1)
PY
