"""Which Keras layers can be read, as literal rows: the weights that each has, in Keras' order, and its torch module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...errors import UnknownNameError, WeightsError
from ..modules import (
    Affine,
    AveragePooling,
    BatchNormalization,
    Concatenate,
    Convolution,
    Dense,
    Flatten,
    GlobalPooling,
    LayerNormalization,
    MaxPooling,
    Merge,
    ParametricReLU,
    Permute,
    Reshape,
    Separable,
    Upsampling,
    ZeroPadding,
)
from .activations import LAYERS as ACTIVATION_LAYERS
from .activations import activation
from .operations import OPERATIONS, old_operation
from .settings import MERGES, Settings

Weights = Sequence[torch.Tensor]
PADDINGS = ("valid", "same")


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of layer. `weights` names its arrays in Keras' order; `build` takes its settings and those arrays."""

    build: Callable[[Settings, Weights], nn.Module]
    weights: Callable[[Settings], tuple[str, ...]] = lambda settings: ()


def find_row(settings: Settings) -> Row:
    """The row of a layer's kind; UnknownNameError when it is none that can be read."""
    kind = settings.kind
    if kind in LAYERS:
        return LAYERS[kind]
    remedy = f"The layer {settings.name!r} is of this kind. Export the model to ONNX, and import that."
    raise UnknownNameError("Keras layer that can be read", kind, LAYERS, remedy)


def _shaped(settings: Settings, weights: Weights, *shapes: tuple[int | None, ...]) -> None:
    """Raise WeightsError when arrays are not of the shapes wanted; None stands for any length."""
    for values, wanted in zip(weights, shapes, strict=False):
        if values.ndim != len(wanted) or any(w not in (None, n) for w, n in zip(wanted, values.shape, strict=True)):
            expected = " x ".join("any" if w is None else str(w) for w in wanted)
            raise WeightsError(
                f"A weight of the layer {settings.name!r} ({settings.kind}) has the shape {tuple(values.shape)}, "
                f"but its settings say {expected}. The file is damaged or was changed."
            )


def _with_bias(*names: str) -> Callable[[Settings], tuple[str, ...]]:
    return lambda settings: (*names, "bias") if settings.flag("use_bias", True) else names


def _window(settings: Settings) -> tuple[tuple[int, int], tuple[int, int], bool]:
    same = settings.choice("padding", "valid", PADDINGS) == "same"
    return settings.pair("strides", 1), settings.pair("dilation_rate", 1), same


def _convolution(settings: Settings, weights: Weights) -> nn.Module:
    filters, groups = settings.whole("filters"), settings.whole("groups", 1)
    _shaped(settings, weights, (*settings.pair("kernel_size"), None, filters), (filters,))
    stride, dilation, same = _window(settings)
    kernel = weights[0].permute(3, 2, 0, 1)
    bias = weights[1] if len(weights) > 1 else None
    return Convolution(
        kernel, bias, stride=stride, dilation=dilation, same=same, groups=groups, activation=activation(settings)
    )


def _depthwise_kernel(kernel: torch.Tensor) -> torch.Tensor:
    height, width, channels, multiplier = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)


def _depthwise(settings: Settings, weights: Weights) -> nn.Module:
    _shaped(settings, weights, (*settings.pair("kernel_size"), None, settings.whole("depth_multiplier", 1)), (None,))
    stride, dilation, same = _window(settings)
    bias = weights[1] if len(weights) > 1 else None
    return Convolution(
        _depthwise_kernel(weights[0]),
        bias,
        stride=stride,
        dilation=dilation,
        same=same,
        groups=int(weights[0].shape[2]),
        activation=activation(settings),
    )


def _separable(settings: Settings, weights: Weights) -> nn.Module:
    filters, depth = settings.whole("filters"), settings.whole("depth_multiplier", 1)
    _shaped(settings, weights, (*settings.pair("kernel_size"), None, depth), (1, 1, None, filters), (filters,))
    stride, dilation, same = _window(settings)
    plain, ones = nn.Identity(), (1, 1)
    first = Convolution(
        _depthwise_kernel(weights[0]),
        None,
        stride=stride,
        dilation=dilation,
        same=same,
        groups=int(weights[0].shape[2]),
        activation=plain,
    )
    second = Convolution(
        weights[1].permute(3, 2, 0, 1),
        weights[2] if len(weights) > 2 else None,
        stride=ones,
        dilation=ones,
        same=False,
        groups=1,
        activation=activation(settings),
    )
    return Separable(first, second)


