"""What can run a bundle's graph: an engine and a precision, whether this machine has them, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast, get_args

from .._optional import require
from ..documents import Document
from ..errors import InputError, UnknownNameError
from ..preprocessing import FloatArray

if TYPE_CHECKING:
    from pathlib import Path

EngineName = Literal["onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]

AUTO = "auto"
"""As an engine: what `pellucid optimise` advises for this model on this machine, else ONNX Runtime in float32."""

_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
_UNITS = {"float32": "FP32", "bfloat16": "BF16", "int8": "INT8"}


class ModelRuntime(Document):
    """An engine, and the precision that it computes in."""

    engine: EngineName = "onnxruntime"
    precision: Precision = "float32"

    @property
    def title(self) -> str:
        """Engine and precision as a reader knows them."""
        return f"{_TITLES[self.engine]}, {self.precision}"

    @property
    def key(self) -> str:
        """Engine and precision in one word."""
        return f"{self.engine}-{self.precision}"

    @property
    def exact(self) -> bool:
        """Whether the answers are those that the bundle's figures were fitted to, but for rounding in float32."""
        return self.precision == "float32"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine as it is asked for, `auto` among them, and a precision."""

    engine: str = "onnxruntime"
    precision: str = "float32"


USUAL_ENGINE = EngineChoice()

REFERENCE_RUNTIME = ModelRuntime()
"""What every figure of a bundle was fitted with: ONNX Runtime in float32."""


class GraphSession(Protocol):
    """A graph that is ready to run. Thread-safe."""

    def run(self, outputs: list[str] | None, feed: dict[str, FloatArray]) -> list[FloatArray]:
        """The outputs asked for (all of the graph, in its order, for None), from its inputs by name."""
        ...


def audit_name(runtime: ModelRuntime) -> str:
    """The folder of a run for an audit of it in a runtime."""
    return "audit" if runtime == REFERENCE_RUNTIME else f"audit-{runtime.key}"


def runtime_named(engine: str, precision: str = "float32") -> ModelRuntime:
    """The runtime of these names; UnknownNameError for other ones, InputError for two that do not go together."""
    if engine not in get_args(EngineName):
        raise UnknownNameError("engine", engine, (*get_args(EngineName), AUTO), "Use onnxruntime, openvino or auto.")
    if precision not in get_args(Precision):
        raise UnknownNameError("precision", precision, get_args(Precision), "Use float32, bfloat16 or int8.")
    if engine == "onnxruntime" and precision != "float32":
        raise InputError(
            f"ONNX Runtime runs bundles in float32 here: it has no {precision} for them on x86. "
            f"Use `engine='openvino'` with `precision='{precision}'`."
        )
    return ModelRuntime(engine=cast(EngineName, engine), precision=cast(Precision, precision))


def check_available(runtime: ModelRuntime) -> None:
    """Raise MissingDependencyError without OpenVINO, and InputError for a precision that this CPU has no units for."""
    if runtime.engine == "onnxruntime":
        return
    require("openvino", extra="openvino")
    if _UNITS[runtime.precision] not in cpu_capabilities():
        raise InputError(
            f"This CPU ({cpu_name()}) has no units for {runtime.precision}: OpenVINO would compute in float32 under "
            "another name. Use `precision='float32'`."
        )


def cpu_capabilities() -> tuple[str, ...]:
    """What OpenVINO says that this CPU computes in, such as FP32, BF16 and INT8."""
    from .openvino_session import core

    return tuple(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def cpu_name() -> str:
    """The CPU as OpenVINO names it."""
    from .openvino_session import core

    return str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def runtime_session(path: Path, runtime: ModelRuntime, threads: int | None = None) -> GraphSession:
    """A session of a graph in a runtime. `threads` limits the cores of one pass; all by default.

    Raises BundleError for a file that the engine cannot read.
    """
    if runtime.engine == "onnxruntime":
        from .io import model_session

        return cast(GraphSession, model_session(path, threads))
    from .openvino_session import OpenVinoSession

    return OpenVinoSession(path, runtime.precision, threads)
