"""Histogram equalisation of a batch of images, over the whole picture or locally (CLAHE), by a share of each."""

from __future__ import annotations

import torch
from torch.nn import functional

Tensor = torch.Tensor

BINS = 128
TILES = 8
CLIP = 3.0


def draw_equalization(count: int, share: float, generator: torch.Generator) -> Tensor:
    """(N, 2): how much of the equalised picture is taken (0 for all but `share` of the images), and whether locally."""
    draw = torch.rand(count, 3, generator=generator)
    strength = torch.where(draw[:, 0] < share, draw[:, 1], torch.zeros(()))
    return torch.stack([strength, (draw[:, 2] < 0.5).float()], dim=1)


def equalized(images: Tensor, drawn: Tensor) -> Tensor:
    """Images (N, C, H, W) in 0..1, each with `drawn` (N, 2) of its brightness equalised; colours keep their distances.

    Local equalisation has 8 x 8 tiles and a clip limit of 3 times the mean count, and interpolates between tiles.
    Reference: Zuiderveld 1994, "Contrast Limited Adaptive Histogram Equalization".
    """
    chosen = torch.nonzero(drawn[:, 0] > 0)[:, 0]
    if not len(chosen):
        return images
    part = images[chosen]
    grey = part.mean(dim=1).clamp(0, 1)
    tables = _tables(grey, drawn[chosen, 1] > 0.5)
    new = _looked_up(tables, grey)
    strength = drawn[chosen, 0][:, None, None, None]
    done = images.clone()
    done[chosen] = (part + strength * (new - grey)[:, None]).clamp(0, 1)
    return done


def _tables(grey: Tensor, local: Tensor) -> Tensor:
    """What each brightness becomes in each tile (N, BINS, TILES, TILES), from the tiles' clipped histograms."""
    count, height, width = grey.shape
    rows = torch.arange(height, device=grey.device) * TILES // height
    columns = torch.arange(width, device=grey.device) * TILES // width
    tile = rows[:, None] * TILES + columns
    level = (grey * (BINS - 1)).round().long()
    place = (tile * BINS + level).reshape(count, -1)
    histogram = torch.zeros(count, TILES * TILES * BINS, device=grey.device)
    histogram.scatter_add_(1, place, torch.ones_like(place, dtype=histogram.dtype))
    histogram = histogram.reshape(count, TILES * TILES, BINS)
    limit = CLIP * histogram.mean(dim=2, keepdim=True)
    clipped = histogram.minimum(limit)
    clipped = clipped + (histogram - clipped).sum(dim=2, keepdim=True) / BINS
    whole = histogram.sum(dim=1, keepdim=True).expand_as(histogram)
    histogram = torch.where(local[:, None, None], clipped, whole)
    below = histogram.cumsum(dim=2)
    tables = (below - 0.5 * histogram) / below[..., -1:].clamp(min=1)
    return tables.permute(0, 2, 1).reshape(count, BINS, TILES, TILES)


def _looked_up(tables: Tensor, grey: Tensor) -> Tensor:
    """Each pixel (N, H, W) by the tables of the tiles around it, linear in place and brightness."""
    count, height, width = grey.shape
    y = (2 * torch.arange(height, device=grey.device) + 1) / height - 1
    x = (2 * torch.arange(width, device=grey.device) + 1) / width - 1
    value = (2 * (grey * (BINS - 1)) + 1) / BINS - 1
    grid = torch.stack([x.expand(count, height, width), y[:, None].expand(count, height, width), value], dim=-1)
    found = functional.grid_sample(tables[:, None], grid[:, None], padding_mode="border", align_corners=False)
    return found[:, 0, 0]
