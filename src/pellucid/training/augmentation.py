"""Random changes to a batch of images while training: one resampling for all that moves, then blur, tone, compression.

What is drawn is apart from what is done with it, so that processes that share a batch draw the same and each changes
its own part; everything drawn comes from a generator on the CPU, so that a seed decides the same on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.nn import functional

from ..recipe import AugmentSection
from .compression import compressed

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Changes:
    """What happens to each of N images; None for what the recipe leaves alone.

    `matrices` (N, 2, 3) as `random_affine` gives them. All others (N,): `contrast` and `gamma` around 0, `brightness`
    as a share of the range, `blur` a deviation in pixels, `quality` of a JPEG file, 0..100.
    """

    matrices: Tensor | None = None
    contrast: Tensor | None = None
    brightness: Tensor | None = None
    gamma: Tensor | None = None
    blur: Tensor | None = None
    quality: Tensor | None = None

    def of(self, chosen: Any) -> Changes:
        """The changes of some of the images: an index or a slice."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Changes(**{name: None if part is None else part[chosen] for name, part in parts.items()})


def augment(images: Tensor, section: AugmentSection, generator: torch.Generator) -> Tensor:
    """Change images (N, 3, H, W) in 0..1 at random within a recipe's ranges; places from outside repeat the border.

    Every draw comes from `generator`, so that a seed decides everything.
    """
    return change(images, draw_changes(len(images), images.shape[-2] / images.shape[-1], section, generator))


def draw_changes(count: int, aspect: float, section: AugmentSection, generator: torch.Generator) -> Changes:
    """Draw the changes of `count` images of height / width = `aspect`. What a recipe leaves alone is not drawn."""

    def around(reach: float) -> Tensor | None:
        return _uniform(count, reach, generator) if reach else None

    def upto(most: float) -> Tensor | None:
        return most * torch.rand(count, generator=generator) if most else None

    moves = section.rotation or section.shift or section.shear or section.zoom or section.flip
    matrices = random_affine(count, aspect, section, generator) if moves else None
    contrast, brightness, gamma = around(section.contrast), around(section.brightness), around(section.gamma)
    blur, lost = upto(section.blur), upto(section.compression)
    return Changes(matrices, contrast, brightness, gamma, blur, None if lost is None else 100 * (1 - lost))


def change(images: Tensor, changes: Changes) -> Tensor:
    """Images (N, 3, H, W) in 0..1, on any device, with their changes made: moved, blurred, toned, compressed."""

    def each(values: Tensor) -> Tensor:
        return values.to(images.device, non_blocking=True)[:, None, None, None]

    done = images
    if changes.matrices is not None:
        matrices = changes.matrices.to(images.device, non_blocking=True)
        grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
        done = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if changes.blur is not None:
        done = blurred(done, changes.blur.to(images.device, non_blocking=True))
    if changes.gamma is not None:
        done = done.clamp(0, 1) ** (1 + each(changes.gamma))
    if changes.contrast is not None:
        mean = done.mean(dim=(1, 2, 3), keepdim=True)
        done = (done - mean) * (1 + each(changes.contrast)) + mean
    if changes.brightness is not None:
        done = done + each(changes.brightness)
    if changes.contrast is not None or changes.brightness is not None:
        done = done.clamp(0, 1)
    return done if changes.quality is None else compressed(done, changes.quality.to(images.device, non_blocking=True))


def blurred(images: Tensor, deviation: Tensor) -> Tensor:
    """Images (N, 3, H, W), each through a Gaussian of its own deviation (N,) in pixels; the border is repeated."""
    count, channels, height, width = images.shape
    reach = max(1, math.ceil(3 * float(deviation.max())))
    place = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weight = torch.exp(-0.5 * (place / deviation.clamp(min=0.05)[:, None]) ** 2)
    kernel = (weight / weight.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None, :]
    planes = functional.pad(images, [reach] * 4, mode="replicate").reshape(1, count * channels, *_grown(images, reach))
    planes = functional.conv2d(planes, kernel[:, :, :, None], groups=count * channels)
    planes = functional.conv2d(planes, kernel[:, :, None, :], groups=count * channels)
    return planes.reshape(count, channels, height, width)


def _grown(images: Tensor, reach: int) -> tuple[int, int]:
    return images.shape[-2] + 2 * reach, images.shape[-1] + 2 * reach


def random_affine(count: int, aspect: float, section: AugmentSection, generator: torch.Generator) -> Tensor:
    """Matrices (N, 2, 3) from output to input in affine_grid's coordinates (-1..1 on both axes).

    `aspect` is height / width, so that a rotation is one in pixels and not in the stretched coordinates.
    """
    angle = _uniform(count, math.radians(section.rotation), generator)
    shear = _uniform(count, section.shear, generator)
    scale = 1 + _uniform(count, section.zoom, generator)
    shift_x, shift_y = (2 * _uniform(count, section.shift, generator) for _ in range(2))
    mirror = torch.ones(count)
    if section.flip:
        mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([mirror * cos * scale, (cos * shear - sin) * aspect * scale, shift_x], dim=1),
        torch.stack([mirror * sin * scale / aspect, (sin * shear + cos) * scale, shift_y], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _uniform(count: int, reach: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(count, generator=generator) - 1) * reach
