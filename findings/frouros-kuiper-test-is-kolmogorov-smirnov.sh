#!/usr/bin/env bash
# Frouros: `KuiperTest` takes the Kolmogorov-Smirnov statistic for Kuiper's, so that it hardly finds a change of spread.
#
# Versions: frouros 0.9.0, scipy 1.14.1, numpy 2.1.3. Date: 2026-11-30. Needs Python 3.10 to 3.12.
# Expected: Kuiper's V = max(F - G) + max(G - F), which is why one takes this test: it sees a change of spread as well as one
#   of the mean. Without drift its p-value lies below 0.05 in at most 5 % of cases, and close to that.
# Behaviour: the statistic is max|F - G|, that of `scipy.stats.ks_2samp`, and its p-value is looked up in the distribution of V,
#   which is larger. Without drift 0.4 % of the p-values are below 0.05. A standard deviation that grows from 1 to 1.8 is
#   noticed in one case of 16, with V itself in five of six.
# Output seen: statistic is that of ks_2samp: True
#   deviations 1 and 1.0: p < 0.05 in 0.4 % by frouros, in 3.0 % by Kuiper's V
#   deviations 1 and 1.8: p < 0.05 in 6.4 % by frouros, in 83.2 % by Kuiper's V
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
from frouros.detectors.data_drift import KuiperTest
from scipy.stats import ks_2samp


def by_frouros(a, b):
    detector = KuiperTest()
    detector.fit(X=a)
    return detector.compare(X=b)[0]


def kuiper(a, b):
    """Kuiper's V of two samples, and its asymptotic p-value after Stephens (1970)."""
    both = np.concatenate([a, b])
    f, g = (np.searchsorted(np.sort(s), both, side="right") / len(s) for s in (a, b))
    v, root = (f - g).max() + (g - f).max(), np.sqrt(len(a) * len(b) / (len(a) + len(b)))
    x, j = (root + 0.155 + 0.24 / root) * v, np.arange(1, 101)
    return v, float(np.sum((8 * (j * x) ** 2 - 2) * np.exp(-2 * (j * x) ** 2)))


rng = np.random.default_rng(0)
found, same = {1.0: [0, 0], 1.8: [0, 0]}, True
for spread, counts in found.items():
    for _ in range(500):
        a, b = rng.normal(size=60), rng.normal(0, spread, 60)
        given = by_frouros(a, b)
        same &= bool(np.isclose(given.statistic, ks_2samp(a, b).statistic))
        counts[0] += given.p_value < 0.05
        counts[1] += kuiper(a, b)[1] < 0.05
shares = {spread: [100 * c / 500 for c in counts] for spread, counts in found.items()}
print(f"statistic is that of ks_2samp: {same}")
for spread, (given, right) in shares.items():
    print(f"deviations 1 and {spread}: p < 0.05 in {given:.1f} % by frouros, in {right:.1f} % by Kuiper's V")
(null, proper), (power, wanted) = shares.values()
sys.exit(0 if same and null < 2 and 2 < proper < 8 and wanted > 2 * power + 20 else 1)
PY