def _dense(settings: Settings, weights: Weights) -> nn.Module:
    units = settings.whole("units")
    _shaped(settings, weights, (None, units), (units,))
    return Dense(weights[0].T, weights[1] if len(weights) > 1 else None, activation(settings))


def _batch_names(settings: Settings) -> tuple[str, ...]:
    scale, center = settings.flag("scale", True), settings.flag("center", True)
    return (*(("gamma",) if scale else ()), *(("beta",) if center else ()), "moving_mean", "moving_variance")


def _batch_normalization(settings: Settings, weights: Weights) -> nn.Module:
    if settings.get("mode", 0) not in {0, 2} or settings.get("renorm") is True:
        raise settings.wrong("mode" if settings.get("mode") else "renorm", "the usual normalisation by channel")
    if settings.axis() not in {-1, 1, 2, 3}:
        raise settings.wrong("axis", "the last one")
    found = dict(zip(_batch_names(settings), weights, strict=True))
    _shaped(settings, weights, *[(int(weights[-1].numel()),)] * len(weights))
    epsilon = settings.number("epsilon", 1e-3)
    return BatchNormalization(
        found["moving_mean"], found["moving_variance"], found.get("gamma"), found.get("beta"), epsilon
    )


def _layer_names(settings: Settings) -> tuple[str, ...]:
    scale, center = settings.flag("scale", True), settings.flag("center", True)
    return (*(("gamma",) if scale else ()), *(("beta",) if center else ()))


def _layer_normalization(settings: Settings, weights: Weights) -> nn.Module:
    if settings.axis() not in {-1, 1, 2, 3} or not weights:
        raise settings.wrong("axis", "the last one, with gamma or beta")
    found = dict(zip(_layer_names(settings), weights, strict=True))
    channels = int(weights[0].numel())
    _shaped(settings, weights, *[(channels,)] * len(weights))
    return LayerNormalization(channels, found.get("gamma"), found.get("beta"), settings.number("epsilon", 1e-3))


def _pooling(kind: type[MaxPooling] | type[AveragePooling]) -> Callable[[Settings, Weights], nn.Module]:
    def build(settings: Settings, weights: Weights) -> nn.Module:
        kernel = settings.pair("pool_size", 2)
        stride = kernel if settings.get("strides") is None else settings.pair("strides")
        return kind(kernel, stride, settings.choice("padding", "valid", PADDINGS) == "same")

    return build


def _global(largest: bool) -> Callable[[Settings, Weights], nn.Module]:
    return lambda settings, weights: GlobalPooling(largest, settings.flag("keepdims", False))


