"""The version of the operators that an ONNX graph is written in, read without the onnx package."""

from __future__ import annotations

from pathlib import Path

from .protobuf import fields, varints

_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2


def opset_of(path: Path) -> int | None:
    """The opset of a graph's standard operators; None where it names none."""
    for number, message in fields(memoryview(path.read_bytes())):
        if number == _OPSET_IMPORT:
            entry = {n: bytes(v) for n, v in fields(message)}
            if entry.get(_DOMAIN, b"") in (b"", b"ai.onnx") and _VERSION in entry:
                return varints(memoryview(entry[_VERSION]))[0]
    return None
