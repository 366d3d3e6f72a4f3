"""A finer last feature map from the same weights: the strides of the last convolutions become dilations.

Each cell then sees the image as before, and new cells lie between. Chen et al. 2017, arXiv:1606.00915.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..errors import InputError


def dilate(backbone: nn.Module, size: tuple[int, int], stride: int) -> None:
    """Change a backbone in place so that a cell of its last map stands for `stride` pixels of an image of `size`.

    Raises InputError where this cannot be: the map is no coarser than that, or something else than a convolution
    makes it so.
    """
    own = _pixels_per_cell(size, _last_map(backbone, size).shape)
    if stride >= own:
        raise InputError(f"model.output_stride = {stride} must be less than the backbone's own, {own}.")
    for conv, seen in _convolutions(backbone, size):
        factor = _pixels_per_cell(size, seen) // stride
        if factor < 1:
            continue
        conv.stride = (1, 1)
        if max(conv.kernel_size) > 1 and factor > 1:
            conv.dilation = _times(conv.dilation, factor)
            conv.padding = conv.padding if isinstance(conv.padding, str) else _times(conv.padding, factor)
            conv._reversed_padding_repeated_twice = [n * factor for n in conv._reversed_padding_repeated_twice]
    found = _pixels_per_cell(size, _last_map(backbone, size).shape)
    if found != stride:
        raise InputError(
            f"model.output_stride = {stride} is not possible with this backbone at this size: a cell of its last map "
            f"stands for {found} pixels then. Only strides of convolutions become dilations, in powers of 2."
        )


def _convolutions(backbone: nn.Module, size: tuple[int, int]) -> list[tuple[Any, Sequence[int]]]:
    """Each convolution that a pass uses, and the shape of what goes into it."""
    seen: dict[nn.Module, Sequence[int]] = {}

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        seen[module] = inputs[0].shape

    handles = [m.register_forward_hook(look) for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    try:
        _last_map(backbone, size)
    finally:
        for handle in handles:
            handle.remove()
    return list(seen.items())


def _last_map(backbone: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        found: torch.Tensor = backbone(torch.zeros(1, 3, *size))
    backbone.train(was_training)
    return found


def _pixels_per_cell(size: tuple[int, int], shape: Sequence[int]) -> int:
    """The power of 2 nearest to the pixels of an image along a cell of a map (N, C, h, w)."""
    return int(2 ** round(math.log2(size[0] / shape[2])))


def _times(lengths: Sequence[int], factor: int) -> tuple[int, ...]:
    return tuple(length * factor for length in lengths)
