"""A graph with its weights inside, for a runtime that takes one file; or with its weights at other places.

The graphs of a bundle refer to `weights.safetensors`. ModelProto.graph is field 7, GraphProto.initializer 5,
TensorProto.raw_data 9, .external_data 13 and .data_location 14 (onnx.proto, where numbers are never reused).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from .manifest import MODEL, WEIGHTS
from .protobuf import fields, length_delimited, spans

_GRAPH, _INITIALIZER, _RAW, _OUTSIDE, _LOCATION = 7, 5, 9, 13, 14
_KEY, _VALUE = 1, 2

Place = tuple[int, int]
"""Offset and length in the WEIGHTS file, in bytes."""


def whole_graph(folder: Path, name: str = MODEL) -> bytes:
    """A graph of the bundle in `folder` as one file."""
    return embedded((folder / name).read_bytes(), (folder / WEIGHTS).read_bytes())


def embedded(graph: bytes, weights: bytes) -> bytes:
    """The graph with the tensors that lie in the WEIGHTS file within it; all else byte for byte."""
    return with_initializers(graph, lambda message: inside(message, weights))


def initializers(graph: bytes) -> Iterator[memoryview]:
    """The tensors of a graph's weights, as messages."""
    for number, value in fields(memoryview(graph)):
        if number == _GRAPH:
            yield from (v for n, v in fields(value) if n == _INITIALIZER)


def with_initializers(graph: bytes, changed: Callable[[memoryview], bytes]) -> bytes:
    """The graph with each tensor of its weights replaced by `changed` of it; all else byte for byte."""
    parts = []
    for number, value, whole in spans(memoryview(graph)):
        if number != _GRAPH:
            parts.append(bytes(whole))
            continue
        inner = [
            length_delimited(_INITIALIZER, changed(v)) if n == _INITIALIZER else bytes(w) for n, v, w in spans(value)
        ]
        parts.append(length_delimited(_GRAPH, b"".join(inner)))
    return b"".join(parts)


def external_place(message: memoryview) -> Place | None:
    """Where a tensor lies in the WEIGHTS file; None for one that lies elsewhere."""
    outside: dict[str, str] = {}
    for number, value in fields(message):
        if number == _OUTSIDE:
            pair = {n: bytes(v).decode() for n, v in fields(value)}
            outside[pair.get(_KEY, "")] = pair.get(_VALUE, "")
    if outside.get("location") != WEIGHTS:
        return None
    return int(outside.get("offset", 0)), int(outside["length"])


def inside(message: memoryview, weights: bytes) -> bytes:
    """A tensor with its values in the message, which lay in the WEIGHTS file; any other as it is."""
    place = external_place(message)
    if place is None:
        return bytes(message)
    kept = [bytes(whole) for number, _, whole in spans(message) if number not in (_OUTSIDE, _LOCATION)]
    return b"".join([*kept, length_delimited(_RAW, weights[place[0] : sum(place)])])


def placed(message: memoryview, place: Place) -> bytes:
    """A tensor of the WEIGHTS file whose values lie at another place of the file that bears this name."""
    kept = [bytes(whole) for number, _, whole in spans(message) if number != _OUTSIDE]
    pairs = {"location": WEIGHTS, "offset": str(place[0]), "length": str(place[1])}
    entries = [
        length_delimited(_OUTSIDE, length_delimited(_KEY, k.encode()) + length_delimited(_VALUE, v.encode()))
        for k, v in pairs.items()
    ]
    return b"".join([*kept, *entries])
