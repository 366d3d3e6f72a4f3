"""A quicker backward pass of depthwise convolutions in bfloat16 on a CPU.

Torch 2.15 (oneDNN) has no fast path for two parts of it: the gradient of the input under a stride, and that of the
weights of kernels larger than 3. MobileNetV2 spent a third of a training step in four such layers. The gradients here
are the same sums; `benchmarks/depthwise.py` measures what is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import conv2d
from torch.utils._python_dispatch import TorchDispatchMode

from .hardware import Precision, autocasts

BACKWARD = torch.ops.aten.convolution_backward.default
LARGEST_QUICK_KERNEL = 3


def quick_backward(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context in which backward passes run; it changes something on a CPU that computes in bfloat16 only."""
    if device.type == "cpu" and autocasts(device, precision):
        return _Depthwise()  # type: ignore[no-untyped-call]
    return nullcontext()


class _Depthwise(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers torch's question for the gradients of a convolution where this file knows a quicker way."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is BACKWARD and _is_slow(*args[:3], *args[4:10]):
            return _gradients(*args)
        return func(*args, **(kwargs or {}))


def _is_slow(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> bool:
    depthwise = weight.ndim == 4 and weight.shape[1] == 1 and groups == weight.shape[0] == images.shape[1]
    usual = not transposed and tuple(dilation) == (1, 1) and images.dtype == gradient.dtype == torch.bfloat16
    if not (depthwise and usual):
        return False
    kernel = weight.shape[2:]
    inside = all(p < k for p, k in zip(padding, kernel, strict=True))
    return inside and (max(stride) > 1 or max(kernel) > LARGEST_QUICK_KERNEL)


def _gradients(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[torch.Tensor | None, ...]:
    """As `aten::convolution_backward`: the gradients of the input, the weights and the bias."""
    of_images = of_weight = of_bias = None
    geometry = (stride, padding, dilation, transposed, output_padding, groups)
    if wanted[0]:
        if max(stride) > 1:
            of_images = _of_images(gradient, images, weight, stride, padding)
        else:
            of_images = BACKWARD(gradient, images, weight, None, *geometry, [True, False, False])[0]
    if wanted[1]:
        if max(weight.shape[2:]) > LARGEST_QUICK_KERNEL:
            wide = (t.to(torch.float32) for t in (gradient, images, weight))
            of_weight = BACKWARD(*wide, None, *geometry, [False, True, False])[1].to(weight.dtype)
        else:
            of_weight = BACKWARD(gradient, images, weight, None, *geometry, [False, True, False])[1]
    if wanted[2]:
        of_bias = gradient.sum((0, 2, 3))
    return of_images, of_weight, of_bias


def _of_images(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
) -> torch.Tensor:
    """The full convolution of the gradient, spread to the positions that the stride took, with the mirrored kernel."""
    count, channels, *size = images.shape
    kernel = weight.shape[2:]
    spread_size = [n + 2 * p - k + 1 for n, p, k in zip(size, padding, kernel, strict=True)]
    spread = torch.empty(
        (count, channels, *spread_size), dtype=gradient.dtype, memory_format=torch.channels_last
    ).zero_()
    spread[:, :, :: stride[0], :: stride[1]] = gradient
    around = [k - 1 - p for p, k in zip(padding, kernel, strict=True)]
    return conv2d(spread, weight.flip(2, 3), padding=around, groups=channels)
