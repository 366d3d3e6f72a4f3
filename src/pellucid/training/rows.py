"""Rows of an array that may lie on disk and be larger than memory."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Indices = npt.NDArray[np.intp] | npt.NDArray[np.int64]


class RowReader:
    """Reads rows of an array (N, ...), of a mapped file without mapping them.

    Pages of a mapped file count as this process's memory until the system wants them back, so that an epoch over a
    hundred thousand images would seem to need the whole file. A row that is read needs its own bytes only.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self._row = int(np.prod(array.shape[1:], dtype=np.int64)) * array.itemsize
        self._file: int | None = None
        whole = isinstance(getattr(array, "base", None), mmap.mmap) and array.flags.c_contiguous
        if isinstance(array, np.memmap) and whole and array.filename is not None and hasattr(os, "preadv"):
            self._file, self._start = os.open(array.filename, os.O_RDONLY), int(array.offset)

    def __call__(self, chosen: Indices) -> npt.NDArray[Any]:
        """Rows (len(chosen), ...) in the order of `chosen`."""
        # Sorted reading is what a disk is quickest at.
        order = np.argsort(chosen, kind="stable")
        found = np.empty((len(chosen), *self._array.shape[1:]), self._array.dtype)
        if self._file is None:
            found[order] = self._array[chosen[order]]
            return found
        for i in order.tolist():
            view = memoryview(found[i]).cast("B")
            at, done = self._start + int(chosen[i]) * self._row, 0
            while done < self._row:
                got = os.preadv(self._file, [view[done:]], at + done)
                if not got:
                    raise OSError(f"Row {int(chosen[i])} is not in the file of the array: it was cut off.")
                done += got
        return found

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]


class Features:
    """What frozen layers give for V views of N images, (V, N, ...), in memory or in a file."""

    def __init__(self, array: npt.NDArray[Any], dtype: torch.dtype, views: int, images: int) -> None:
        self.views, self.images, self.dtype = views, images, dtype
        self._read = RowReader(array)
        self.array = array  # (V * N, ...)

    @classmethod
    def of(cls, values: npt.NDArray[np.float32]) -> Features:
        """Features (V, N, ...) held in memory."""
        return cls(values.reshape(-1, *values.shape[2:]), torch.float32, values.shape[0], values.shape[1])

    def read(self, views: npt.NDArray[np.int64], images: npt.NDArray[np.intp]) -> torch.Tensor:
        """One view of each of some images: (len(images), ...) in the type in which the layers gave it."""
        found = torch.from_numpy(self._read(views * self.images + images))
        return found.view(self.dtype) if found.dtype != self.dtype else found
