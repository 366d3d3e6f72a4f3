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
ENDS = (1 / 128, 127 / 128)
LINES = (4, 2, 1, 1)
"""Detail is measured on every fourth line at full size, on every second at half size, and on all below."""
LOOKS = 4 + len(QUANTILES) + 2 + 2 + 4 * len(LINES)
"""How many numbers describe an image."""
SIDE = 56
"""The number of rows and columns from which colours and grey levels are taken, about."""
SMALL = 1e-4
Grey = npt.NDArray[np.float32]


def looks_of(batch: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """Looks (N, 31) of tensors (N, 3, height, width) that `preprocessing` made; levels count from 0 to 1.

    Red and blue against green (mean and mean size), seven quantiles of grey levels with mean and deviation, and the
    roots of the shares at both ends; mean first and second differences across and down at full, half, quarter and
    eighth size, as logarithms. Where light lies in the image and how its borders look told other sources less well.
    """
    factor, shift = preprocessing.factor_and_shift()
    scale = (1 / (255 * factor)).astype(np.float32)
    rows = [_looks(tensor, scale, shift) for tensor in batch]
    return np.stack(rows) if rows else np.zeros((0, LOOKS), np.float32)


def _looks(tensor: FloatArray, scale: FloatArray, shift: FloatArray) -> FloatArray:
    """The looks of one tensor (3, height, width), of which `(value - shift) * scale` are the levels."""
    step = max(1, min(tensor.shape[1:]) // SIDE)
    few = (tensor[:, ::step, ::step].reshape(3, -1) - shift[:, None]) * scale[:, None]
    red, blue = few[0] - few[1], few[2] - few[1]
    weights = scale / np.float32(3)
    grey: Grey = np.tensordot(weights, tensor, axes=1) - np.float32(weights @ shift)
    sampled = np.sort(grey[::step, ::step], axis=None)
    places = [math.floor(q * (len(sampled) - 1) + 0.5) for q in QUANTILES]
    dark, bright = np.searchsorted(sampled, ENDS) / len(sampled)
    found = [red.mean(), blue.mean(), np.abs(red).mean(), np.abs(blue).mean(), *sampled[places]]
    found += [sampled.mean(), sampled.std(), math.sqrt(dark), math.sqrt(1 - bright), *_detail(grey)]
    return np.array(found, np.float32)


def _detail(grey: Grey) -> list[float]:
    """Logarithms of the mean first and second differences of neighbours across and down at each scale."""
    found = []
    small = grey
    for scale, every in enumerate(LINES):
        small = _halved(small) if scale else small
        for lines in (small[::every], small[:, ::every].T):
            first = lines[:, 1:] - lines[:, :-1]
            for change in (first, first[:, 1:] - first[:, :-1]):
                size = float(np.abs(change).sum()) / change.size if change.size else 0.0
                found.append(math.log(size + SMALL))
    return found


def _halved(grey: Grey) -> Grey:
    """Means of two by two pixels."""
    height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    rows = grey[0:height:2, :width] + grey[1:height:2, :width]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25), np.float32)
