"""Keras' normalisations: their weights, checked, as torch modules over the axes that the file names."""

from __future__ import annotations

import torch
from torch import nn

from ..normalizations import (
    Affine,
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RootMeanSquare,
    UnitLength,
)
from .kernels import Weights, check_shapes
from .settings import Settings


def affine_names(settings: Settings) -> tuple[str, ...]:
    """`gamma` and `beta`, as far as the layer has them."""
    scale, center = settings.flag("scale", True), settings.flag("center", True)
    return (*(("gamma",) if scale else ()), *(("beta",) if center else ()))


def batch_names(settings: Settings) -> tuple[str, ...]:
    """The arrays of BatchNormalization."""
    return (*affine_names(settings), "moving_mean", "moving_variance")


def batch_normalization(settings: Settings, weights: Weights) -> nn.Module:
    """The layer BatchNormalization."""
    if settings.get("mode", 0) not in {0, 2} or settings.get("renorm") is True:
        raise settings.wrong("mode" if settings.get("mode") else "renorm", "the usual normalisation")
    held = dict(zip(batch_names(settings), weights, strict=True))
    check_shapes(settings, weights, *[(int(weights[-1].numel()),)] * len(weights))
    mean, variance, epsilon = held["moving_mean"], held["moving_variance"], settings.number("epsilon", 1e-3)
    return BatchNormalization(mean, variance, held.get("gamma"), held.get("beta"), epsilon, settings.axis())


def layer_normalization(settings: Settings, weights: Weights) -> nn.Module:
    """The layer LayerNormalization."""
    if settings.flag("rms_scaling", False):
        raise settings.wrong("rms_scaling", "false")
    held = dict(zip(affine_names(settings), weights, strict=True))
    axes = settings.axes() or (-1,)
    epsilon, any_backend = settings.number("epsilon", 1e-3), settings.version.startswith("3")
    return LayerNormalization(held.get("gamma"), held.get("beta"), epsilon, axes, any_backend)


def group_normalization(settings: Settings, weights: Weights) -> nn.Module:
    """The layer GroupNormalization."""
    held = dict(zip(affine_names(settings), weights, strict=True))
    groups = settings.whole("groups", 32, least=-1)
    if groups == 0:
        raise settings.wrong("groups", "a number of groups, or -1 for as many as there are channels")
    return GroupNormalization(
        groups, held.get("gamma"), held.get("beta"), settings.number("epsilon", 1e-3), settings.axis()
    )


def root_mean_square(settings: Settings, weights: Weights) -> nn.Module:
    """The layer RMSNormalization, over one axis."""
    check_shapes(settings, weights, (None,))
    return RootMeanSquare(weights[0], settings.number("epsilon", 1e-6), settings.axis())


def unit_length(settings: Settings, weights: Weights) -> nn.Module:
    """The layer UnitNormalization."""
    return UnitLength(settings.axes() or (-1,))


def numbers(settings: Settings, key: str, default: float) -> torch.Tensor:
    """A number, or one for each channel."""
    value = settings.get(key, default)
    listed = isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
    return torch.tensor(value if listed else settings.number(key, default), dtype=torch.float32)


def rescaling(settings: Settings, weights: Weights) -> nn.Module:
    """The layer Rescaling."""
    return Affine(numbers(settings, "scale", 1.0), numbers(settings, "offset", 0.0))


def statistics_names(settings: Settings) -> tuple[str, ...]:
    """The arrays of Normalization: none where the settings hold the numbers."""
    return () if settings.get("mean") is not None else ("mean", "variance", "count")


def normalization(settings: Settings, weights: Weights) -> nn.Module:
    """The layer Normalization."""
    axes = settings.axes(none=()) or ()
    if settings.get("mean") is None:
        mean, variance = weights[0], weights[1]
    else:
        mean, variance = (torch.tensor(settings.get(key), dtype=torch.float32) for key in ("mean", "variance"))
    while mean.ndim > len(axes) and mean.shape[0] == 1 and mean.shape == variance.shape:
        mean, variance = mean[0], variance[0]
    if mean.ndim > len(axes) or mean.shape != variance.shape:
        raise settings.wrong("axis", f"one axis for each of the {mean.ndim} axes of the mean")
    deviation = variance.sqrt().clamp(min=1e-7)
    if settings.flag("invert", False):
        return Affine(deviation, mean, axes)
    return Affine(1 / deviation, -mean / deviation, axes)
