"""Further graphs of a bundle as parts of a page, which holds their weights once: most lie within the main graph."""

from __future__ import annotations

from collections.abc import Callable

from ..bundle.embedding import external_place, initializers, inside, placed, with_initializers
from ..bundle.manifest import MODEL, WEIGHTS, Manifest
from ..bundle.protobuf import fields
from .compact import address
from .facts import Exported
from .packing import Part

_RAW = 9


def graph_files(manifest: Manifest) -> dict[str, str]:
    """The bundle's graphs beside the main one, by the names of their parts."""
    found = {"gradients": manifest.input_gradients}
    if manifest.layered is not None:
        found["layered"] = manifest.layered.graph
    for number, layer in enumerate((*((manifest.layer,) if manifest.layer else ()), *manifest.layers), 1):
        found[f"layer-{number}"] = layer.graph if layer.graph != MODEL else None
        found[f"tail-{number}"] = layer.tail
    return {name: file for name, file in found.items() if file is not None}


def further_parts(exported: Exported, main: bytes, changed: Callable[[bytes], bytes] | None = None) -> list[Part]:
    """The further graphs, reading their weights from `main`, the main graph with its weights within it.

    `changed` gives each in another form, as `main` was changed.
    """
    changed = changed or bytes
    folder = exported.bundle.folder
    places = weights_within((folder / MODEL).read_bytes(), main)
    weights = (folder / WEIGHTS).read_bytes()
    return [
        Part.of(name, changed(sharing((folder / file).read_bytes(), places, weights)))
        for name, file in graph_files(exported.bundle.manifest).items()
    ]


def whole_parts(exported: Exported) -> list[Part]:
    """The further graphs of a bundle whose main graph has weights of its own, and the weights that they share."""
    folder = exported.bundle.folder
    files = graph_files(exported.bundle.manifest)
    found = [Part.of(name, (folder / file).read_bytes()) for name, file in files.items()]
    return [*found, Part.of("weights", (folder / WEIGHTS).read_bytes())] if found else []


def is_shared(exported: Exported) -> bool:
    """Whether the main graph reads the weights that further graphs read, as in all but bundles of early versions."""
    graph = (exported.bundle.folder / MODEL).read_bytes()
    return any(external_place(message) is not None for message in initializers(graph))


def weights_within(graph: bytes, main: bytes) -> dict[tuple[int, int], int]:
    """Where the tensors of the WEIGHTS file, by offset and length in it, lie in `main`: `graph` with them inside."""
    start = address(memoryview(main))
    found = {}
    for reference, tensor in zip(initializers(graph), initializers(main), strict=True):
        if (place := external_place(reference)) is not None:
            raw = next(value for number, value in fields(tensor) if number == _RAW)
            found[place] = address(raw) - start
    return found


def sharing(graph: bytes, places: dict[tuple[int, int], int], weights: bytes) -> bytes:
    """The graph with its tensors read from where `places` says; one that is not there is put into the graph."""

    def moved(message: memoryview) -> bytes:
        place = external_place(message)
        if place is not None and place in places:
            return placed(message, (places[place], place[1]))
        return inside(message, weights)

    return with_initializers(graph, moved)
