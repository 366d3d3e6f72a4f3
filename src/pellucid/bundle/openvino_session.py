"""A bundle's graph on OpenVINO, with the `run` of an ONNX Runtime session."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
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

_Kind = tuple[tuple[str, ...], bool]


@cache
def core() -> Any:
    """The one OpenVINO core of this process; MissingDependencyError where it is not installed."""
    return require("openvino", extra="openvino").Core()


class OpenVinoSession:
    """A graph that is compiled on first use for the outputs asked for.

    One image with one target has a compiled graph of its own, of fixed shape, which is faster. As many passes run side
    by side as there are cores for, `threads` each.
    """

    def __init__(self, path: Path, precision: str = "float32", threads: int | None = None) -> None:
        self._path, self._precision, self._threads = path, precision, threads
        self._model = self._read()
        self.inputs = tuple(port.any_name for port in self._model.inputs)
        self.outputs = tuple(port.any_name for port in self._model.outputs)
        self._lock = threading.Lock()
        self._compiled: dict[_Kind, Any] = {}
        self._idle: dict[_Kind, list[Any]] = {}

    def run(self, outputs: list[str] | None, feed: dict[str, FloatArray]) -> list[FloatArray]:
        """The outputs asked for, as arrays of their own; see GraphSession."""
        wanted = self.outputs if outputs is None else tuple(outputs)
        alone = all(len(values) == 1 for values in feed.values() if values.ndim)
        alone = alone and ("target" not in feed or feed["target"].shape[1] == 1)
        with self._request((wanted, alone)) as request:
            given = {name: np.asarray(feed[name], order="C") for name in self.inputs}
            request.infer(given, share_inputs=True)
            return [np.array(request.get_output_tensor(i).data) for i in range(len(wanted))]

    @contextmanager
    def _request(self, kind: _Kind) -> Iterator[Any]:
        """An inference request that no other thread uses meanwhile."""
        with self._lock:
            if kind not in self._compiled:
                self._compiled[kind], self._idle[kind] = self._compile(*kind), []
            idle = self._idle[kind]
            request = idle.pop() if idle else self._compiled[kind].create_infer_request()
        try:
            yield request
        finally:
            with self._lock:
                idle.append(request)

    def _compile(self, outputs: tuple[str, ...], alone: bool) -> Any:
        model = self._model.clone()
        if outputs != self.outputs:
            kept = [model.output(name) for name in outputs]
            model = require("openvino", extra="openvino").Model(kept, model.get_parameters(), "part")
        if alone:
            shapes = [(port.any_name, port.partial_shape) for port in model.inputs]
            model.reshape({name: [d.get_length() if d.is_static else 1 for d in shape] for name, shape in shapes})
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
            return core().read_model(str(self._path))
        except RuntimeError as error:
            raise BundleError(f"{self._path} cannot be read by OpenVINO {_version()}: {error}") from error


def _version() -> str:
    return str(require("openvino", extra="openvino").__version__).split("-")[0]
