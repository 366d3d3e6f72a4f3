"""How an image looks, whatever it shows: grey levels, colour, and detail at four scales.

A network is taught to see past these, so that its features tell a film of another device poorly. They are measured on
the tensor that the model sees: `private_page/js/looks.js` is the same in JavaScript.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Preprocessing

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
SCALES = 4
LOOKS = 4 + len(QUANTILES) + 2 + 2 + 4 * SCALES
"""How many numbers describe an image."""
SIDE = 56
"""The number of rows and columns from which colours and grey levels are taken, about."""
_SMALL = np.float32(1e-4)
Grey = npt.NDArray[np.float32]


def looks_of(batch: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """Looks (N, 31) of tensors (N, 3, height, width) that `preprocessing` made; levels count from 0 to 1.

    Red and blue against green (mean and mean size), seven quantiles of grey levels with mean and deviation, and the
    roots of the shares at both ends; mean first and second differences across and down at full, half, quarter and
    eighth size, as logarithms. Where light lies in the image and how its borders look told other sources less well.
    """
    factor, shift = preprocessing.factor_and_shift()
    scale = (1 / (255 * factor)).astype(np.float32)
    rows = [_looks((tensor - shift[:, None, None]) * scale[:, None, None]) for tensor in batch]
    return np.stack(rows) if rows else np.zeros((0, LOOKS), np.float32)


def _looks(levels: FloatArray) -> FloatArray:
    """The looks of one image's levels (3, height, width)."""
    step = max(1, min(levels.shape[1:]) // SIDE)
    few = levels[:, ::step, ::step]
    red, blue = few[0] - few[1], few[2] - few[1]
    grey: Grey = (levels[0] + levels[1] + levels[2]) / np.float32(3)
    sampled = np.sort(grey[::step, ::step], axis=None)
    places = [math.floor(q * (len(sampled) - 1) + 0.5) for q in QUANTILES]
    ends = [np.searchsorted(sampled, 1 / 128) / len(sampled), 1 - np.searchsorted(sampled, 127 / 128) / len(sampled)]
    found = [red.mean(), blue.mean(), np.abs(red).mean(), np.abs(blue).mean(), *sampled[places]]
    found += [sampled.mean(), sampled.std(), *np.sqrt(ends), *_detail(grey)]
    return np.array(found, np.float32)


def _detail(grey: Grey) -> list[np.floating]:
    """Differences of neighbours across and down, first and second, at each scale; every other line at full size."""
    found: list[np.floating] = []
    small = grey
    for scale in range(SCALES):
        every = 2 if scale == 0 else 1
        for lines in (small[::every], small[:, ::every].T):
            first = np.diff(lines, axis=1)
            for change in (first, np.diff(first, axis=1)):
                found.append(np.log(np.abs(change).mean() + _SMALL) if change.size else np.log(_SMALL))
        small = _halved(small)
    return found


def _halved(grey: Grey) -> Grey:
    """Means of two by two pixels."""
    height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    rows = grey[0:height:2, :width] + grey[1:height:2, :width]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) / np.float32(4), np.float32)
