"""What lies at the edge of a picture and should not matter: regions of a model's input, hidden or shown alone.

What is hidden is replaced by the average of all pictures at that place: it says nothing of the picture itself, and
makes no edge that the model has never seen, as black or grey would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Uint8Array

# Shares of a side: of a square in a corner, and of the frame along the border.
CORNER, FRAME = 0.2, 0.08
CORNERS = ("top left corner", "top right corner", "bottom left corner", "bottom right corner")
BORDER, CENTRE = "border", "centre"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A named part of the picture; `mask` (height, width) is true inside."""

    name: str
    mask: Mask

    @property
    def share(self) -> float:
        """The share of the picture that the region covers, 0 to 1."""
        return float(self.mask.mean())


def probed_regions(height: int, width: int) -> tuple[Region, ...]:
    """The four corners (a fifth of each side), the border between them (a twelfth), and the centre (three fifths)."""
    tall, wide = (max(1, round(CORNER * side)) for side in (height, width))
    rows, columns = (slice(tall), slice(-tall, None)), (slice(wide), slice(-wide, None))
    regions = []
    for name, (row, column) in zip(CORNERS, ((r, c) for r in rows for c in columns), strict=True):
        mask = np.zeros((height, width), bool)
        mask[row, column] = True
        regions.append(Region(name, mask))
    frame = np.ones((height, width), bool)
    top, left = (max(1, round(FRAME * side)) for side in (height, width))
    frame[top:-top, left:-left] = False
    for corner in regions:
        frame &= ~corner.mask
    centre = np.zeros((height, width), bool)
    centre[tall:-tall, wide:-wide] = True
    return (*regions, Region(BORDER, frame), Region(CENTRE, centre))


def average_picture(pixels: Uint8Array, chunk: int = 256) -> FloatArray:
    """The mean (height, width, 3), 0 to 255, of pictures (N, height, width, 3), `chunk` in memory at a time."""
    total = np.zeros(pixels.shape[1:], np.float64)
    for start in range(0, len(pixels), chunk):
        total += pixels[start : start + chunk].sum(axis=0, dtype=np.float64)
    mean: FloatArray = (total / max(len(pixels), 1)).astype(np.float32)
    return mean


def hide(pixels: Uint8Array, mask: Mask, average: FloatArray) -> Uint8Array:
    """Pictures (N, height, width, 3) with what lies inside `mask` replaced by the average picture."""
    return np.where(mask[None, :, :, None], np.rint(average).astype(np.uint8)[None], pixels)
