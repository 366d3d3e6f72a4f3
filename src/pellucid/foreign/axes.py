"""Axes as Keras counts them. Feature maps are (N, C, H, W) here and (N, H, W, C) in Keras; other ranks are alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch

MAP_AXES = (0, 2, 3, 1)


def to_last(values: torch.Tensor) -> torch.Tensor:
    """A feature map in Keras' order (N, H, W, C); other tensors as they are."""
    return values.permute(0, 2, 3, 1) if values.ndim == 4 else values


def to_first(values: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_last`."""
    return values.permute(0, 3, 1, 2) if values.ndim == 4 else values


def dimension(axis: int, rank: int) -> int:
    """Where Keras' `axis` of a tensor of `rank` axes lies here. ValueError outside of the tensor, and for the batch."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of a value that has {rank} axes")
    axis %= rank
    if axis == 0:
        raise ValueError("axis 0, which runs over the images of a batch")
    return MAP_AXES[axis] if rank == 4 else axis


def dimensions(axes: Sequence[int], rank: int) -> list[int]:
    """`dimension` of each axis, in the order given. ValueError for one that is named twice."""
    found = [dimension(axis, rank) for axis in axes]
    if len(set(found)) < len(found):
        raise ValueError(f"axes {tuple(axes)}, one of which is named twice")
    return found


def over_images(axes: Sequence[int] | None, rank: int) -> list[int]:
    """`dimensions` of the axes that a reduction goes over. ValueError for all axes, which mixes the images."""
    if axes is None:
        raise ValueError("all axes, which mixes the images of a batch")
    return dimensions(axes, rank)
