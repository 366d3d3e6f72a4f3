"""Values that fall into two heaps: where a density has two peaks with a deep valley between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

CELLS = 256
VALLEY = 0.6
"""Between two heaps the density falls to less than this share of the lower peak ..."""
SURE = 3.0
"""... by more than this number of standard errors of the counts behind both."""
FEWEST = 10
SMALLEST = 0.05
"""Least number of values in each heap, and the least share of all values."""


def valley(values: Values, sure: float = SURE) -> float | None:
    """Where values (N,) fall apart into two heaps: the place of the deepest valley; None for one heap.

    The density is a sum of Gaussians of half of Silverman's width (Density Estimation for Statistics and Data Analysis,
    1986, eq. 3.31), which is made for one heap. Heaps of equal values are heaps too. `sure` is how many standard errors
    the valley must lie below the lower peak.
    """
    low, high = float(values.min()), float(values.max())
    if len(values) < 2 * FEWEST or not high > low:
        return None
    quartiles = np.percentile(values, [25, 75])
    spread = min(float(values.std()), float(quartiles[1] - quartiles[0]) / 1.34) or float(values.std()) / 3
    width = max(0.45 * spread * len(values) ** -0.2, (high - low) / CELLS)
    margin = 3 * width
    counts, edges = np.histogram(values, CELLS, (low - margin, high + margin))
    density = _smoothed(counts.astype(np.float64), width / (edges[1] - edges[0]))
    place = _deepest(density, np.cumsum(counts), width / (edges[1] - edges[0]), sure)
    return None if place is None else float((edges[place] + edges[place + 1]) / 2)


def _smoothed(counts: Values, width: float) -> Values:
    reach = int(np.ceil(4 * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    smooth: Values = np.convolve(counts, kernel / kernel.sum(), mode="full")[reach : reach + len(counts)]
    return smooth


def _deepest(density: Values, below: npt.NDArray[np.intp], width: float, sure: float) -> int | None:
    """The cell with the least density as a share of the lower of the peaks on both sides, if it is low enough."""
    peaks = np.minimum(np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1])
    least = max(FEWEST, int(np.ceil(SMALLEST * below[-1])))
    allowed = (below >= least) & (below[-1] - below >= least)
    # A smoothed count is a mean of counts over about 2 * sqrt(pi) widths.
    window = 2 * np.sqrt(np.pi) * width
    excess = (peaks - density) * np.sqrt(window) / np.sqrt(np.maximum(peaks + density, 1e-300))
    ratio = np.where(allowed & (excess > sure), density / np.maximum(peaks, 1e-300), 1.0)
    depth = float(ratio.min())
    if depth >= VALLEY:
        return None
    lowest = np.flatnonzero(ratio <= depth + 1e-12)
    return int(lowest[len(lowest) // 2])  # the middle of an empty stretch
