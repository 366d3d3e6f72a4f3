"""An evidence graph in int8, by post-training quantisation with nncf."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..._optional import require
from ...bundle.bundle import Bundle
from ...bundle.manifest import MODEL
from ...bundle.openvino_session import core
from ...preprocessing import Uint8Array

GRAPH, VALUES = "int8.xml", "int8.bin"
_WEIGHTED = frozenset({"Convolution", "GroupConvolution", "MatMul"})
_MOVES = frozenset(
    (
        "Transpose",
        "Reshape",
        "Slice",
        "StridedSlice",
        "Split",
        "VariadicSplit",
        "Gather",
        "Squeeze",
        "Unsqueeze",
        "Convert",
    )
)


def quantised(bundle: Bundle, pixels: Uint8Array) -> dict[str, bytes]:
    """The files of the bundle's main graph in int8, with ranges from resized training images (N, height, width, 3).

    The first layer, and all that follows the explained layer, stay in float: the evidence is computed as before, from
    activations that int8 gives. Raises MissingDependencyError without nncf or OpenVINO, and what nncf raises.
    """
    os.environ["NNCF_CI"] = "1"  # else nncf sends usage data to its makers
    openvino = require("openvino", extra="openvino")
    nncf = require("nncf", extra="openvino")
    nncf.set_log_level(40)
    model = core().read_model(str(bundle.folder / MODEL))
    wanted = [port.any_name for port in model.inputs]
    free = {port.any_name: port.partial_shape for port in model.inputs}
    # One image at a time: OpenVINO cannot compile every transformer for a free number.
    model.reshape({name: [d.get_length() if d.is_static else 1 for d in shape] for name, shape in free.items()})

    def feed(index: int) -> dict[str, Any]:
        batch = bundle.preprocessing.normalise(pixels[index : index + 1])
        whole = {
            "image": batch,
            "target": np.ones((1, 1, bundle.manifest.logits), np.float32),
            "contrast": np.asarray(1, np.float32),
        }
        return {name: whole[name] for name in wanted}

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # bars of its own
        found = nncf.quantize(
            model,
            nncf.Dataset(list(range(len(pixels))), feed),
            subset_size=len(pixels),
            ignored_scope=nncf.IgnoredScope(names=kept_in_float(model), validate=False),
        )
    found.reshape(free)
    with TemporaryDirectory(prefix="pellucid-") as name:
        path = Path(name) / GRAPH
        openvino.save_model(found, str(path), compress_to_fp16=False)
        return {file: (Path(name) / file).read_bytes() for file in (GRAPH, VALUES)}


def kept_in_float(model: Any) -> list[str]:
    """The names of the operations that are not quantised: the first weighted one, and those behind the explained layer.

    The values of the layer are those before they are cut and laid out as a map: a transformer's head reads tokens that
    are not in the map. Gradients stay in float too. Of a model without an explained layer, the first and the last
    weighted operation are kept.
    """
    operations = model.get_ordered_ops()
    weighted = [op for op in operations if op.get_type_name() in _WEIGHTED]
    kept = {op.get_friendly_name() for op in (weighted[:1] + weighted[-1:])}
    named = {name: port for port in model.outputs for name in port.get_names()}
    if "activations" in named:
        source = named["activations"].get_node().input_value(0).get_node()
        while source.get_type_name() in _MOVES:
            source = source.input_value(0).get_node()
        gradients = [port.get_node() for port in model.inputs if port.any_name == "target"]
        for start in (source, *gradients):
            kept |= _behind(start, lambda op: op.get_type_name() not in ("Constant", "Result"))
    return sorted(kept)


def _behind(source: Any, counts: Callable[[Any], bool]) -> set[str]:
    """The names of all operations that depend on one."""
    found: set[str] = set()
    waiting = [source]
    while waiting:
        for output in waiting.pop().outputs():
            for use in output.get_target_inputs():
                node = use.get_node()
                name = node.get_friendly_name()
                if counts(node) and name not in found:
                    found.add(name)
                    waiting.append(node)
    return found
