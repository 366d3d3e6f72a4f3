"""A bundle's graph on OpenVINO, with the `run` of an ONNX Runtime session."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .._optional import require
from ..errors import BundleError, ResourceError
from ..preprocessing import FloatArray

_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""By default OpenVINO computes in bfloat16 wherever the CPU has it."""

_Shape = tuple[tuple[str, ...], int, int]
"""What a graph is compiled for: the outputs, and the numbers of images and targets."""

TOGETHER = 8
"""Images of one pass. What is left of a batch goes through one by one."""


@cache
def core() -> Any:
    """The one OpenVINO core of this process; MissingDependencyError where it is not installed."""
    return require("openvino", extra="openvino").Core()


class OpenVinoSession:
    """A graph that is compiled on first use, for the outputs asked for and for numbers of images and targets.

    Shapes are always fixed. With a free number of images OpenVINO chooses other kernels, whose answers in int8 lay 30
    times as far from those in float32, and in bfloat16 depended on the batch. As many passes run side by side as there
    are cores for, `threads` each.
    """

    def __init__(self, path: Path, precision: str = "float32", threads: int | None = None) -> None:
        self._path, self._precision, self._threads = path, precision, threads
        self._model = self._read()
        self.inputs = tuple(port.any_name for port in self._model.inputs)
        self.outputs = tuple(port.any_name for port in self._model.outputs)
        self._lock = threading.Lock()
        self._compiled: dict[_Shape, Any] = {}
        self._idle: dict[_Shape, list[Any]] = {}

    def run(self, outputs: list[str] | None, feed: dict[str, FloatArray]) -> list[FloatArray]:
        """The outputs asked for, as arrays of their own; see GraphSession."""
        wanted = self.outputs if outputs is None else tuple(outputs)
        given = {name: np.asarray(feed[name], order="C") for name in self.inputs}
        images = max((len(values) for values in given.values() if values.ndim), default=1)
        targets = given["target"].shape[1] if "target" in given else 1
        parts: list[list[FloatArray]] = []
        start = 0
        while start < images or not parts:
            count = TOGETHER if images - start >= TOGETHER else 1
            part = {name: values[start : start + count] if values.ndim else values for name, values in given.items()}
            parts.append(self._pass((wanted, count, targets), part))
            start += count
        return parts[0] if len(parts) == 1 else [np.concatenate(found) for found in zip(*parts, strict=True)]

    def _pass(self, shape: _Shape, given: dict[str, FloatArray]) -> list[FloatArray]:
        with self._request(shape) as request:
            request.infer(given, share_inputs=True)
            return [np.array(request.get_output_tensor(i).data) for i in range(len(shape[0]))]

    @contextmanager
    def _request(self, shape: _Shape) -> Iterator[Any]:
        """An inference request that no other thread uses meanwhile."""
        with self._lock:
            if shape not in self._compiled:
                self._compiled[shape], self._idle[shape] = self._compile(*shape), []
            idle = self._idle[shape]
            request = idle.pop() if idle else self._compiled[shape].create_infer_request()
        try:
            yield request
        finally:
            with self._lock:
                idle.append(request)

    def _compile(self, outputs: tuple[str, ...], images: int, targets: int) -> Any:
        model = self._model.clone()
        if outputs != self.outputs:
            kept = [model.output(name) for name in outputs]
            model = require("openvino", extra="openvino").Model(kept, model.get_parameters(), "part")
        shapes: dict[str, list[int]] = {}
        for port in model.inputs:
            free = iter((images, targets) if port.any_name == "target" else (images,))
            shapes[port.any_name] = [next(free) if d.is_dynamic else d.get_length() for d in port.partial_shape]
        model.reshape(shapes)
        try:
            return core().compile_model(model, "CPU", self._settings())
        except RuntimeError as error:
            if "alloc" in str(error).lower():
                raise ResourceError("Memory ran out when OpenVINO prepared the model: use fewer workers.") from error
            raise BundleError(f"{self._path} cannot be compiled by OpenVINO {_version()}: {error}") from error

    def _settings(self) -> dict[str, Any]:
        # Without a limit a pass takes all cores. With one, each further pass has a stream of its own.
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
            "NUM_STREAMS": 1,
        }
        if self._threads is not None:
            streams = max(1, (os.cpu_count() or 1) // self._threads)
            settings |= {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams * self._threads}
        return settings

    def _read(self) -> Any:
        try:
            return _with_weights_apart(core().read_model(str(self._path)))
        except RuntimeError as error:
            raise BundleError(f"{self._path} cannot be read by OpenVINO {_version()}: {error}") from error


def _with_weights_apart(model: Any) -> Any:
    """The model, in which each use of weights has a copy of its own where two axes are of one length.

    A layer's backward part uses its weights the other way round. OpenVINO 2026.4.1 keeps one prepared form of weights
    for each place in memory, shape and type, and takes that of one use for the other: gradients through layers with as
    many outputs as inputs were wrong (findings/openvino-weights-used-both-ways.sh).
    """
    constant = require("openvino", extra="openvino").opset8.constant
    met: set[int] = set()
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or not node.get_element_type().is_real() or not _alike(node.shape):
            continue
        for use in node.output(0).get_target_inputs():
            if node.data.ctypes.data in met:
                use.replace_source_output(constant(np.array(node.data)).output(0))
            met.add(node.data.ctypes.data)
    return model


def _alike(shape: Sequence[int]) -> bool:
    """Whether two axes longer than 1 have one length."""
    longer = [length for length in shape if length > 1]
    return len(set(longer)) < len(longer)


def _version() -> str:
    return str(require("openvino", extra="openvino").__version__).split("-")[0]