def _sides(settings: Settings, key: str) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of ((top, bottom), (left, right)), (vertical, horizontal) or one number."""
    value = settings.get(key, 1)
    nested = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, list | tuple) for v in value)
    rows = value if nested else [[v, v] for v in settings.pair(key, 1, least=0)]
    sides = [*rows[1], *rows[0]]
    if len(sides) != 4 or any(isinstance(s, bool) or not isinstance(s, int) or not 0 <= s < 2**20 for s in sides):
        raise settings.wrong(key, "whole numbers of pixels")
    left, right, top, bottom = sides
    return left, right, top, bottom


def _cropping(settings: Settings, weights: Weights) -> nn.Module:
    left, right, top, bottom = _sides(settings, "cropping")
    return ZeroPadding((-left, -right, -top, -bottom))


def _upsampling(settings: Settings, weights: Weights) -> nn.Module:
    settings.choice("interpolation", "nearest", ("nearest",))
    return Upsampling(settings.pair("size", 2))


def _reshape(settings: Settings, weights: Weights) -> nn.Module:
    shape = settings.get("target_shape", ())
    if not isinstance(shape, list | tuple) or not all(isinstance(s, int) and -1 <= s < 2**31 for s in shape):
        raise settings.wrong("target_shape", "whole numbers")
    return Reshape(tuple(shape))


def _permute(settings: Settings, weights: Weights) -> nn.Module:
    axes = settings.get("dims", ())
    if not isinstance(axes, list | tuple) or sorted(axes) != list(range(1, len(axes) + 1)):
        raise settings.wrong("dims", "each axis once, counted from 1")
    return Permute(tuple(axes))


def _merge_1(settings: Settings, weights: Weights) -> nn.Module:
    mode = settings.get("mode", "sum")
    if mode not in MERGES:
        raise settings.wrong("mode", " or ".join(MERGES))
    return Concatenate(settings.axis()) if mode == "concat" else Merge(MERGES[mode])


def _numbers(settings: Settings, key: str, default: float) -> torch.Tensor:
    value = settings.get(key, default)
    listed = isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
    return torch.tensor(value if listed else settings.number(key, default), dtype=torch.float32)


def _rescaling(settings: Settings, weights: Weights) -> nn.Module:
    return Affine(_numbers(settings, "scale", 1.0), _numbers(settings, "offset", 0.0))


def _normalization_names(settings: Settings) -> tuple[str, ...]:
    return () if settings.get("mean") is not None else ("mean", "variance", "count")


def _normalization(settings: Settings, weights: Weights) -> nn.Module:
    if settings.get("mean") is None:
        mean, variance = weights[0].flatten(), weights[1].flatten()
    else:
        given = [torch.tensor(settings.get(key), dtype=torch.float32) for key in ("mean", "variance")]
        mean, variance = (g.flatten() if g.ndim else g for g in given)
    if mean.numel() == 1:
        mean, variance = mean.reshape(()), variance.reshape(())
    deviation = variance.sqrt().clamp(min=1e-7)
    if settings.flag("invert", False):
        return Affine(deviation, mean)
    return Affine(1 / deviation, -mean / deviation)


def _parametric(settings: Settings, weights: Weights) -> nn.Module:
    slope = weights[0]
    return ParametricReLU(slope.permute(2, 0, 1) if slope.ndim == 3 else slope)


def _activation(kind: str) -> Row:
    return Row(lambda settings, weights: ACTIVATION_LAYERS[kind](settings))


def _merge(kind: str) -> Row:
    return Row(lambda settings, weights: Merge(kind))


def _operation(kind: str) -> Row:
    return Row(lambda settings, weights: OPERATIONS[kind](settings))


_UNCHANGED = Row(lambda settings, weights: nn.Identity())
_CONVOLUTION = Row(_convolution, _with_bias("kernel"))
_SEPARABLE = Row(_separable, _with_bias("depthwise_kernel", "pointwise_kernel"))
_BATCH = Row(_batch_normalization, _batch_names)
# Random changes, and whatever else does nothing once a model is trained.
IDLE = (
    "InputLayer",
    "Dropout",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "RandomFlip",
    "RandomRotation",
    "RandomZoom",
    "RandomTranslation",
    "RandomContrast",
    "RandomBrightness",
    "RandomShear",
    "RandomColorJitter",
)
LAYERS: dict[str, Row] = {
    "Conv2D": _CONVOLUTION,
    "Convolution2D": _CONVOLUTION,
    "DepthwiseConv2D": Row(_depthwise, _with_bias("depthwise_kernel")),
    "SeparableConv2D": _SEPARABLE,
    "SeparableConvolution2D": _SEPARABLE,
    "Dense": Row(_dense, _with_bias("kernel")),
    "BatchNormalization": _BATCH,
    "BatchNormalizationV1": _BATCH,
    "SyncBatchNormalization": _BATCH,
    "LayerNormalization": Row(_layer_normalization, _layer_names),
    "MaxPooling2D": Row(_pooling(MaxPooling)),
    "AveragePooling2D": Row(_pooling(AveragePooling)),
    "GlobalAveragePooling2D": Row(_global(largest=False)),
    "GlobalMaxPooling2D": Row(_global(largest=True)),
    "ZeroPadding2D": Row(lambda settings, weights: ZeroPadding(_sides(settings, "padding"))),
    "Cropping2D": Row(_cropping),
    "UpSampling2D": Row(_upsampling),
    "Flatten": Row(lambda settings, weights: Flatten()),
    "Reshape": Row(_reshape),
    "Permute": Row(_permute),
    "Concatenate": Row(lambda settings, weights: Concatenate(settings.axis())),
    "Merge": Row(_merge_1),
    "Rescaling": Row(_rescaling),
    "Normalization": Row(_normalization, _normalization_names),
    "PReLU": Row(_parametric, lambda settings: ("alpha",)),
    "TFOpLambda": Row(lambda settings, weights: old_operation(settings)),
    "SlicingOpLambda": Row(lambda settings, weights: old_operation(settings)),
    **{kind: _operation(kind) for kind in OPERATIONS},
    **{kind: _activation(kind) for kind in ACTIVATION_LAYERS},
    **{kind: _merge(kind) for kind in ("Average", "Maximum", "Minimum")},
    **dict.fromkeys(IDLE, _UNCHANGED),
}
