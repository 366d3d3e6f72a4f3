"""Arithmetic in the graph of a functional model: `x / 127.5 - 1`, `x[..., ::-1]`, `tf.nn.relu6(x)`, the layer Add.

Keras 2 wrote them as `TFOpLambda` and `SlicingOpLambda`, which name a function of TensorFlow; Keras 3 as operations of
its own. A few are known by name, above all those of `preprocess_input`. Nothing is looked up or called by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..modules import AxisSoftmax, Channel, Merge, Pointwise, ReversedChannels, StackedChannels
from ..shapes import Permute, Reduced, ReductionKind, Squeeze, Unsqueeze
from .activations import NAMED
from .settings import Settings

MERGED = {"+": "Add", "-": "Subtract", "*": "Multiply"}
ARITHMETIC = {
    "math.add": "+",
    "__operators__.add": "+",
    "nn.bias_add": "+",
    "math.subtract": "-",
    "math.multiply": "*",
    "math.truediv": "/",
    "math.divide": "/",
}
# TensorFlow's element-wise functions, and arguments that change nothing there.
FUNCTIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.silu": "silu",
    "nn.sigmoid": "sigmoid",
    "math.sigmoid": "sigmoid",
    "math.tanh": "tanh",
    "nn.tanh": "tanh",
    "identity": "linear",
}
REDUCTIONS: dict[str, ReductionKind] = {
    "math.reduce_mean": "mean",
    "math.reduce_max": "largest",
    "math.reduce_min": "least",
    "math.reduce_sum": "sum",
}
USUAL = {"name": None, "beta": 1.0, "data_format": "NHWC"}


def old_operation(settings: Settings) -> nn.Module:
    """A `TFOpLambda` or `SlicingOpLambda` of Keras 2."""
    name = str(settings.get("function", ""))
    if name in ARITHMETIC:
        return _arithmetic(settings, ARITHMETIC[name])
    if name in FUNCTIONS:
        _only(settings, ())
        return NAMED[FUNCTIONS[name]]()
    if name in {"nn.softmax", "nn.log_softmax"}:
        _only(settings, ("axis",))
        axis = settings.arguments.get("axis")
        return AxisSoftmax(_axes(settings, -1 if axis is None else axis) or (-1,), logarithm="log" in name)
    if name in REDUCTIONS:
        _only(settings, ("axis", "keepdims"))
        axes = _axes(settings, settings.arguments.get("axis"))
        return Reduced(REDUCTIONS[name], axes, bool(settings.arguments.get("keepdims")))
    if name == "cast" and "float" in str(settings.arguments.get("dtype")):
        return nn.Identity()
    if name == "__operators__.getitem":
        return _cut(settings)
    raise InputError(
        f"The layer {settings.name!r} calls TensorFlow's {name!r}, which cannot be read. Export the model to ONNX, and "
        "import that."
    )


def _only(settings: Settings, known: tuple[str, ...]) -> None:
    """Raise InputError when the call has an argument that would change what is computed."""
    for key, value in settings.arguments.items():
        if key not in known and value is not None and USUAL.get(key) != value:
            raise InputError(
                f"The layer {settings.name!r} ({settings.kind}) is called with {key} = {value!r}, which cannot be "
                "read. Export the model to ONNX, and import that."
            )


def _axes(settings: Settings, value: Any) -> tuple[int, ...] | None:
    return None if value is None else Settings(settings.name, settings.kind, {"axis": value}, settings.version).axes()


def _arithmetic(settings: Settings, operation: str) -> nn.Module:
    unusual = {k: v for k, v in settings.arguments.items() if v is not None and USUAL.get(k) != v}
    beside = {k: v for k, v in unusual.items() if k not in {"name", "dtype"}}
    if not beside and operation in MERGED:
        return Merge(MERGED[operation])
    operand = next((_numbers(v) for v in beside.values()), None)
    if operand is None or len(beside) > 1:
        raise InputError(
            f"The layer {settings.name!r} ({settings.kind}) computes with more than one number, or one "
            "for each channel. Export the model to ONNX, and import that."
        )
    # Keras 3 counts arguments by place: a number in place 0 stands before the tensor.
    return Pointwise(operation, operand, turned="0" in beside)


def _numbers(value: Any) -> torch.Tensor | None:
    """A number, or one for each channel, in any nest of lists; None for anything else."""
    plain = value.get("config", {}).get("value") if isinstance(value, dict) else value
    while isinstance(plain, list) and len(plain) == 1:
        plain = plain[0]
    listed = plain if isinstance(plain, list) else [plain]
    if not listed or any(isinstance(v, bool) or not isinstance(v, int | float) for v in listed):
        return None
    return torch.tensor(plain, dtype=torch.float32)


def _cut(settings: Settings) -> nn.Module:
    """`x[..., ::-1]` and `x[..., 2]`, the slices that preprocessing uses."""
    spec = next((v for v in settings.arguments.values() if isinstance(v, list)), [])
    *others, last = [_slice(item) for item in spec] or [None]
    if last not in ((None, None, -1), 0, 1, 2) or any(o not in ("...", (None, None, None)) for o in others):
        raise InputError(
            f"The layer {settings.name!r} cuts out a part of its input, which cannot be read; only channels may be "
            "reversed or chosen. Export the model to ONNX, and import that."
        )
    return Channel(last) if isinstance(last, int) else ReversedChannels()


def _stack(settings: Settings) -> nn.Module:
    if settings.get("axis", settings.arguments.get("axis", settings.arguments.get("1"))) not in (-1, 3):
        raise settings.wrong("axis", "the last one")
    return StackedChannels()


def _slice(item: Any) -> Any:
    if isinstance(item, int):
        return item
    if isinstance(item, dict) and item.get("class_name") == "__ellipsis__":
        return "..."
    inner = item.get("config", item) if isinstance(item, dict) else {}
    return inner.get("start"), inner.get("stop"), inner.get("step")


def _of(operation: str) -> Callable[[Settings], nn.Module]:
    return lambda settings: _arithmetic(settings, operation)


def _function(name: str) -> Callable[[Settings], nn.Module]:
    return lambda settings: NAMED[name]()


def _gelu(settings: Settings) -> nn.Module:
    # The activation "gelu" of a layer is exact; the operation is approximate unless it says otherwise.
    return nn.GELU("tanh" if settings.flag("approximate", True) else "none")


def _squareplus(settings: Settings) -> nn.Module:
    if settings.number("b", 4) != 4:
        raise settings.wrong("b", "4")
    return NAMED["squareplus"]()


def _log_softmax(settings: Settings) -> nn.Module:
    return AxisSoftmax(settings.axes() or (-1,), logarithm=True)


def _reduced(kind: ReductionKind) -> Callable[[Settings], nn.Module]:
    def build(settings: Settings) -> nn.Module:
        if settings.get("initial") is not None:
            raise settings.wrong("initial", "none")
        return Reduced(kind, settings.axes(default=None), settings.flag("keepdims", False))

    return build


def _squeeze(settings: Settings) -> nn.Module:
    axes = settings.axes(default=None)
    if axes is None:
        raise settings.wrong("axis", "the axes to leave out")
    return Squeeze(axes)


def _transpose(settings: Settings) -> nn.Module:
    axes = settings.get("axes", ())
    if not isinstance(axes, list | tuple) or sorted(axes) != list(range(len(axes))) or axes[:1] not in ([0], (0,)):
        raise settings.wrong("axes", "each axis once, that of the images first")
    return Permute(tuple(axes[1:]))


OPERATIONS: dict[str, Callable[[Settings], nn.Module]] = {
    "Add": _of("+"),
    "Subtract": _of("-"),
    "Multiply": _of("*"),
    "Divide": _of("/"),
    "TrueDivide": _of("/"),
    "GetItem": _cut,
    "Stack": _stack,
    "Mean": _reduced("mean"),
    "Max": _reduced("largest"),
    "Amax": _reduced("largest"),
    "Min": _reduced("least"),
    "Amin": _reduced("least"),
    "Sum": _reduced("sum"),
    "Squeeze": _squeeze,
    "ExpandDims": lambda settings: Unsqueeze(settings.axis()),
    "Transpose": _transpose,
    "Relu": _function("relu"),
    "Relu6": _function("relu6"),
    "Silu": _function("silu"),
    "Sigmoid": _function("sigmoid"),
    "LogSigmoid": _function("log_sigmoid"),
    "HardSigmoid": _function("hard_sigmoid"),
    "HardSilu": _function("hard_silu"),
    "HardTanh": _function("hard_tanh"),
    "LogSoftmax": _log_softmax,
    "LeakyRelu": lambda settings: nn.LeakyReLU(settings.number("negative_slope", 0.2)),
    "Elu": lambda settings: nn.ELU(float(settings.get("alpha", 1.0))),
    "Selu": _function("selu"),
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "Squareplus": _squareplus,
    "Tanh": _function("tanh"),
    "Exp": _function("exponential"),
    "Gelu": _gelu,
}
