"""How an image looks, whatever it shows: grey levels, colour, and detail at four scales.

A network is taught to see past these, so that its features tell a film of another device poorly. They are measured on
the tensor that the model sees: `private_page/js/looks.js` is the same in JavaScript.
"""

from __future__ import annotations

import math
import threading

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Preprocessing

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
ENDS = (1 / 128, 127 / 128)
LINES = (4, 2, 1, 1)
"""Detail is measured on every fourth line at full size, on every second at half size, and on all below."""
COLOURS, LEVELS, DETAIL = 4, len(QUANTILES) + 4, 4 * len(LINES)
LOOKS = COLOURS + LEVELS + DETAIL
"""How many numbers describe an image."""
SIDE = 56
"""The number of rows and columns from which colours and grey levels are taken, about."""
SMALL = 1e-4
MOST_KEPT = 2**20
"""Pixels of the largest tensors for which a thread keeps what it works in: 15 bytes a pixel."""
Grey = npt.NDArray[np.float32]


def looks_of(batch: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """Looks (N, 31) of tensors (N, 3, height, width) that `preprocessing` made; levels count from 0 to 1.

    Red and blue against green (mean and mean size), seven quantiles of grey levels with mean and deviation, and the
    roots of the shares at both ends; mean first and second differences across and down at full, half, quarter and
    eighth size, as logarithms. Where light lies in the image and how its borders look told other sources less well.
    """
    gauge = _gauge(batch.shape[2], batch.shape[3], preprocessing)
    found = np.empty((len(batch), LOOKS), np.float32)
    for row, tensor in zip(found, batch, strict=True):
        gauge.measure(tensor, row)
    return found


class _Gauge:
    """Measures tensors of one size, which `preprocessing` made.

    What it works in is kept from one tensor to the next, so a thread has its own: most of the time would otherwise go
    into making arrays and views.
    """

    def __init__(self, height: int, width: int, preprocessing: Preprocessing) -> None:
        self.size, self.preprocessing = (height, width), preprocessing
        # Levels are `(value - shift) * scale`.
        factor, shift = preprocessing.factor_and_shift()
        scale = (1 / (255 * factor)).astype(np.float32)
        self.weights = scale / np.float32(3)
        self.shift = self.weights @ shift
        self.against = np.array([[scale[0], -scale[1], 0], [0, -scale[1], scale[2]]], np.float32)
        self.offset = (self.against @ shift)[:, None]
        self.step = max(1, min(height, width) // SIDE)
        self.grey = np.empty((height, width), np.float32)
        sample = self.grey[:: self.step, :: self.step]
        self.sample, self.few = sample, np.empty((3, *sample.shape), np.float32)
        # Red and blue against green, and below them their sizes.
        self.colours = np.empty((COLOURS, sample.size), np.float32)
        self.places = np.array([math.floor(q * (sample.size - 1) + 0.5) for q in QUANTILES])
        self.scales = [_Scale(self.grey, LINES[0])]
        for every in LINES[1:]:
            self.scales.append(_Scale(self.scales[-1].halved, every))
        shapes = [shape for scale in self.scales for shape in scale.shapes]
        sizes = np.array([rows * columns for rows, columns in shapes])
        # One number more: the changes of a picture too small for them, the last ones perhaps, need a place as well.
        self.changes = np.zeros(sizes.sum() + 1, np.float32)
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        parts = [self.changes[a : a + n].reshape(s) for a, n, s in zip(self.starts, sizes, shapes, strict=True)]
        for number, size in enumerate(self.scales):
            size.write_to(parts[4 * number : 4 * number + 4])
        # A picture of half the size is kept as the sums of four values, not as their means.
        held = np.repeat(0.25 ** np.arange(len(LINES)), 4)
        self.shares = np.where(sizes > 0, held / np.maximum(sizes, 1), 0.0)

    def measure(self, tensor: FloatArray, found: FloatArray) -> None:
        """Write the looks (31,) of one tensor (3, height, width)."""
        np.einsum("c,chw->hw", self.weights, tensor, out=self.grey)
        self._colours(tensor, found[:COLOURS])
        self._levels(found[COLOURS : COLOURS + LEVELS])
        for each in self.scales:
            each.compare()
            if each is not self.scales[-1]:
                each.halve()
        np.abs(self.changes, out=self.changes)
        sums = np.add.reduceat(self.changes, self.starts)
        found[COLOURS + LEVELS :] = np.log(sums * self.shares + SMALL)

    def _colours(self, tensor: FloatArray, found: FloatArray) -> None:
        """Means of red and of blue against green, and of their sizes."""
        self.few[...] = tensor[:, :: self.step, :: self.step]
        signed, sizes = self.colours[:2], self.colours[2:]
        np.matmul(self.against, self.few.reshape(3, -1), out=signed)
        signed -= self.offset
        np.abs(signed, out=sizes)
        np.divide(np.add.reduce(self.colours, axis=1), self.sample.size, out=found)

    def _levels(self, found: FloatArray) -> None:
        """Quantiles, mean and deviation of grey levels, and the roots of the shares at both ends."""
        # Half the time of sorting.
        levels = np.partition(self.sample, self.places, axis=None)
        levels -= self.shift
        dark, bright = (np.count_nonzero(levels < end) / len(levels) for end in ENDS)
        found[:-4] = levels[self.places]
        mean = float(np.add.reduce(levels)) / len(levels)
        levels -= np.float32(mean)
        variance = float(np.dot(levels, levels)) / len(levels)
        found[-4:] = mean, math.sqrt(variance), math.sqrt(dark), math.sqrt(1 - bright)


class _Scale:
    """A picture at one size, of which every `every`-th row and column is looked at."""

    def __init__(self, grey: Grey, every: int) -> None:
        height, width = grey.shape
        self.rows, self.sparse = grey[::every], grey[:, ::every]
        self.columns = np.empty(self.sparse.shape, np.float32)
        across, down = len(self.rows), self.sparse.shape[1]
        self.shapes = [
            (across, max(0, width - 1)),
            (across, max(0, width - 2)),
            (max(0, height - 1), down),
            (max(0, height - 2), down),
        ]
        even = grey[: height // 2 * 2, : width // 2 * 2]
        self.upper, self.lower = even[::2], even[1::2]
        self.pairs = np.empty(self.upper.shape, np.float32)
        self.left, self.right = self.pairs[:, ::2], self.pairs[:, 1::2]
        self.halved: Grey = np.empty(self.left.shape, np.float32)
        self.steps: list[tuple[Grey, Grey, Grey]] = []

    def write_to(self, parts: list[Grey]) -> None:
        """Have first and second differences of rows, and then of columns, written into these four arrays."""
        for lines, first, second in ((self.rows, *parts[:2]), (self.columns.T, parts[2].T, parts[3].T)):
            self.steps.append((lines[:, 1:], lines[:, :-1], first))
            self.steps.append((first[:, 1:], first[:, :-1], second))

    def compare(self) -> None:
        """Write the differences."""
        self.columns[...] = self.sparse
        for ahead, behind, change in self.steps:
            np.subtract(ahead, behind, out=change)

    def halve(self) -> None:
        """Write the picture of half the size: sums of two by two values."""
        np.add(self.upper, self.lower, out=self.pairs)
        np.add(self.left, self.right, out=self.halved)


_own = threading.local()


def _gauge(height: int, width: int, preprocessing: Preprocessing) -> _Gauge:
    """The calling thread's gauge for this size and preprocessing; a large one is not kept."""
    if height * width > MOST_KEPT:
        return _Gauge(height, width, preprocessing)
    gauge: _Gauge | None = getattr(_own, "gauge", None)
    if gauge is None or gauge.size != (height, width) or gauge.preprocessing is not preprocessing:
        gauge = _own.gauge = _Gauge(height, width, preprocessing)
    return gauge
