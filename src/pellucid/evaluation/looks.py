"""How an image looks, whatever it shows: grey levels, colour, and detail at four scales.

A network is taught to see past these, so that its features tell a film of another device poorly. They are measured on
the tensor that the model sees: `private_page/js/looks.js` is the same in JavaScript.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Preprocessing

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
ENDS = np.float32(1 / 128), np.float32(127 / 128)
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

    What it works in is kept from one tensor to the next, so a thread has its own. All sizes of a picture work in the
    same memory: between two images the network's weights go through the processor's cache, and fetching memory back
    takes longer than the sums do.
    """

    def __init__(self, height: int, width: int, preprocessing: Preprocessing) -> None:
        self.size, self.preprocessing = (height, width), preprocessing
        # Levels are `(value - shift) * scale`.
        factor, shift = preprocessing.factor_and_shift()
        scale = (1 / (255 * factor)).astype(np.float32)
        self.weights = (scale / np.float32(3))[None]
        mixed = np.array([self.weights[0], [scale[0], -scale[1], 0], [0, -scale[1], scale[2]]], np.float32)
        self.mixed = np.column_stack([-(mixed @ shift), mixed])
        self.grey = np.empty((height, width), np.float32)
        self.grey_rows = self.grey[:, None]
        self.step = max(1, min(height, width) // SIDE)
        sample = self.grey[:: self.step, :: self.step]
        count = sample.size
        room = np.empty(count + max(8 * count, _Scale.room(self.grey, LINES[0])), np.float32)
        # The first row, of ones, takes the shift away in the same product. Only it is kept from image to image.
        room[:count] = 1
        self.few_rows = room[: 4 * count].reshape(4, -1)
        self.few = self.few_rows[1:].reshape(3, *sample.shape)
        # Grey, red and blue against green, and the sizes of the latter two.
        self.levels = room[4 * count : 9 * count].reshape(1 + COLOURS, -1)
        self.places = np.array([math.floor(q * (count - 1) + 0.5) for q in QUANTILES])
        self.sums = np.empty(DETAIL, np.float32)
        self.scales: list[_Scale] = []
        for number, every in enumerate(LINES):
            grey = self.scales[-1].halved if self.scales else self.grey
            self.scales.append(_Scale(grey, every, room[count:], self.sums[4 * number : 4 * number + 4]))
        sizes = np.concatenate([each.sizes for each in self.scales])
        # A picture of half the size is kept as the sums of four values, not as their means.
        held = np.repeat(0.25 ** np.arange(len(LINES)), 4)
        self.shares = np.where(sizes > 0, held / np.maximum(sizes, 1), 0.0)
        # Pictures too small for a difference have none.
        self.lacking = np.flatnonzero(sizes == 0)

    def measure(self, tensor: FloatArray, found: FloatArray) -> None:
        """Write the looks (31,) of one tensor (3, height, width)."""
        np.matmul(self.weights, tensor.transpose(1, 0, 2), out=self.grey_rows)
        self._levels(tensor, found)
        for each in self.scales:
            each.compare()
            if each is not self.scales[-1]:
                each.halve()
        if len(self.lacking):
            self.sums[self.lacking] = 0
        found[COLOURS + LEVELS :] = [math.log(size + SMALL) for size in (self.sums * self.shares).tolist()]

    def _levels(self, tensor: FloatArray, found: FloatArray) -> None:
        """Write what colours and grey levels say, of every `step`-th row and column."""
        self.few[...] = tensor[:, :: self.step, :: self.step]
        np.matmul(self.mixed, self.few_rows, out=self.levels[:3])
        np.abs(self.levels[1:3], out=self.levels[3:])
        grey, count = self.levels[0], self.levels.shape[1]
        means = np.add.reduce(self.levels, axis=1) / np.float32(count)
        # NumPy sorts without branches; a partition guesses wrong so often that it takes longer on each new image.
        grey.sort()
        dark, bright = (bisect_left(grey, end) / count for end in ENDS)
        found[:COLOURS] = means[1:]
        found[COLOURS : COLOURS + len(QUANTILES)] = grey[self.places]
        grey -= means[0]
        grey *= grey
        deviation = math.sqrt(np.add.reduce(grey) / count)
        found[COLOURS + len(QUANTILES) : COLOURS + LEVELS] = means[0], deviation, math.sqrt(dark), math.sqrt(1 - bright)


class _Scale:
    """A picture at one size, of which every `every`-th row and column is looked at, and `room` to do so in.

    The sums of the sizes of first and second differences across, and of those down, are written to `sums` (4,).
    """

    def __init__(self, grey: Grey, every: int, room: Grey, sums: Grey) -> None:
        height, width = grey.shape
        self.sparse = grey[:, ::every]
        columns = room[: self.sparse.size].reshape(self.sparse.shape)
        self.columns = columns if every > 1 else None
        self.across = _Lines(grey[::every], room, sums[:2])
        self.down = _Lines((columns if every > 1 else grey).T, room[self.sparse.size :], sums[2:])
        self.sizes = self.across.sizes + self.down.sizes
        even = grey[: height // 2 * 2, : width // 2 * 2]
        self.upper, self.lower = even[::2], even[1::2]
        self.pairs = room[: self.upper.size].reshape(self.upper.shape)
        self.left, self.right = self.pairs[:, ::2], self.pairs[:, 1::2]
        self.halved: Grey = np.empty(self.left.shape, np.float32)

    @staticmethod
    def room(grey: Grey, every: int) -> int:
        """How many numbers the work on a picture, and on smaller ones, takes at most."""
        return max(2 * grey[::every].size, 3 * grey[:, ::every].size, grey.size // 2) + 1

    def compare(self) -> None:
        """Write the sums."""
        self.across.compare()
        if self.columns is not None:
            self.columns[...] = self.sparse
        self.down.compare()

    def halve(self) -> None:
        """Write the picture of half the size: sums of two by two values."""
        np.add(self.upper, self.lower, out=self.pairs)
        np.add(self.left, self.right, out=self.halved)


class _Lines:
    """Lines (N, length) whose values are compared with the next, and with the next but one, in `room`."""

    def __init__(self, lines: Grey, room: Grey, sums: Grey) -> None:
        count, length = lines.shape
        self.sizes = [count * max(0, length - 1), count * max(0, length - 2)]
        self.starts, self.sums = np.array([0, self.sizes[0]]), sums
        # In the order of the lines in memory. An empty second part needs a place as well.
        ordered = lines.flags.c_contiguous or lines.strides[0] >= lines.strides[1]
        first, second = (
            part.reshape(count, -1) if ordered else part.reshape(-1, count).T
            for part in (room[: self.sizes[0]], room[self.sizes[0] :][: self.sizes[1]])
        )
        self.changes = room[: max(sum(self.sizes), self.sizes[0] + 1)]
        self.steps = ((lines[:, 1:], lines[:, :-1], first), (first[:, 1:], first[:, :-1], second))

    def compare(self) -> None:
        """Write the sums of the sizes of first and of second differences."""
        for ahead, behind, change in self.steps:
            np.subtract(ahead, behind, out=change)
        np.abs(self.changes, out=self.changes)
        np.add.reduceat(self.changes, self.starts, out=self.sums)


_own = threading.local()


def _gauge(height: int, width: int, preprocessing: Preprocessing) -> _Gauge:
    """The calling thread's gauge for this size and preprocessing; a large one is not kept."""
    if height * width > MOST_KEPT:
        return _Gauge(height, width, preprocessing)
    gauge: _Gauge | None = getattr(_own, "gauge", None)
    if gauge is None or gauge.size != (height, width) or gauge.preprocessing is not preprocessing:
        gauge = _own.gauge = _Gauge(height, width, preprocessing)
    return gauge
