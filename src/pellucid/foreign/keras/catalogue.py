"""Which Keras layers can be read, as literal rows: the weights that each has, in Keras' order, and its torch module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ...errors import UnknownNameError
from ..modules import AveragePooling, GlobalPooling, MaxPooling, Merge, ParametricReLU
from ..shapes import Concatenate, Flatten, Permute, Reduced, Reshape, Resizing, Upsampling, ZeroPadding
from . import normalizing
from .activations import LAYERS as ACTIVATION_LAYERS
from .kernels import PADDINGS, Weights, convolution, dense, depthwise, separable, transposed, with_bias
from .operations import OPERATIONS, old_operation
from .settings import MERGES, Settings


@dataclass(frozen=True, slots=True)
class LayerKind:
    """One kind of layer. `weights` names its arrays in Keras' order; `build` takes its settings and those arrays."""

    build: Callable[[Settings, Weights], nn.Module]
    weights: Callable[[Settings], tuple[str, ...]] = lambda settings: ()


def find_kind(settings: Settings) -> LayerKind:
    """The row of a layer's kind; UnknownNameError for a kind that cannot be read."""
    kind = settings.kind
    if kind in LAYERS:
        return LAYERS[kind]
    remedy = f"The layer {settings.name!r} is of this kind. Export the model to ONNX, and import that."
    raise UnknownNameError("Keras layer that can be read", kind, LAYERS, remedy)


def _pooling(kind: type[MaxPooling] | type[AveragePooling]) -> Callable[[Settings, Weights], nn.Module]:
    def build(settings: Settings, weights: Weights) -> nn.Module:
        kernel = settings.pair("pool_size", 2)
        stride = kernel if settings.get("strides") is None else settings.pair("strides")
        return kind(kernel, stride, settings.choice("padding", "valid", PADDINGS) == "same")

    return build


def _global(largest: bool) -> Callable[[Settings, Weights], nn.Module]:
    return lambda settings, weights: GlobalPooling(largest, settings.flag("keepdims", False))


def _global_1(kind: Literal["mean", "largest"]) -> Callable[[Settings, Weights], nn.Module]:
    return lambda settings, weights: Reduced(kind, (1,), settings.flag("keepdims", False))


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
    if settings.choice("interpolation", "nearest", ("nearest", "bilinear")) == "nearest":
        return Upsampling(settings.pair("size", 2))
    return Resizing(factor=settings.pair("size", 2))


def _resizing(settings: Settings, weights: Weights) -> nn.Module:
    if settings.flag("pad_to_aspect_ratio", False):
        raise settings.wrong("pad_to_aspect_ratio", "false")
    return Resizing(
        size=(settings.whole("height"), settings.whole("width")),
        nearest=settings.choice("interpolation", "bilinear", ("bilinear", "nearest")) == "nearest",
        antialias=settings.flag("antialias", False),
        crop=settings.flag("crop_to_aspect_ratio", False),
    )


def _reshape(settings: Settings, weights: Weights) -> nn.Module:
    # The operation `keras.ops.reshape` has the class name of the layer, and counts the images of a batch.
    key = "newshape" if settings.get("newshape") is not None else "target_shape"
    shape = settings.get(key, ())
    if not isinstance(shape, list | tuple) or not all(isinstance(s, int) and -1 <= s < 2**31 for s in shape):
        raise settings.wrong(key, "whole numbers")
    if key == "newshape" and (shape[:1] not in ([-1], (-1,)) or -1 in shape[1:]):
        raise settings.wrong(key, "-1 for the images, then whole numbers")
    return Reshape(tuple(shape[1:] if key == "newshape" else shape))


def _flatten(settings: Settings, weights: Weights) -> nn.Module:
    return Flatten(settings.layout() == "channels_first")


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


def _parametric(settings: Settings, weights: Weights) -> nn.Module:
    slope = weights[0]
    return ParametricReLU(slope.permute(2, 0, 1) if slope.ndim == 3 else slope)


def _activation(kind: str) -> LayerKind:
    return LayerKind(lambda settings, weights: ACTIVATION_LAYERS[kind](settings))


def _merge(kind: str) -> LayerKind:
    return LayerKind(lambda settings, weights: Merge(kind))


def _operation(kind: str) -> LayerKind:
    return LayerKind(lambda settings, weights: OPERATIONS[kind](settings))


_UNCHANGED = LayerKind(lambda settings, weights: nn.Identity())
_CONVOLUTION = LayerKind(convolution, with_bias("kernel"))
_TRANSPOSED = LayerKind(transposed, with_bias("kernel"))
_SEPARABLE = LayerKind(separable, with_bias("depthwise_kernel", "pointwise_kernel"))
_BATCH = LayerKind(normalizing.batch_normalization, normalizing.batch_names)
# Random changes, and whatever else does nothing once a model is trained.
IDLE = (
    "InputLayer",
    "Identity",
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
LAYERS: dict[str, LayerKind] = {
    "Conv2D": _CONVOLUTION,
    "Convolution2D": _CONVOLUTION,
    "Conv2DTranspose": _TRANSPOSED,
    "Convolution2DTranspose": _TRANSPOSED,
    "DepthwiseConv2D": LayerKind(depthwise, with_bias("depthwise_kernel")),
    "SeparableConv2D": _SEPARABLE,
    "SeparableConvolution2D": _SEPARABLE,
    "Dense": LayerKind(dense, with_bias("kernel")),
    "BatchNormalization": _BATCH,
    "BatchNormalizationV1": _BATCH,
    "SyncBatchNormalization": _BATCH,
    "LayerNormalization": LayerKind(normalizing.layer_normalization, normalizing.affine_names),
    "GroupNormalization": LayerKind(normalizing.group_normalization, normalizing.affine_names),
    "RMSNormalization": LayerKind(normalizing.root_mean_square, lambda settings: ("scale",)),
    "UnitNormalization": LayerKind(normalizing.unit_length),
    "MaxPooling2D": LayerKind(_pooling(MaxPooling)),
    "AveragePooling2D": LayerKind(_pooling(AveragePooling)),
    "GlobalAveragePooling2D": LayerKind(_global(largest=False)),
    "GlobalMaxPooling2D": LayerKind(_global(largest=True)),
    "GlobalAveragePooling1D": LayerKind(_global_1("mean")),
    "GlobalMaxPooling1D": LayerKind(_global_1("largest")),
    "ZeroPadding2D": LayerKind(lambda settings, weights: ZeroPadding(_sides(settings, "padding"))),
    "Cropping2D": LayerKind(_cropping),
    "UpSampling2D": LayerKind(_upsampling),
    "Resizing": LayerKind(_resizing),
    "Flatten": LayerKind(_flatten),
    "Reshape": LayerKind(_reshape),
    "Permute": LayerKind(_permute),
    "Concatenate": LayerKind(lambda settings, weights: Concatenate(settings.axis())),
    "Merge": LayerKind(_merge_1),
    "Rescaling": LayerKind(normalizing.rescaling),
    "Normalization": LayerKind(normalizing.normalization, normalizing.statistics_names),
    "PReLU": LayerKind(_parametric, lambda settings: ("alpha",)),
    "TFOpLambda": LayerKind(lambda settings, weights: old_operation(settings)),
    "SlicingOpLambda": LayerKind(lambda settings, weights: old_operation(settings)),
    **{kind: _operation(kind) for kind in OPERATIONS},
    **{kind: _activation(kind) for kind in ACTIVATION_LAYERS},
    **{kind: _merge(kind) for kind in ("Average", "Maximum", "Minimum")},
    **dict.fromkeys(IDLE, _UNCHANGED),
}
