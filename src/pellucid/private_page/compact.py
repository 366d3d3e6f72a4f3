"""Weights in fewer bytes without loss: rows whose values lie on a grid become small integers times a step.

Published weights were often stored as 8-bit integers with one scale for each output channel, and keep that grid when
normalisation is folded in, but for the last bit of rounding. A row of float32 values v is then kept as a step s
(float64), integers k (8 bits), and what is left in units of the last place, v - float32(k s), which is nearly always 0.
Other rows stay as they are. `js/compact.js` is the way back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.protobuf import fields, varints

MAGIC = b"pellucid grid 1\n"
LEAST_VALUES = 1024
DIVISORS = (1, 2, 3, 4, 6, 8)
"""The least difference of a row may be several steps."""

_GRAPH, _INITIALIZER, _DIMS, _TYPE, _RAW, _FLOAT32 = 7, 5, 1, 2, 9, 1

Steps = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]


def compacted(graph: bytes) -> bytes:
    """An ONNX graph with its weights on grids where they lie on one; the graph itself where none does.

    The bytes are MAGIC, the length of a header (uint32), the header (JSON: for each tensor `at`, `rows`, `columns`),
    all steps, all integers, all remainders, and the graph without these tensors.
    """
    segments: list[dict[str, int]] = []
    steps: list[bytes] = []
    integers: list[bytes] = []
    remainders: list[bytes] = []
    rest: list[bytes] = []
    end = 0
    for at, rows in weight_tensors(graph):
        found = on_grid(rows)
        if found is None:
            continue
        segments.append({"at": at, "rows": rows.shape[0], "columns": rows.shape[1]})
        steps.append(found[0].tobytes())
        integers.append(found[1].tobytes())
        remainders.append(found[2].tobytes())
        rest.append(graph[end:at])
        end = at + rows.nbytes
    if not segments:
        return graph
    header = json.dumps({"size": len(graph), "segments": segments}, separators=(",", ":")).encode("ascii")
    header += b" " * (-(len(MAGIC) + 4 + len(header)) % 8)
    length = np.array([len(header)], "<u4").tobytes()
    return b"".join([MAGIC, length, header, *steps, *integers, *remainders, *rest, graph[end:]])


def on_grid(rows: Rows) -> tuple[Steps, npt.NDArray[np.int8], npt.NDArray[np.int8]] | None:
    """Steps (R,), integers and remainders (R, C) of rows (R, C) that all lie on grids; None where one does not."""
    wide = rows.astype(np.float64)
    if not np.isfinite(wide).all() or _steps(wide[:4], rows[:4]) is None:
        return None
    steps = _steps(wide, rows)
    if steps is None:
        return None
    integers = np.rint(wide / steps[:, None])
    return steps, integers.astype(np.int8), _remainders(rows, integers, steps).astype(np.int8)


def _steps(wide: Steps, rows: Rows) -> Steps | None:
    """A step for each row, tried from its least difference down."""
    ordered = np.sort(np.concatenate([wide, np.zeros((len(wide), 1))], axis=1), axis=1)
    gaps = np.diff(ordered, axis=1)
    least = np.where(gaps > 0, gaps, np.inf).min(axis=1)
    least[~np.isfinite(least)] = 1.0  # a row of zeros
    found = np.zeros(len(wide))
    for divisor in DIVISORS:
        open_ = np.flatnonzero(found == 0)
        if not len(open_):
            break
        steps = _fitted(wide[open_], least[open_] / divisor)
        integers = np.rint(wide[open_] / steps[:, None])
        left = _remainders(rows[open_], integers, steps)
        good = (np.abs(integers).max(axis=1) <= 127) & (np.abs(left).max(axis=1) <= 127)
        found[open_[good]] = steps[good]
    return found if (found > 0).all() else None


def _fitted(wide: Steps, steps: Steps) -> Steps:
    """The steps that fit the rows best in the sense of least squares, near those given."""
    for _ in range(3):
        integers = np.rint(wide / steps[:, None])
        size = (integers**2).sum(axis=1)
        better = (wide * integers).sum(axis=1) / np.maximum(size, 1)
        steps = np.where(better > 0, better, steps)
    return steps


def _remainders(rows: Rows, integers: Steps, steps: Steps) -> npt.NDArray[np.int64]:
    """What the grid leaves, in units of the last place."""
    near = (integers * steps[:, None]).astype(np.float32)
    return np.ascontiguousarray(rows).view(np.int32).astype(np.int64) - near.view(np.int32)


def weight_tensors(graph: bytes) -> Iterator[tuple[int, Rows]]:
    """Where the larger float32 tensors lie in the file, and their values as rows of the first axis."""
    whole = memoryview(graph)
    start = address(whole)
    for number, body in fields(whole):
        if number != _GRAPH:
            continue
        for inner, tensor in fields(body):
            if inner == _INITIALIZER and (found := _raw(tensor)) is not None:
                raw, dims = found
                yield address(raw) - start, np.frombuffer(raw, "<f4").reshape(dims[0], -1)


def _raw(tensor: memoryview) -> tuple[memoryview, list[int]] | None:
    dims: list[int] = []
    kind, raw = 0, None
    for number, value in fields(tensor):
        if number == _DIMS:
            dims += varints(value)
        elif number == _TYPE:
            kind = varints(value)[0]
        elif number == _RAW:
            raw = value
    if raw is None or kind != _FLOAT32 or len(dims) < 2 or len(raw) < 4 * LEAST_VALUES:
        return None
    return raw, dims


def address(view: memoryview) -> int:
    """Where the bytes lie in memory: differences say where views lie in one another."""
    place: Any = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return int(place)
