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

from ..recipe_sections import AugmentSection
from .compression import compressed
from .equalization import draw_equalization, equalized

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Changes:
    """What happens to each of N images; None for what the recipe leaves alone.

    `matrices` (N, 2, 3) as `random_affine` gives them. All others (N,): `contrast` and `gamma` around 0, `brightness`
    as a share of the range, `blur` a deviation in pixels, `sharpen` a share of the detail that is added, `quality` of a
    JPEG file, 0..100. `equalize` (N, 2): the share of the equalised picture, and whether locally (1) or globally (0).
    `grain` (N, 1, H, W) is added. `holes` (N, 5): top, left, bottom, right in shares of the sides, and the grey value;
    without area where nothing is erased.
    """

    matrices: Tensor | None = None
    contrast: Tensor | None = None
    brightness: Tensor | None = None
    gamma: Tensor | None = None
    blur: Tensor | None = None
    sharpen: Tensor | None = None
    equalize: Tensor | None = None
    grain: Tensor | None = None
    holes: Tensor | None = None
    quality: Tensor | None = None

    def of(self, chosen: Any) -> Changes:
        """The changes of some of the images: an index or a slice."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Changes(**{name: None if part is None else part[chosen] for name, part in parts.items()})


def augment(images: Tensor, section: AugmentSection, generator: torch.Generator) -> Tensor:
    """Change images (N, 3, H, W) in 0..1 at random within a recipe's ranges; places from outside repeat the border.

    Every draw comes from `generator`, so that a seed decides everything.
    """
    return change(images, draw_changes(len(images), (images.shape[-2], images.shape[-1]), section, generator))


def draw_changes(count: int, size: tuple[int, int], section: AugmentSection, generator: torch.Generator) -> Changes:
    """Draw the changes of `count` images of `size` (height, width). What a recipe leaves alone is not drawn."""
    aspect = size[0] / size[1]

    def around(reach: float) -> Tensor | None:
        return _uniform(count, reach, generator) if reach else None

    def upto(most: float) -> Tensor | None:
        return most * torch.rand(count, generator=generator) if most else None

    moves = section.rotation or section.shift or section.shear or section.zoom or section.flip
    matrices = random_affine(count, aspect, section, generator) if moves else None
    contrast, brightness, gamma = around(section.contrast), around(section.brightness), around(section.gamma)
    blur, lost, sharpen = upto(section.blur), upto(section.compression), around(section.sharpness)
    quality = None if lost is None else 100 * (1 - lost)
    equalize = draw_equalization(count, section.equalize, generator) if section.equalize else None
    grain = _grain(count, size, section.grain, generator) if section.grain else None
    holes = draw_holes(count, section.erase, generator) if section.erase else None
    return Changes(matrices, contrast, brightness, gamma, blur, sharpen, equalize, grain, holes, quality)


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
    if changes.sharpen is not None:
        done = (done + each(changes.sharpen) * (done - _smoothed(done))).clamp(0, 1)
    if changes.equalize is not None:
        done = equalized(done, changes.equalize.to(images.device, non_blocking=True))
    if changes.gamma is not None:
        done = done.clamp(0, 1) ** (1 + each(changes.gamma))
    if changes.contrast is not None:
        mean = done.mean(dim=(1, 2, 3), keepdim=True)
        done = (done - mean) * (1 + each(changes.contrast)) + mean
    if changes.brightness is not None:
        done = done + each(changes.brightness)
    if changes.contrast is not None or changes.brightness is not None:
        done = done.clamp(0, 1)
    if changes.grain is not None:
        done = (done + changes.grain.to(images.device, non_blocking=True)).clamp(0, 1)
    if changes.quality is not None:
        done = compressed(done, changes.quality.to(images.device, non_blocking=True))
    return done if changes.holes is None else erased(done, changes.holes.to(images.device, non_blocking=True))


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


def _smoothed(images: Tensor) -> Tensor:
    """A 3 x 3 binomial filter; the border is repeated."""
    padded = functional.pad(images, [1, 1, 1, 1], mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16


def _grain(count: int, size: tuple[int, int], most: float, generator: torch.Generator) -> Tensor:
    """Grey noise (N, 1, H, W), of a deviation of its own up to `most` for each image."""
    deviation = most * torch.rand(count, 1, 1, 1, generator=generator)
    return deviation * torch.randn(count, 1, *size, generator=generator)


def draw_holes(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Rectangles (N, 5) of 2 to 20 % of the area in that share of the images, of no area in the others.

    Reference: Zhong et al. 2020, "Random Erasing Data Augmentation".
    """
    draw = torch.rand(count, 6, generator=generator)
    area, aspect = 0.02 + 0.18 * draw[:, 0], torch.exp(math.log(3.0) * (2 * draw[:, 1] - 1))
    height, width = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    height = torch.where(draw[:, 2] < share, height, torch.zeros(()))
    top, left = draw[:, 3] * (1 - height), draw[:, 4] * (1 - width)
    return torch.stack([top, left, top + height, left + width, draw[:, 5]], dim=1)


def erased(images: Tensor, holes: Tensor) -> Tensor:
    """Images (N, C, H, W) with a rectangle (N, 5) of each filled with its grey value."""
    top, left, bottom, right, value = (holes[:, i, None, None, None] for i in range(5))
    y = ((torch.arange(images.shape[-2], device=images.device) + 0.5) / images.shape[-2])[None, None, :, None]
    x = ((torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1])[None, None, None, :]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return torch.where(inside, value, images)


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
