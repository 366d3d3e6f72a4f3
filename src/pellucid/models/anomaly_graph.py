"""The whole anomaly detector as one ONNX graph: features, distances, map and score.

The graph has the inputs and outputs of every bundle (bundle/manifest.py). `logits` (N, 1) is the score, `activations`
(N, 1, h, w) the map, and `gradients` the weight of each target in every cell, so that their product is the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..anomaly.detector import Detector, PatchMemory, PositionGaussians
from ..anomaly.gathering import LEAST, LIKENESS, between_places
from ..anomaly.gaussian import Gaussian
from ..anomaly.memory import nearest
from ..anomaly.moments import KINDS, halves, resampling
from ..errors import InputError
from ..preprocessing import FloatArray
from .patch_features import FeatureGraph

LARGEST = 1_500_000_000
"""Bytes: a little less than an ONNX file can hold, 2 GB, with room for the backbone."""
LEAST_DISTANCE = float(np.finfo(np.float32).tiny)
SUPPORT = 9
"""Rows around the nearest one by which PatchCore's score is weighed."""


class _Head:
    """ONNX nodes in the making. Each method adds one and returns the name of what it gives."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: object, kind: type = np.float32) -> str:
        name = f"anomaly_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def add(self, operation: str, inputs: Sequence[str], outputs: int = 1, name: str = "", **settings: Any) -> str:
        names = [name or f"anomaly_{len(self.nodes)}"] + [f"anomaly_{len(self.nodes)}_{i}" for i in range(1, outputs)]
        self.nodes.append(helper.make_node(operation, list(inputs), names, **settings))
        return names[-1] if outputs > 1 else names[0]

    def shape(self, values: str, shape: Sequence[int], name: str = "") -> str:
        return self.add("Reshape", [values, self.constant(shape, np.int64)], name=name)


def anomaly_model(features: FeatureGraph, detector: Detector) -> onnx.ModelProto:
    """The graph of `features` continued by a fitted detector.

    Raises InputError for a memory that no ONNX file can hold.
    """
    size = sum(values.nbytes for values in detector.arrays().values())
    if size > LARGEST:
        raise InputError(
            f"The detector takes {size / 1e9:.1f} GB, and a bundle's graph holds {LARGEST / 1e9:.1f}: lower "
            "anomaly.memory or data.size, or take fewer anomaly.layers."
        )
    head = _Head()
    maps, scores = [], []
    units = detector.units_of_map
    if detector.local is not None:
        cells = _local(head, detector)
        maps.append(head.add("Mul", [cells, head.constant(1 / units[0])]))
        scores.append(_local_score(head, detector, head.add("Mul", [cells, head.constant(1 / detector.local_unit)])))
    if detector.whole is not None:
        shares, distance = _whole(head, features, detector.whole, (units[1], detector.whole_unit), detector.grid)
        if detector.places is not None:
            shares = head.add("Sub", [shares, head.constant(detector.places.shares / units[1])])
        maps.append(shares)
        scores.append(distance)
    together = head.add("Add", maps) if len(maps) > 1 else maps[0]
    grid = _finished(head, features, detector, head.add("Sub", [together, head.constant(detector.usual)]))
    head.add("Add" if len(scores) > 1 else "Identity", scores, name="logits")
    targets = head.shape("target", [0, 0, 1, 1, 1])
    head.add("Mul", [targets, head.constant(np.ones((1, 1, 1, *grid)))], name="gradients")
    return _joined(features.model, head, grid)


def _finished(head: _Head, features: FeatureGraph, detector: Detector, above: str) -> tuple[int, int]:
    """The map of what is `above` the usual (N, 1, h, w), and the grid that it has; see `anomaly.gathering`."""
    if not detector.gathers:
        head.add("Identity", [above], name="activations")
        return detector.grid
    grid = detector.grid
    if features.guide is not None:
        above = _gathered(head, above, features.guide, grid)
        grid = features.guide[1:]
    greatest = head.add("ReduceMax", [above, head.constant([2, 3], np.int64)], keepdims=1)
    top = head.add("Max", [greatest, head.constant(LEAST_DISTANCE)])
    shares = head.add("Div", [head.add("Max", [above, head.constant(0.0)]), top])
    # Below 0 a value stays as it is; above, it is multiplied by its share.
    kept = head.add("Where", [head.add("Greater", [above, head.constant(0.0)]), shares, head.constant(1.0)])
    head.add("Mul", [above, kept], name="activations")
    return grid


def _gathered(head: _Head, maps: str, guide: tuple[int, int, int], grid: tuple[int, int]) -> str:
    """Maps (N, 1, h, w) on the grid of the guide (C, H, W), (N, 1, H, W): each cell the mean of those like it."""
    channels, height, width = guide
    rows = head.add("MatMul", [head.constant(resampling(height, grid[0])), "guide"])
    coarse = head.add("MatMul", [rows, head.constant(resampling(width, grid[1]).T)])
    unit = _between_neighbours(head, coarse, grid)
    unit = head.add("Mul", [head.add("Add", [unit, head.constant(LEAST)]), head.constant(LIKENESS)])
    coarse = head.shape(coarse, [0, channels, -1])
    middle = head.add("ReduceMean", [coarse, head.constant([2], np.int64)], keepdims=1)
    keys = head.add("Sub", [coarse, middle])
    asked = head.add("Sub", [head.shape("guide", [0, channels, -1]), middle])
    squares = head.add("ReduceSumSquare", [keys, head.constant([1], np.int64)], keepdims=1)
    # Cells are divided by the unit before they are multiplied: pairs are many more.
    asked = head.add("Transpose", [head.add("Div", [asked, unit])], perm=[0, 2, 1])
    products = head.add("MatMul", [asked, head.add("Mul", [keys, head.constant(2.0)])])
    apart = head.add("Add", [head.add("Div", [squares, unit]), head.constant(between_places((height, width), grid))])
    weights = head.add("Softmax", [head.add("Sub", [products, apart])], axis=2)
    found = head.add("MatMul", [weights, head.shape(maps, [0, grid[0] * grid[1], 1])])
    return head.shape(found, [-1, 1, height, width])


def _local(head: _Head, detector: Detector) -> str:
    """The local distances (N, 1, h, w)."""
    h, w = detector.grid
    rows = head.add("Transpose", ["patches"], perm=[0, 2, 3, 1])
    if isinstance(detector.local, PatchMemory):
        found = _nearest(head, detector.local, rows)
    elif detector.local is not None:
        found = _by_position(head, detector.local, rows, h * w)
    cells = head.shape(found, [-1, 1, h, w])
    return cells if detector.places is None else head.add("Mul", [cells, head.constant(1 / detector.places.cells)])


def _nearest(head: _Head, memory: PatchMemory, rows: str) -> str:
    """Distances (N h w, 1) to the nearest row, by |x|^2 + |m|^2 - 2 x m, both taken from the memory's middle."""
    middle = memory.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    kept = memory.rows - middle
    flat = head.shape(head.add("Mul", [rows, head.constant(memory.scale)]), [-1, kept.shape[1]])
    flat = head.add("Sub", [flat, head.constant(middle)], name="anomaly_patches")
    product = head.add("MatMul", [flat, head.constant(-2 * kept.T)])
    squared = head.add("Add", [product, head.constant(np.einsum("mc,mc->m", kept, kept))])
    axis = head.constant([1], np.int64)
    least = head.add("ReduceMin", [squared, axis], keepdims=1)
    own = head.add("ReduceSumSquare", [flat, axis], keepdims=1)
    return head.add("Sqrt", [head.add("Max", [head.add("Add", [least, own]), head.constant(0.0)])])


