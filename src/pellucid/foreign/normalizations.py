"""Keras' normalisations in torch, over whatever axis the file names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .axes import dimension, dimensions, to_first, to_last


class BatchNormalization(nn.Module):
    """Normalisation by learned statistics, which are (n,) for an `axis` of n values."""

    def __init__(
        self,
        mean: torch.Tensor,
        variance: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        epsilon: float,
        axis: int = -1,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.epsilon, self.axis = epsilon, axis

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        place = dimension(self.axis, values.ndim)
        if values.shape[place] != mean.numel():
            raise ValueError(f"{mean.numel()} means for {values.shape[place]} values along axis {self.axis}")
        turned = values.transpose(1, place) if place != 1 else values
        normalised = functional.batch_norm(turned, mean, variance, self.weight, self.bias, False, 0.0, self.epsilon)
        return normalised.transpose(1, place) if place != 1 else normalised


class LayerNormalization(nn.Module):
    """Normalisation of each image over `axes`; `weight` and `bias` have one axis for each.

    Keras 3 on torch takes neighbouring axes for the last ones, and fails when those have other lengths. So with
    `any_backend` what its backends compute differently is a ValueError.
    """

    def __init__(
        self,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        epsilon: float,
        axes: Sequence[int] = (-1,),
        any_backend: bool = False,
    ) -> None:
        super().__init__()
        self.any_backend = any_backend
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.axes, self.epsilon = sorted(axes), epsilon

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        places = dimensions(self.axes, values.ndim)
        if self.any_backend:
            self._check_backends(list(to_last(values).shape))
        order = [*(i for i in range(values.ndim) if i not in places), *places]
        shape = [int(values.shape[i]) for i in places]
        for learned in (self.weight, self.bias):
            if learned is not None and list(learned.shape) != shape:
                raise ValueError(f"weights of shape {tuple(learned.shape)} for axes {self.axes} of lengths {shape}")
        normalised = functional.layer_norm(values.permute(order), shape, self.weight, self.bias, self.epsilon)
        return normalised.permute([order.index(i) for i in range(values.ndim)])

    def _check_backends(self, shape: list[int]) -> None:
        axes = [axis % len(shape) for axis in self.axes]
        trailing = list(range(len(shape) - len(axes), len(shape)))
        neighbours = axes == list(range(axes[0], axes[0] + len(axes)))
        if neighbours and axes != trailing and [shape[a] for a in axes] == [shape[a] for a in trailing]:
            raise ValueError(
                f"a layer normalisation over axes {self.axes}, which Keras takes for {trailing} on torch and not on "
                "TensorFlow and JAX"
            )


class GroupNormalization(nn.Module):
    """Normalisation of each image over groups of neighbours along `axis` and over all other axes."""

    def __init__(
        self, groups: int, weight: torch.Tensor | None, bias: torch.Tensor | None, epsilon: float, axis: int = -1
    ) -> None:
        super().__init__()
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.groups, self.epsilon, self.axis = groups, epsilon, axis

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        place = dimension(self.axis, values.ndim)
        turned = values.transpose(1, place) if place != 1 else values
        count = int(turned.shape[1])
        groups = count if self.groups == -1 else self.groups
        if count % groups:
            raise ValueError(f"{count} values along axis {self.axis}, which {groups} groups do not divide")
        normalised = functional.group_norm(turned, groups, self.weight, self.bias, self.epsilon)
        return normalised.transpose(1, place) if place != 1 else normalised


class RootMeanSquare(nn.Module):
    """RMSNormalization: division by the root of the mean square along the last axis, which `axis` must be.

    Along another axis Keras multiplies by the learned scale along the last one.
    """

    def __init__(self, weight: torch.Tensor, epsilon: float, axis: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.epsilon, self.axis = epsilon, axis

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        dimension(self.axis, values.ndim)
        if self.axis % values.ndim != values.ndim - 1:
            raise ValueError(f"axis {self.axis} of a value of {values.ndim} axes; only the last one can be read")
        ordered = to_last(values)
        mean = (ordered * ordered).mean(-1, keepdim=True)
        return to_first(ordered * torch.rsqrt(mean + self.epsilon) * self.weight)


class UnitLength(nn.Module):
    """UnitNormalization: division by the Euclidean length along `axes`."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        squares = (values * values).sum(dimensions(self.axes, values.ndim), keepdim=True)
        return values * torch.rsqrt(squares.clamp(min=1e-12))


class Affine(nn.Module):
    """Rescaling and Normalization: `factor * x + shift`.

    Both have one axis for each of the last of `axes`, as Keras counts them, or none and stand for all values alike.
    """

    def __init__(self, factor: torch.Tensor, shift: torch.Tensor, axes: Sequence[int] = (-1,)) -> None:
        super().__init__()
        self.register_buffer("factor", factor)
        self.register_buffer("shift", shift)
        self.axes = tuple(axes)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self._spread(self.get_buffer("factor"), values) + self._spread(self.get_buffer("shift"), values)

    def _spread(self, numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        if not numbers.ndim:
            return numbers
        rank = values.ndim
        dimensions(self.axes, rank)
        kept = sorted(axis % rank for axis in self.axes)
        shape = [1] * rank
        for axis, length in zip(reversed(kept), reversed(numbers.shape), strict=False):
            shape[axis] = int(length)
        spread = to_first(numbers.reshape(shape))
        if any(n not in (1, int(v)) for n, v in zip(spread.shape[1:], values.shape[1:], strict=True)):
            raise ValueError(
                f"{tuple(numbers.shape)} numbers for axes {self.axes} of a value {tuple(values.shape[1:])}"
            )
        return spread
