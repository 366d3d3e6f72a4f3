"""Graphs for graphics cards: operations that the runtime's build for cards takes and then cannot run get names.

By these `js/model.js` leaves them to the processor. NodeProto.output is field 2, .name 3, .op_type 4; GraphProto.node
is field 1, and ModelProto.graph 7 (onnx.proto, where numbers are never reused).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..bundle.protobuf import length_delimited, spans

_GRAPH, _NODE, _OUTPUT, _NAME, _KIND = 7, 1, 2, 3, 4
NAME = "left-to-the-processor-"
"""How the names of such operations begin; numbers follow."""

MOST = 64
"""At most this number of operations of a graph get a name."""


def names() -> list[str]:
    """The names that operations of a graph may have been given."""
    return [f"{NAME}{number}" for number in range(MOST)]


def named(graph: bytes) -> bytes:
    """The graph with names for its pools that give indices, which onnxruntime-web 1.30 cannot run on a card."""
    given = iter(names())
    return b"".join(
        length_delimited(_GRAPH, b"".join(_nodes(value, given))) if number == _GRAPH else bytes(whole)
        for number, value, whole in spans(memoryview(graph))
    )


def _nodes(graph: memoryview, given: Iterator[str]) -> Iterator[bytes]:
    for number, value, whole in spans(graph):
        name = next(given, None) if number == _NODE and _gives_indices(value) else None
        if name is None:
            yield bytes(whole)
            continue
        kept = b"".join(bytes(w) for n, _, w in spans(value) if n != _NAME)
        yield length_delimited(_NODE, kept + length_delimited(_NAME, name.encode("ascii")))


def _gives_indices(node: memoryview) -> bool:
    found = [(number, bytes(value)) for number, value, _ in spans(node)]
    outputs = [value for number, value in found if number == _OUTPUT]
    return (_KIND, b"MaxPool") in found and len(outputs) > 1 and bool(outputs[1])
