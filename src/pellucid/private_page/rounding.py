"""Weights in fewer bits, for a smaller page. What that changes is measured and stated, never assumed."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ..errors import UnknownNameError
from .compact import Rows, weight_tensors

Precision = Literal["float32", "float16", "int8"]
BITS: dict[Precision, int] = {"float32": 32, "float16": 16, "int8": 8}
_MOST = 127


def check_precision(name: str) -> Precision:
    """The precision of this name; UnknownNameError for another."""
    for known in get_args(Precision):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise UnknownNameError("precision of weights", name, get_args(Precision), "`weights=` is float32, float16 or int8.")


def rounded(graph: bytes, precision: Precision) -> bytes:
    """An ONNX graph whose larger weights have been rounded; they stay float32 numbers, which take fewer bytes packed.

    `float16` rounds to the nearest number of 16 bits. `int8` rounds each row (an output channel) to 255 steps between
    minus and plus its largest magnitude.
    """
    if precision == "float32":
        return graph
    changed = bytearray(graph)
    for at, rows in weight_tensors(graph):
        near = _half(rows) if precision == "float16" else _steps(rows)
        changed[at : at + rows.nbytes] = near.tobytes()
    return bytes(changed)


def _half(rows: Rows) -> Rows:
    most = np.finfo(np.float16).max
    return np.clip(rows, -most, most).astype(np.float16).astype(np.float32)


def _steps(rows: Rows) -> Rows:
    wide = rows.astype(np.float64)
    step = np.abs(wide).max(axis=1, keepdims=True) / _MOST
    step[step == 0] = 1
    near: Rows = (np.rint(wide / step) * step).astype(np.float32)
    return near
