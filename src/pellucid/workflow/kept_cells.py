"""Cells of normal images on disk, so that a backbone describes every image once and memory need not hold all cells."""

from __future__ import annotations

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
    """The patches (h, w, C) of the samples `wanted`, `most` bytes, in a file without a name: it is gone when closed."""

    def __init__(self, file: IO[bytes], wanted: Rows, most: int) -> None:
        self._file, self._wanted, self._most = file, frozenset(wanted.tolist()), most
        self._place: dict[int, int] = {}
        self._shape: tuple[int, ...] = ()
        self._full = False

    def add(self, samples: Rows, patches: FloatArray) -> None:
        """Keep the patches (N, h, w, C) of those of N samples that are wanted; no more once there is no room."""
        self._shape = patches.shape[1:]
        for sample, values in zip(samples.tolist(), patches, strict=True):
            if self._full or sample not in self._wanted:
                continue
            self._full = (len(self._place) + 1) * values.nbytes > self._most or not self._written(values)
            if not self._full:
                self._place[sample] = len(self._place)

    def _written(self, values: FloatArray) -> bool:
        try:
            self._file.seek(len(self._place) * values.nbytes)
            return self._file.write(np.ascontiguousarray(values, np.float32).data) == values.nbytes
        except OSError:  # the disk is full
            return False

    @property
    def complete(self) -> bool:
        """Whether all that are wanted are kept."""
        return len(self._place) == len(self._wanted)

    def read(self, samples: Rows) -> FloatArray:
        """The patches (N, h, w, C) of samples that were kept."""
        found = np.empty((len(samples), *self._shape), np.float32)
        for i, sample in enumerate(samples.tolist()):
            self._file.seek(self._place[sample] * found[i].nbytes)
            found[i] = np.frombuffer(self._file.read(found[i].nbytes), np.float32).reshape(self._shape)
        return found


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
