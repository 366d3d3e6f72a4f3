"""Bundles with shuffled weights, from the last layer backwards: the comparison of a sanity check.

The weights lie as raw bytes in a bundle's graphs, or in `weights.safetensors` where a graph refers to it. They are
overwritten in a copy, so that neither torch nor the onnx package is needed. Few protobuf fields lead to them:
ModelProto.graph is field 7, GraphProto.node 1 and .initializer 5, NodeProto.input 1 and .op_type 4, TensorProto.dims 1,
.data_type 2, .name 8, .raw_data 9 and .external_data 13, a list of keys (1) and values (2) (onnx.proto, where numbers
are never reused). A matrix that the file holds with its axes exchanged is turned by a Transpose node before its use.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..preprocessing import FloatArray
from .io import model_session
from .manifest import MODEL, WEIGHTS, Manifest
from .onnx_classifier import OnnxClassifier
from .protobuf import fields, varints

GRAPH = ".onnx"
WEIGHTED = frozenset((b"Conv", b"ConvTranspose", b"Gemm", b"MatMul"))
_FLOAT = 1
# Fewer values than this are a bias or a constant of the graph, not a layer's weights.
_LEAST = 8


@dataclass(frozen=True, slots=True)
class Weight:
    """One array of weights, a view into a file's bytes; `node` is the place of the first node that uses it.

    Its layer is the `last` from the end (1 for the last one) of the `of` layers of its graph. Where it repeats an
    earlier array with its axes in another order, `origin` is the number of that one and `axes` the order: matrices lie
    in a graph twice, for the forward and for the backward part, and many in other graphs again.
    """

    values: FloatArray
    node: int
    last: int = 1
    of: int = 1
    origin: int | None = None
    axes: tuple[int, ...] = ()

    def shuffled_at(self, share: float) -> bool:
        """Whether the layer is one of the last ones that make up a share of all, of which the last always is."""
        return self.last <= max(1, round(share * self.of))


def randomised_classifiers(
    folder: Path, manifest: Manifest, shares: Sequence[float], *, seed: int = 0, threads: int | None = None
) -> Iterator[tuple[int, int, OnnxClassifier]]:
    """The bundle with the last layers' weights shuffled, for each share of its layers: (layers, of all, classifier).

    A share of 0 shuffles the last layer only, 1 all layers. The values of each filter change places (of a matrix, all
    values), so that activations stay of a usual size. Each classifier is to be used before the next is asked for.
    Cascading randomisation: Adebayo et al. 2018, arXiv:1810.03292, section 3.
    """
    names = (MODEL, *sorted(n for n in manifest.files if n.endswith(GRAPH) and n != MODEL))
    files = {name: bytearray((folder / name).read_bytes()) for name in (*names, WEIGHTS)}
    weights = with_origins([w for name in names for w in numbered(read_weights(files[name], files[WEIGHTS]))])
    layers = weights[0].of if weights else 0
    shuffled = shuffle(weights, seed)
    for count, share in sorted({min(max(1, round(share * layers)), layers): share for share in shares}.items()):
        for weight, values in zip(weights, shuffled, strict=True):
            if weight.shuffled_at(share):
                weight.values[...] = values
        with TemporaryDirectory(prefix="pellucid-", ignore_cleanup_errors=True) as name:
            for file, content in files.items():
                (Path(name) / file).write_bytes(content)
            open_graph = cache(lambda file, place=Path(name): model_session(place / file, threads))
            yield count, layers, OnnxClassifier(manifest, open_graph(MODEL), open_graph)


def shuffle(weights: Sequence[Weight], seed: int) -> list[FloatArray]:
    """Each array with its values in random order, within a filter or a whole matrix; copies stay copies."""
    random = np.random.default_rng(seed)
    found: list[FloatArray] = []
    for weight in weights:
        if weight.origin is not None:
            found.append(found[weight.origin].transpose(weight.axes))
            continue
        filters = len(weight.values) if weight.values.ndim > 2 else 1
        mixed = random.permuted(weight.values.reshape(filters, -1), axis=1)
        found.append(mixed.reshape(weight.values.shape))
    return found


def _transposition(one: FloatArray, other: FloatArray) -> tuple[int, ...] | None:
    """The order of axes in which `one` equals `other`, if there is one."""
    if one.ndim != other.ndim or sorted(one.shape) != sorted(other.shape):
        return None
    orders = itertools.permutations(range(one.ndim))
    return next((o for o in orders if np.array_equal(one.transpose(o), other)), None)


def read_weights(model: bytearray, external: bytearray) -> list[Weight]:
    """The float32 arrays that convolutions and matrix products of an ONNX graph use as weights, by their first use.

    `external` is the file that the graph refers to, `weights.safetensors`. The arrays are views: what is written to
    them changes the bytes. In an evidence graph the forward pass comes first.
    """
    (graph,) = (value for number, value in fields(memoryview(model)) if number == 7)
    arrays: dict[str, FloatArray] = {}
    nodes: list[tuple[bytes, list[str]]] = []
    turned: dict[str, str] = {}
    for number, value in fields(graph):
        if number == 5 and (tensor := _tensor(value, external)) is not None:
            arrays[tensor[0]] = tensor[1]
        elif number == 1:
            parts = list(fields(value))
            kind = next((bytes(v) for n, v in parts if n == 4), b"")
            inputs = [bytes(v).decode() for n, v in parts if n == 1]
            nodes.append((kind, inputs))
            if kind == b"Transpose":
                turned[next(bytes(v).decode() for n, v in parts if n == 2)] = inputs[0]
    used: dict[str, int] = {}
    for place, (kind, inputs) in enumerate(nodes):
        if kind in WEIGHTED:
            for name in inputs[1:]:
                origin = turned.get(name, name)
                if origin in arrays and arrays[origin].ndim > 1:
                    used.setdefault(origin, place)
    return [Weight(arrays[name], place) for name, place in used.items()]


def numbered(weights: Sequence[Weight]) -> list[Weight]:
    """The weights of one graph with their layers counted from the end; a copy belongs to the layer of its original."""
    nodes = [w.node for w in with_origins(weights)]
    layers = sorted(set(nodes))
    places = (layers.index(node) for node in nodes)
    return [replace(w, last=len(layers) - i, of=len(layers)) for w, i in zip(weights, places, strict=True)]


def with_origins(weights: Sequence[Weight]) -> list[Weight]:
    """The same weights, those that repeat an earlier one marked as such and belonging to its layer."""
    found: list[Weight] = []
    for weight in weights:
        copies = ((i, w, _transposition(w.values, weight.values)) for i, w in enumerate(found) if w.origin is None)
        same = next(((i, w, axes) for i, w, axes in copies if axes), None)
        if same is not None:
            i, original, axes = same
            weight = replace(original, values=weight.values, origin=i, axes=axes)
        found.append(weight)
    return found


def _tensor(message: memoryview, external: bytearray) -> tuple[str, FloatArray] | None:
    """Name and values of a TensorProto that has enough float32 values, within itself or in `external`."""
    dims: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    outside: dict[str, str] = {}
    for number, value in fields(message):
        if number == 1:
            dims += varints(value)
        elif number == 2:
            kind = varints(value)[0]
        elif number == 8:
            name = bytes(value).decode()
        elif number == 9:
            raw = value
        elif number == 13:
            pair = {n: bytes(v).decode() for n, v in fields(value)}
            outside[pair.get(1, "")] = pair.get(2, "")
    if outside.get("location") == WEIGHTS:
        start = int(outside.get("offset", 0))
        raw = memoryview(external)[start : start + int(outside.get("length", 0))]
    if kind != _FLOAT or len(raw) < 4 * _LEAST:
        return None
    return name, np.frombuffer(raw, "<f4").reshape(dims)
