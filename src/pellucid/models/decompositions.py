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
        for i in range(2)
    ]
    return aten.convolution(grad, weight, None, stride, padding, dilation, True, extra, groups), None, None


def _adaptive_average_pool_backward(grad: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Adaptive average pooling is linear, P_y x P_x^T, so its backward pass is P_y^T g P_x."""
    matrices = [_pooling_matrix(int(image.shape[d]), int(grad.shape[d])) for d in (-2, -1)]
    if all(len(m) == m.shape[1] for m in matrices):
        return grad.clone()
    return torch.matmul(torch.matmul(matrices[0].T, grad), matrices[1])


def _pooling_matrix(cells_in: int, cells_out: int) -> torch.Tensor:
    matrix = torch.zeros(cells_out, cells_in)
    for i in range(cells_out):
        start, end = (i * cells_in) // cells_out, -(-((i + 1) * cells_in) // cells_out)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


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
    """Average pooling is a grouped convolution with equal weights, where padding counts; its gradient is that one's."""
    if ceil_mode or (any(padding) and not count_include_pad):
        raise InputError(
            "An average pooling with ceil_mode or uncounted padding follows the explained layer; choose a later one."
        )
    channels = image.shape[1]
    height, width = kernel[0], kernel[-1]
    weight = torch.full((channels, 1, height, width), 1.0 / (divisor_override or height * width))
    steps = list(stride) or list(kernel)
    return _convolution_backward(
        grad, image, weight, None, steps, list(padding), [1, 1], False, [0, 0], channels, [True, False, False]
    )[0]


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Torch's core decompositions, and ours for the backward operations that no exporter knows."""
    return {
        **core_aten_decompositions(),
        aten.convolution_backward.default: _convolution_backward,
        aten._adaptive_avg_pool2d_backward.default: _adaptive_average_pool_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        aten.adaptive_max_pool2d_backward.default: _adaptive_max_pool_backward,
        aten.avg_pool2d_backward.default: _average_pool_backward,
    }
