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
from ..modules import Channel, Merge, Pointwise, ReversedChannels, StackedChannels
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
FUNCTIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.silu": "silu",
    "nn.sigmoid": "sigmoid",
    "math.sigmoid": "sigmoid",
    "nn.softmax": "softmax",
    "cast": "linear",
    "identity": "linear",
}


def old_operation(settings: Settings) -> nn.Module:
    """A `TFOpLambda` or `SlicingOpLambda` of Keras 2."""
    name = str(settings.get("function", ""))
    if name in ARITHMETIC:
        return _arithmetic(settings, ARITHMETIC[name])
    if name in FUNCTIONS:
        return NAMED[FUNCTIONS[name]]()
    if name == "__operators__.getitem":
        return _cut(settings)
    raise InputError(
        f"The layer {settings.name!r} calls TensorFlow's {name!r}, which cannot be read. Export the model to ONNX, and "
        "import that."
    )


def _arithmetic(settings: Settings, operation: str) -> nn.Module:
    beside = {
        k: v for k, v in settings.arguments.items() if k not in {"name", "dtype", "data_format"} and v is not None
    }
    if not beside and operation in MERGED:
        return Merge(MERGED[operation])
    operand = next((_numbers(v) for v in beside.values()), None)
    if operand is None or len(beside) > 1:
        raise InputError(
            f"The layer {settings.name!r} ({settings.kind}) reckons with something else than numbers, one for each "
            f"channel or "
            "one for all. Export the model to ONNX, and import that."
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


OPERATIONS: dict[str, Callable[[Settings], nn.Module]] = {
    "Add": _of("+"),
    "Subtract": _of("-"),
    "Multiply": _of("*"),
    "Divide": _of("/"),
    "TrueDivide": _of("/"),
    "GetItem": _cut,
    "Stack": _stack,
    "Relu": _function("relu"),
    "Relu6": _function("relu6"),
    "Silu": _function("silu"),
    "Sigmoid": _function("sigmoid"),
    "HardSigmoid": _function("hard_sigmoid"),
    "Softmax": _function("softmax"),
    "Tanh": _function("tanh"),
    "Gelu": _function("gelu"),
}
