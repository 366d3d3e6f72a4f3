"""The graphs of a bundle: each is a file of the manifest, unchanged, and reads no file that is not one.

An ONNX tensor may name another file as the place of its values. Those names are found here, wherever a graph can hold a
tensor. The numbers are fields of onnx.proto, where they are never given to another field.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BundleError
from .io import changed, checksum, model_session
from .manifest import MODEL, Manifest
from .protobuf import fields

if TYPE_CHECKING:
    import onnxruntime

_INNER: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""The messages within each message that lead to a tensor."""

_EXTERNAL_DATA, _KEY, _VALUE = 13, 1, 2
_DEEPEST = 100


def check_graphs(folder: Path, manifest: Manifest) -> None:
    """Raise BundleError for a graph that the manifest names and does not list, or that reads a file not listed."""
    for name in manifest.graphs:
        if name not in manifest.files:
            raise BundleError(
                f"The manifest in {folder} names the graph {name}, which is not among its files. Copy the bundle again."
            )
        _check_external(folder / name, manifest)


def depends_on_batch(folder: Path) -> bool:
    """Whether the main graph quantises activations by the values of a whole batch, as dynamic int8 models do."""
    return _content(folder / MODEL).find(b"DynamicQuantize") >= 0


def graph_session(
    folder: Path, manifest: Manifest, name: str, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session of a graph that is opened after the bundle was read; BundleError if it or its weights have changed."""
    outside = _check_external(folder / name, manifest)
    for file in (name, *sorted(outside)):
        if checksum(folder / file) != manifest.files.get(file):
            raise changed(folder, file)
    return model_session(folder / name, threads)


def _check_external(path: Path, manifest: Manifest) -> set[str]:
    """The other files that a graph reads; BundleError for one that is not a file of the bundle."""
    try:
        outside = external_files(_content(path))
    except (IndexError, RecursionError, ValueError) as error:
        raise BundleError(f"{path} is not an ONNX graph. Copy the bundle again, or export it again.") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}). Copy the bundle again.") from error
    strange = sorted(outside - manifest.files.keys())
    if strange:
        raise BundleError(
            f"{path} reads its weights from {strange[0]!r}, which is not a file of the bundle, so it is not loaded."
        )
    return outside


def _content(path: Path) -> mmap.mmap:
    """A file's bytes, of which only those that are looked at are read. ValueError for an empty file."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def external_files(model: bytes | mmap.mmap) -> set[str]:
    """The files, as a graph names them, from which its tensors take their values."""
    # Graphs of older versions hold their own weights, and are not walked through.
    return set(_locations(memoryview(model), "model", 0)) if model.find(b"location") >= 0 else set()


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise RecursionError("graphs within graphs")
    for number, value in fields(message):
        if kind == "tensor" and number == _EXTERNAL_DATA:
            entry = {n: bytes(v) for n, v in fields(value)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode()
        elif (inner := _INNER.get(kind, {}).get(number)) is not None:
            yield from _locations(value, inner, depth + 1)
