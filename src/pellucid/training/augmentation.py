"""Random changes to a batch of images while training, one transformation of each image by one resampling."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from ..recipe import AugmentSection


def augment(images: torch.Tensor, section: AugmentSection, generator: torch.Generator) -> torch.Tensor:
    """Change images (N, 3, H, W) in 0..1 at random within a recipe's ranges; places from outside repeat the border.

    Every draw comes from `generator`, so that a seed decides everything.
    """
    if not section.active:
        return images
    moved = images
    if section.rotation or section.shift or section.shear or section.zoom or section.flip:
        matrices = random_affine(len(images), images.shape[-2] / images.shape[-1], section, generator).to(images.device)
        grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
        moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if section.contrast:
        factor = 1 + _uniform(len(images), section.contrast, generator).to(images.device)[:, None, None, None]
        mean = moved.mean(dim=(1, 2, 3), keepdim=True)
        moved = (moved - mean) * factor + mean
    if section.brightness:
        moved = moved + _uniform(len(images), section.brightness, generator).to(images.device)[:, None, None, None]
    return moved.clamp(0, 1) if section.contrast or section.brightness else moved


def random_affine(count: int, aspect: float, section: AugmentSection, generator: torch.Generator) -> torch.Tensor:
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


def _uniform(count: int, reach: float, generator: torch.Generator) -> torch.Tensor:
    return (2 * torch.rand(count, generator=generator) - 1) * reach
