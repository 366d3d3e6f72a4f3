#!/usr/bin/env bash
# Captum's integrated gradients by `riemann_trapezoid` fall short of the score difference by one part in n_steps.
#
# Versions: captum 0.9.0, torch 2.15.0. Date: 2026-11-29.
# Expected: every rule is exact where the gradient is constant: the attributions of a linear model sum to the difference
#   in score (completeness, the axiom that the method is named after), whatever the number of steps.
# Behaviour: the n_steps points of the trapezoid rule span n_steps - 1 intervals, but the weights are 1 / n_steps, halved
#   at both ends: they sum to 1 - 1 / n_steps. All attributions are too small by that share. The other rules are exact.
# Output seen: sum over difference at 10 steps: gausslegendre 1.0000, riemann_middle 1.0000, riemann_trapezoid 0.9000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install captum==0.9.0 torch==2.15.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import torch
from captum.attr import IntegratedGradients

weights = torch.linspace(-1, 2, 8)


def score(x):
    return (x * weights).sum(dim=1)


x, baseline, steps = torch.ones(1, 8), torch.zeros(1, 8), 10
difference = float(score(x) - score(baseline))
shares = {
    method: float(IntegratedGradients(score).attribute(x, baseline, n_steps=steps, method=method).sum()) / difference
    for method in ("gausslegendre", "riemann_middle", "riemann_trapezoid")
}
print(f"sum over difference at {steps} steps: " + ", ".join(f"{name} {share:.4f}" for name, share in shares.items()))
short = abs(shares.pop("riemann_trapezoid") - (1 - 1 / steps)) < 1e-4
sys.exit(0 if short and all(abs(share - 1) < 1e-4 for share in shares.values()) else 1)
PY