def _between_neighbours(head: _Head, cells: str, grid: tuple[int, int]) -> str:
    """The mean squared distance of cells (N, C, h, w) from those below and beside them, (N, 1, 1)."""
    first, last, end = (head.constant([k], np.int64) for k in (1, -1, np.iinfo(np.int64).max))
    start, sums = head.constant([0], np.int64), []
    for axis, other in ((2, 3), (3, 2)):
        along = head.constant([axis], np.int64)
        ends = [head.add("Slice", [cells, *part, along]) for part in ((first, end), (start, last))]
        squares = head.add("ReduceSumSquare", [head.add("Sub", ends), head.constant([1, 2, 3], np.int64)], keepdims=0)
        pairs = max((grid[axis - 2] - 1) * grid[other - 2], 1)
        sums.append(head.add("Mul", [squares, head.constant(0.5 / pairs)]))
    return head.shape(head.add("Add", sums), [-1, 1, 1])


def _by_position(head: _Head, cells: PositionGaussians, rows: str, positions: int) -> str:
    """Mahalanobis distances (N, positions), each cell's to its own Gaussian."""
    flat = head.shape(rows, [0, positions, -1])
    if len(cells.channels):
        flat = head.add("Gather", [flat, head.constant(cells.channels, np.int64)], axis=2)
    around = head.add("Sub", [flat, head.constant(cells.mean[None])])
    turned = head.add("Transpose", [around], perm=[1, 0, 2])
    white = head.add("MatMul", [turned, head.constant(cells.whitening)])
    lengths = head.add("ReduceL2", [white, head.constant([2], np.int64)], keepdims=0)
    return head.add("Transpose", [lengths], perm=[1, 0])


