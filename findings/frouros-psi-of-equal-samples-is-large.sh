#!/usr/bin/env bash
# Frouros: without any drift the population stability index of small samples is mostly far above the limit for drift.
#
# Versions: frouros 0.9.0, scipy 1.14.1, numpy 2.1.3. Date: 2026-11-30. Needs Python 3.10 to 3.12.
# Expected: without drift the index of 10 bins is about 2 * 9 / n, so 0.18 for 100 numbers and 0.02 for 1,000; 0.25 is the usual
#   limit for a large change. An empty bin counts as a small share, 0.0001 or half a number, as elsewhere.
# Behaviour: an empty bin counts as a share of 2.2e-308. Each number that one sample has in a bin where the other has none then
#   adds 7 for 100 numbers, whatever the rest; the bins reach from the least to the largest number of both, so that the outer
#   ones hold one or two numbers. One index in five without drift is larger than one with a mean moved by half a deviation.
# Output seen: no drift, 100 numbers each: median 7.2, above 0.25 in 70 % of cases;
#   with half a number in empty bins: median 0.16, above 0.25 in 18 %;
#   larger without drift than with a mean moved by half a deviation: 22 %
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install frouros==0.9.0 scipy==1.14.1 numpy==2.1.3
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
from frouros.detectors.data_drift import PSI


def by_frouros(a, b):
    detector = PSI()
    detector.fit(X=a)
    return detector.compare(X=b)[0].distance


def usual(a, b):
    """The same ten bins, with half a number in an empty one."""
    edges = np.histogram(np.concatenate([a, b]), bins=10)[1]
    p, q = (np.maximum(np.histogram(s, bins=edges)[0], 0.5) / len(s) for s in (a, b))
    return float(np.sum((q - p) * np.log(q / p)))


rng = np.random.default_rng(0)
pairs = [(rng.normal(size=100), rng.normal(size=100), rng.normal(0.5, 1, 100)) for _ in range(200)]
null = np.array([(by_frouros(a, b), usual(a, b)) for a, b, _ in pairs])
moved = np.array([by_frouros(a, c) for a, _, c in pairs])
over, proper = 100 * (null > 0.25).mean(0)
swapped = 100 * (null[:, 0] > moved).mean()
print(f"no drift, 100 numbers each: median {np.median(null[:, 0]):.1f}, above 0.25 in {over:.0f} % of cases;")
print(f"with half a number in empty bins: median {np.median(null[:, 1]):.2f}, above 0.25 in {proper:.0f} %;")
print(f"larger without drift than with a mean moved by half a deviation: {swapped:.0f} %")
sys.exit(0 if np.median(null[:, 0]) > 1 and over > 60 and proper < over / 2 and swapped > 10 else 1)
PY
