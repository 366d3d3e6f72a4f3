"""Backward operations that no exporter knows, written as the forward operations that they are.

A gradient that is traced by torch's make_fx with this table is an ordinary forward graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import core_aten_decompositions

from ..errors import InputError

aten = torch.ops.aten


def _convolution_backward(
    grad: torch.Tensor,
    image: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    mask: list[bool],
) -> tuple[torch.Tensor, None, None]:
    """The input gradient of a convolution is the transposed convolution of the output gradient."""
    if transposed or mask[1] or mask[2]:
        raise InputError(
            "The model has a transposed convolution behind the explained layer; choose a later layer by model.layer."
        )
    extra = [
        image.shape[2 + i]
        - ((grad.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1)
        for i in range(image.ndim - 2)
    ]
    return aten.convolution(grad, weight, None, stride, padding, dilation, True, extra, groups), None, None


def _adaptive_average_pool_backward(grad: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Adaptive average pooling is linear, P_y x P_x^T, so its backward pass is P_y^T g P_x."""
    matrices = [_pooling_matrix(int(image.shape[d]), int(grad.shape[d])) for d in (-2, -1)]
    if all(len(m) == m.shape[1] for m in matrices):
        return grad.clone()
    return torch.matmul(torch.matmul(matrices[0].T, grad), matrices[1])


def _pooling_matrix(cells_in: int, cells_out: int) -> torch.Tensor:
    """The means over cells (cells_out, cells_in), as a constant of the graph: writing into a tensor would be traced."""
    bounds = [((i * cells_in) // cells_out, -(-((i + 1) * cells_in) // cells_out)) for i in range(cells_out)]
    return torch.tensor([[1 / (end - s) if s <= j < end else 0.0 for j in range(cells_in)] for s, end in bounds])


def _max_pool_backward(
    grad: torch.Tensor,
    image: torch.Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: torch.Tensor,
) -> torch.Tensor:
    """Each output gradient goes back to the cell that was the largest."""
    return _adaptive_max_pool_backward(grad, image, indices)


def _adaptive_max_pool_backward(grad: torch.Tensor, image: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """As `_max_pool_backward`: the indices, too, count within each channel."""
    flat = torch.zeros_like(image).flatten(2)
    return flat.scatter_add(2, indices.flatten(2), grad.flatten(2)).reshape(image.shape)


def _adaptive_average_pool(image: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Adaptive average pooling as P_y x P_x^T, or as a mean where one cell is left."""
    if list(size) == [1, 1]:
        return image.mean((-2, -1), keepdim=True)
    rows, columns = (_pooling_matrix(int(image.shape[d]), int(size[d])) for d in (-2, -1))
    return torch.matmul(torch.matmul(rows, image), columns.T)


def _average_pool_backward(
    grad: torch.Tensor,
    image: torch.Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> torch.Tensor:
    """Each output cell's gradient, divided by the number of cells that it is a mean of, is added to each such cell.

    The sum over windows is a transposed convolution with ones; what falls on the padding is cut off.
    """
    kernels, pads = [kernel[0], kernel[-1]], [padding[0], padding[-1]]
    strides = [stride[0], stride[-1]] if len(stride) else kernels
    counts = [
        cells_counted(
            int(image.shape[2 + i]), int(grad.shape[2 + i]), kernels[i], strides[i], pads[i], count_include_pad
        )
        for i in range(2)
    ]
    shares = 1 / torch.outer(*counts) if not divisor_override else torch.tensor(1 / divisor_override)
    channels = image.shape[1]
    ones = torch.ones(channels, 1, *kernels)
    whole = aten.convolution(grad * shares, ones, None, strides, [0, 0], [1, 1], True, [0, 0], channels)
    missing = [max(0, pads[i] + int(image.shape[2 + i]) - int(whole.shape[2 + i])) for i in range(2)]
    if any(missing):
        whole = aten.constant_pad_nd(whole, [0, missing[1], 0, missing[0]], 0.0)
    inside: torch.Tensor = whole[:, :, pads[0] : pads[0] + image.shape[2], pads[1] : pads[1] + image.shape[3]]
    return inside.clone()


def cells_counted(cells: int, windows: int, kernel: int, stride: int, padding: int, with_padding: bool) -> torch.Tensor:
    """How many cells of one axis each window's mean divides by, as torch counts: padding, if so, but nothing beyond."""
    starts = [i * stride - padding for i in range(windows)]
    if with_padding:
        return torch.tensor([float(min(s + kernel, cells + padding) - s) for s in starts])
    return torch.tensor([float(min(s + kernel, cells) - max(s, 0)) for s in starts])


def _group_norm(
    image: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    images: Any,
    channels: int,
    cells: Any,
    groups: int,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Group normalisation written out; the mean and the inverse deviation of each group are for its backward pass."""
    grouped = image.reshape(images, groups, -1)
    mean = grouped.mean(-1, keepdim=True)
    off = grouped - mean
    inverse = torch.rsqrt((off * off).mean(-1, keepdim=True) + epsilon)
    normal = (off * inverse).reshape(image.shape)
    shape = [1, channels, *[1] * (image.ndim - 2)]
    if weight is not None:
        normal = normal * weight.reshape(shape)
    if bias is not None:
        normal = normal + bias.reshape(shape)
    return normal, mean.squeeze(-1), inverse.squeeze(-1)


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Torch's core decompositions, and ours for the backward operations that no exporter knows."""
    return {
        **core_aten_decompositions(),
        aten.convolution_backward.default: _convolution_backward,
        aten._adaptive_avg_pool2d_backward.default: _adaptive_average_pool_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        aten.adaptive_max_pool2d_backward.default: _adaptive_max_pool_backward,
        aten.avg_pool2d_backward.default: _average_pool_backward,
        aten._adaptive_avg_pool2d.default: _adaptive_average_pool,
        aten.native_group_norm.default: _group_norm,
    }
