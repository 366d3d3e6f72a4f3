"""Cells of normal images on disk, so that a backbone describes every image once and memory need not hold all cells."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np

from ..preprocessing import FloatArray
from .prediction import Rows

MOST_BYTES = 4_000_000_000
"""Of disk, and at most half of what is free. What takes more is described again when it is needed."""


class KeptCells:
    """Arrays of the samples `wanted`, `most` bytes in all, in a file without a name: it is gone when closed."""

    def __init__(self, file: IO[bytes], wanted: Rows, most: int) -> None:
        self._file, self._wanted, self._most = file, frozenset(wanted.tolist()), most
        self._place: dict[int, int] = {}
        self._shapes: list[tuple[int, ...]] = []
        self._full = False

    def add(self, samples: Rows, *arrays: FloatArray) -> None:
        """Keep the rows of arrays (N, ...) of those of N samples that are wanted; no more once there is no room."""
        self._shapes = [values.shape[1:] for values in arrays]
        for i, sample in enumerate(samples.tolist()):
            if self._full or sample not in self._wanted:
                continue
            row = np.concatenate([values[i].ravel() for values in arrays], dtype=np.float32)
            self._full = (len(self._place) + 1) * row.nbytes > self._most or not self._written(row)
            if not self._full:
                self._place[sample] = len(self._place)

    def _written(self, row: FloatArray) -> bool:
        try:
            self._file.seek(len(self._place) * row.nbytes)
            return self._file.write(row.data) == row.nbytes
        except OSError:  # the disk is full
            return False

    @property
    def complete(self) -> bool:
        """Whether all that are wanted are kept."""
        return len(self._place) == len(self._wanted)

    def read(self, samples: Rows) -> list[FloatArray]:
        """The arrays (N, ...) of samples that were kept, in the order of `add`."""
        sizes = [math.prod(shape) for shape in self._shapes]
        rows = np.empty((len(samples), sum(sizes)), np.float32)
        for row, sample in zip(rows, samples.tolist(), strict=True):
            self._file.seek(self._place[sample] * row.nbytes)
            row[:] = np.frombuffer(self._file.read(row.nbytes), np.float32)
        parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]


@contextmanager
def kept_cells(folder: Path | None, wanted: Rows) -> Iterator[KeptCells | None]:
    """A place for cells in a folder, while open; None without a folder, or where it cannot be written to."""
    with ExitStack() as opened:
        cells = None
        if folder is not None:
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                most = min(MOST_BYTES, shutil.disk_usage(folder).free // 2)
                cells = KeptCells(opened.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0)), wanted, most)
        yield cells
