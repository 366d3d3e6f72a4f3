"""What JPEG loses, as tensor operations: colours rounded in blocks of 8 x 8 cosines, on any device."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

SIDE = 8

# ITU-T T.81 (1992), tables K.1 and K.2: steps of rounding at quality 50, for brightness and for colour.
# fmt: off
BRIGHTNESS = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
    51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120,
    101, 72, 92, 95, 98, 112, 100, 103, 99,
)
COLOUR = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99,
    *[99] * 36,
)
# fmt: on
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compressed(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Images (N, 3, H, W) in 0..1 as a JPEG file of each one's quality (N,), 1..100, would give them back.

    As libjpeg scales its tables; colour keeps its full resolution. Reference: ITU-T T.81.
    """
    height, width = images.shape[-2:]
    mix = torch.tensor(TO_YCC, device=images.device, dtype=images.dtype)
    padded = functional.pad(images, [0, -width % SIDE, 0, -height % SIDE], mode="replicate")
    planes = torch.einsum("dc,nchw->ndhw", mix, padded * 255)
    planes[:, 0] -= 128
    count, _, high, wide = planes.shape
    blocks = planes.reshape(count, 3, high // SIDE, SIDE, wide // SIDE, SIDE)
    cosines = _cosines(images)
    steps = _steps(quality.to(images.dtype))[:, :, None, :, None, :]
    rounded = torch.round(torch.einsum("ui,ncyixj,vj->ncyuxv", cosines, blocks, cosines) / steps) * steps
    planes = torch.einsum("ui,ncyuxv,vj->ncyixj", cosines, rounded, cosines).reshape(count, 3, high, wide)
    planes[:, 0] += 128
    colours = torch.einsum("cd,ndhw->nchw", torch.linalg.inv(mix), planes) / 255
    return colours[:, :, :height, :width].clamp(0, 1)


def _cosines(like: torch.Tensor) -> torch.Tensor:
    """The orthonormal cosine transform (8, 8) of a row of eight."""
    place = torch.arange(SIDE, dtype=torch.float64)
    rows = torch.cos(math.pi / SIDE * (place + 0.5) * place[:, None]) * math.sqrt(2 / SIDE)
    rows[0] /= math.sqrt(2)
    return rows.to(like.device, like.dtype)


def _steps(quality: torch.Tensor) -> torch.Tensor:
    """Steps of rounding (N, 3, 8, 8) at qualities (N,)."""
    quality = quality.clamp(1, 100)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    base = torch.tensor([BRIGHTNESS, COLOUR, COLOUR], device=quality.device, dtype=quality.dtype)
    steps = torch.floor((base[None] * scale[:, None, None] + 50) / 100).clamp(1, 255)
    return steps.reshape(len(quality), 3, SIDE, SIDE)