def _whole(
    head: _Head, features: FeatureGraph, gaussian: Gaussian, units: tuple[float, float], grid: tuple[int, int]
) -> tuple[str, str]:
    """The map (N, 1, h, w) of the image's distance, and that distance (N, 1), in `units`; see `anomaly.moments`."""
    around = head.add("Sub", ["statistics", head.constant(gaussian.mean)])
    whitening = head.constant(gaussian.whitening)  # megabytes, and the same both ways
    white = head.add("Gemm", [around, whitening])
    axis = head.constant([1], np.int64)
    length = head.add("Max", [head.add("ReduceL2", [white, axis], keepdims=1), head.constant(LEAST_DISTANCE)])
    weights = head.add("Div", [head.add("Gemm", [white, whitening], transB=1, alpha=1 / units[0]), length])
    shares: list[str] = []
    start = 0
    for i, (channels, height, width) in enumerate(features.shapes):
        square = _shares(head, f"map_{i}", weights, around, gaussian.mean, start, (channels, height, width))
        rows = head.add("MatMul", [head.constant(resampling(height, grid[0])), square])
        shares.append(head.add("MatMul", [rows, head.constant(resampling(width, grid[1]).T)]))
        start += KINDS * channels
    total = shares[0]
    for other in shares[1:]:
        total = head.add("Add", [total, other])
    return total, head.add("Mul", [length, head.constant(1 / units[1])])


def _shares(
    head: _Head, values: str, weights: str, around: str, mean: FloatArray, start: int, shape: tuple[int, int, int]
) -> str:
    """What each cell of a layer's map (N, C, h, w) adds to the image's distance, (N, 1, h, w)."""
    channels, height, width = shape

    def part(of: str, kind: int) -> str:
        ends = [head.constant([start + (kind + k) * channels], np.int64) for k in (0, 1)]
        return head.add("Slice", [of, *ends, head.constant([1], np.int64)])

    def weighed(row: str, cells: str) -> str:
        """The sum over channels of cells (N, C, h, w) with weights (N, C), (N, 1, h, w)."""
        flat = head.shape(cells, [0, channels, -1])
        return head.shape(head.add("MatMul", [head.shape(row, [0, 1, channels]), flat]), [-1, 1, height, width])

    def step(axis: int) -> str:
        first, last, end = (head.constant([k], np.int64) for k in (1, -1, np.iinfo(np.int64).max))
        along = head.constant([axis], np.int64)
        further = [head.add("Slice", [values, begin, end, along]) for begin in (first, last)]
        return head.add("Sub", [head.add("Concat", further, axis=axis), values])

    def column(of: str) -> str:
        return head.shape(of, [0, channels, 1, 1])

    usual = head.constant(mean[start : start + channels, None, None])
    total = weighed(part(weights, 0), head.add("Sub", [values, usual]))
    deviations = (head.add("Sub", [values, column(part("statistics", 0))]), step(2), step(3))
    for kind, deviation in enumerate(deviations, 1):
        scaled = head.add("Div", [deviation, column(head.add("Exp", [part("statistics", kind)]))])
        logs = head.add("Mul", [part(weights, kind), part(around, kind)])
        each = weighed(logs, head.add("Mul", [scaled, scaled]))
        if kind == 2:
            each = head.add("MatMul", [head.constant(halves(height)), each])
        elif kind == 3:
            each = head.add("MatMul", [each, head.constant(halves(width).T)])
        total = head.add("Add", [total, each])
    return total


