"""A graph with its weights inside, for a runtime that takes one file.

The graphs of a bundle refer to `weights.safetensors`. ModelProto.graph is field 7, GraphProto.initializer 5,
TensorProto.raw_data 9, .external_data 13 and .data_location 14 (onnx.proto, where numbers are never reused).
"""

from __future__ import annotations

from pathlib import Path

from .manifest import MODEL, WEIGHTS
from .protobuf import fields, length_delimited, spans

_GRAPH, _INITIALIZER, _RAW, _OUTSIDE, _LOCATION = 7, 5, 9, 13, 14


def whole_graph(folder: Path, name: str = MODEL) -> bytes:
    """A graph of the bundle in `folder` as one file."""
    return embedded((folder / name).read_bytes(), (folder / WEIGHTS).read_bytes())


def embedded(graph: bytes, weights: bytes) -> bytes:
    """The graph with the tensors that lie in the WEIGHTS file within it; all else byte for byte."""
    parts = []
    for number, value, whole in spans(memoryview(graph)):
        if number != _GRAPH:
            parts.append(bytes(whole))
            continue
        inner = [
            length_delimited(_INITIALIZER, _tensor(v, weights)) if n == _INITIALIZER else bytes(w)
            for n, v, w in spans(value)
        ]
        parts.append(length_delimited(_GRAPH, b"".join(inner)))
    return b"".join(parts)


def _tensor(message: memoryview, weights: bytes) -> bytes:
    outside: dict[str, str] = {}
    for number, value in fields(message):
        if number == _OUTSIDE:
            pair = {n: bytes(v).decode() for n, v in fields(value)}
            outside[pair.get(1, "")] = pair.get(2, "")
    if outside.get("location") != WEIGHTS:
        return bytes(message)
    start = int(outside.get("offset", 0))
    raw = weights[start : start + int(outside["length"])]
    kept = [bytes(whole) for number, _, whole in spans(message) if number not in (_OUTSIDE, _LOCATION)]
    return b"".join([*kept, length_delimited(_RAW, raw)])
