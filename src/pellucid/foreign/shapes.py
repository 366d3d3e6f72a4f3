"""Keras' changes of shape in torch: whatever depends on the order of axes is done in Keras' order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from .axes import dimension, dimensions, over_images, to_first, to_last

Pair = tuple[int, int]
ReductionKind = Literal["mean", "largest", "least", "sum"]


class Flatten(nn.Module):
    """Keras' Flatten: the last axis runs fastest; with `channels_first` the second one does."""

    def __init__(self, channels_first: bool = False) -> None:
        super().__init__()
        self.channels_first = channels_first

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        ordered = to_last(values)
        if self.channels_first and ordered.ndim > 2:
            ordered = ordered.movedim(1, -1)
        return ordered.reshape(ordered.shape[0], -1) if ordered.ndim == 1 else ordered.flatten(1)


class Reshape(nn.Module):
    """Keras' Reshape of all but the first axis; -1 stands for what is left."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return to_first(to_last(values).reshape(values.shape[0], *self.shape))


class Permute(nn.Module):
    """Keras' Permute; axes count from 1."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return to_first(to_last(values).permute(0, *self.axes))


class Squeeze(nn.Module):
    """The value without the axes named, each of length 1."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        rank = values.ndim
        dimensions(self.axes, rank)
        ordered, axes = to_last(values), sorted((axis % rank for axis in self.axes), reverse=True)
        for axis in axes:
            if ordered.shape[axis] != 1:
                raise ValueError(f"axis {axis} of length {ordered.shape[axis]}, which cannot be left out")
            ordered = ordered.squeeze(axis)
        return to_first(ordered)


class Unsqueeze(nn.Module):
    """The value with one more axis, of length 1."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        dimension(self.axis, values.ndim + 1)
        return to_first(to_last(values).unsqueeze(self.axis))


class Reduced(nn.Module):
    """Mean, largest or sum over axes; `axes` None stands for all axes, which is refused."""

    def __init__(self, kind: ReductionKind, axes: Sequence[int] | None, keep: bool) -> None:
        super().__init__()
        self.kind, self.axes, self.keep = kind, None if axes is None else tuple(axes), keep

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        over_images(self.axes, values.ndim)
        ordered, axes = to_last(values), [axis % values.ndim for axis in self.axes or ()]
        if self.kind == "mean":
            reduced = ordered.mean(axes, keepdim=self.keep)
        elif self.kind == "sum":
            reduced = ordered.sum(axes, keepdim=self.keep)
        else:
            reduced = (ordered.amax if self.kind == "largest" else ordered.amin)(axes, keepdim=self.keep)
        return to_first(reduced)


class ZeroPadding(nn.Module):
    """ZeroPadding2D, and Cropping2D with negative numbers: (left, right, top, bottom)."""

    def __init__(self, sides: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.pad(image, self.sides)


class Upsampling(nn.Module):
    """UpSampling2D by repeating each cell."""

    def __init__(self, factor: Pair) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.repeat_interleave(self.factor[0], 2).repeat_interleave(self.factor[1], 3)


class Resizing(nn.Module):
    """A feature map resized to `size`, or by `factor`, on half-pixel centres as TensorFlow and Keras 3 do.

    Each axis is one matrix product, so that it can be differentiated and exported whatever the method is.
    """

    def __init__(
        self,
        *,
        size: Pair | None = None,
        factor: Pair = (1, 1),
        nearest: bool = False,
        antialias: bool = False,
        crop: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.factor, self.crop = size, factor, crop
        self.nearest, self.antialias = nearest, antialias

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = int(image.shape[2]), int(image.shape[3])
        goal = self.size or (height * self.factor[0], width * self.factor[1])
        if self.crop:
            kept = (
                max(min(height, int(width * goal[0] / goal[1])), 1),
                max(min(width, int(height * goal[1] / goal[0])), 1),
            )
            top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
            image = image[:, :, top : top + kept[0], left : left + kept[1]]
            height, width = kept
        rows = resizing_weights(height, goal[0], self.nearest, self.antialias).to(image.device)
        columns = resizing_weights(width, goal[1], self.nearest, self.antialias).to(image.device)
        return rows @ image @ columns.T


def resizing_weights(length: int, goal: int, nearest: bool, antialias: bool) -> torch.Tensor:
    """Weights (goal, length) by which one axis is resized: linear or nearest, with centres at half pixels."""
    centres = (torch.arange(goal, dtype=torch.float64) + 0.5) * length / goal
    if nearest:
        chosen = centres.floor().long().clamp(0, length - 1)
        return functional.one_hot(chosen, length).to(torch.float32)
    spread = max(length / goal, 1.0) if antialias else 1.0
    cells = torch.arange(length, dtype=torch.float64) + 0.5
    distance = (centres.clamp(0.5, length - 0.5) if not antialias else centres)[:, None] - cells
    weights = (1 - (distance / spread).abs()).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).to(torch.float32)


class Concatenate(nn.Module):
    """Concatenate along an axis as Keras counts it."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        dimension(self.axis, values[0].ndim)
        return to_first(torch.cat([to_last(v) for v in values], self.axis))