def _local_score(head: _Head, detector: Detector, cells: str) -> str:
    """The local score (N, 1) of scaled cells (N, 1, h, w)."""
    h, w = detector.grid
    flat = head.shape(cells, [0, h * w])
    count = min(detector.top, h * w)
    axis = head.constant([1], np.int64)
    if detector.reweighted and isinstance(detector.local, PatchMemory):
        return _reweighted(head, detector, detector.local, flat)
    if count == h * w:
        return head.add("ReduceMean", [flat, axis], keepdims=1)
    names = ["anomaly_greatest", "anomaly_greatest_at"]
    head.nodes.append(helper.make_node("TopK", [flat, head.constant([count], np.int64)], names, axis=1, sorted=0))
    return head.add("ReduceMean", [names[0], axis], keepdims=1)


def _reweighted(head: _Head, detector: Detector, memory: PatchMemory, flat: str) -> str:
    """PatchCore's weighted score; see `anomaly.memory.reweighted_scores`."""
    h, w = detector.grid
    middle = memory.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    around = nearest(memory.rows, memory.rows, SUPPORT)[1]
    axis = head.constant([1], np.int64)
    at = head.add("ArgMax", [flat], axis=1, keepdims=1)
    channels = memory.rows.shape[1]
    each = head.shape("anomaly_patches", [-1, h * w, channels])
    query = head.add("GatherND", [each, at], batch_dims=1)
    kept = head.constant(memory.rows - middle)
    between = head.add(
        "Sub", [head.add("Unsqueeze", [query, axis]), head.add("Unsqueeze", [kept, head.constant([0], np.int64)])]
    )
    distances = head.add("ReduceL2", [between, head.constant([2], np.int64)], keepdims=0)
    own = head.add("ArgMin", [distances], axis=1, keepdims=0)
    support = head.add("Gather", [head.constant(around, np.int64), own], axis=0)
    near = head.add("GatherElements", [distances, support], axis=1)
    shares = head.add("Softmax", [near], axis=1)
    first = head.add("Slice", [shares, head.constant([0], np.int64), axis, axis])
    weight = head.add("Sub", [head.constant(1.0), first])
    greatest = head.add("ReduceMax", [flat, axis], keepdims=1)
    return head.add("Mul", [greatest, weight])


def _joined(features: onnx.ModelProto, head: _Head, grid: tuple[int, int]) -> onnx.ModelProto:
    """The two parts as one model, with the inputs and outputs of a bundle."""
    model = onnx.ModelProto()
    model.CopyFrom(features)
    graph = model.graph
    graph.node.extend(head.nodes)
    graph.initializer.extend(head.constants)
    graph.input.append(helper.make_tensor_value_info("target", TensorProto.FLOAT, ["images", "targets", 1]))
    graph.input.append(helper.make_tensor_value_info("contrast", TensorProto.FLOAT, []))
    del graph.output[:]
    h, w = grid
    shapes: dict[str, list[str | int]] = {
        "logits": ["images", 1],
        "activations": ["images", 1, h, w],
        "gradients": ["images", "targets", 1, h, w],
    }
    for name, shape in shapes.items():
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model
