"""Square patches of pictures: cutting them out, hiding them, putting them into other pictures.

Two ways to hide, because neither is neutral: what lies around a patch is drawn together over it, which leaves a smooth
spot, or the average picture takes its place, which may leave an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Uint8Array

FEATHER = 0.2
"""The share of a patch's side over which a patch that is put in fades into its new surroundings."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels: rows top..bottom and columns left..right, the ends not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def overlaps(self, other: Box) -> bool:
        """Whether the two share a pixel."""
        return (
            self.top < other.bottom and other.top < self.bottom and self.left < other.right and other.left < self.right
        )

    def wider(self, factor: float, height: int, width: int) -> Box:
        """The square around the same middle with sides `factor` times as long, moved so that it lies inside."""
        side = round(factor * (self.bottom - self.top))
        return Box.around(*self.centre, side, height, width)

    def halves(self, height: int, width: int) -> list[Box]:
        """The nine overlapping squares of half its side inside it, row by row."""
        tall, wide = self.bottom - self.top, self.right - self.left
        steps = (0.25, 0.5, 0.75)
        centres = [(self.top + y * tall, self.left + x * wide) for y in steps for x in steps]
        return [Box.around(y, x, -(-tall // 2), height, width) for y, x in centres]

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle as (y, x)."""
        return (self.top + self.bottom) / 2, (self.left + self.right) / 2

    @staticmethod
    def around(y: float, x: float, side: int, height: int, width: int) -> Box:
        """The square of `side` around a point, moved so that it lies inside a picture."""
        tall, wide = min(side, height), min(side, width)
        top = int(np.clip(round(y - tall / 2), 0, height - tall))
        left = int(np.clip(round(x - wide / 2), 0, width - wide))
        return Box(top, left, top + tall, left + wide)


def drawn_together(picture: Uint8Array, boxes: Sequence[Box]) -> Uint8Array:
    """The picture (height, width, 3) with each box filled in smoothly from what lies around it.

    The fill is the average of the four edges' continuations, each weighted by its nearness (a Coons patch's bilinear
    blend without the corners). An edge of the picture has no continuation.
    """
    filled: Uint8Array = picture.copy()
    for box in boxes:
        filled[box.slices] = _blend_of_edges(filled, box)
    return filled


def _blend_of_edges(picture: Uint8Array, box: Box) -> Uint8Array:
    tall, wide = box.bottom - box.top, box.right - box.left
    down, across = np.arange(1, tall + 1)[:, None], np.arange(1, wide + 1)[None]
    rows, columns = box.slices
    total, weights = np.zeros((tall, wide, 3)), np.zeros((tall, wide, 1))
    edges = []
    if box.top > 0:
        edges.append((_even(picture[max(box.top - 2, 0) : box.top, columns], 0)[None], down))
    if box.bottom < picture.shape[0]:
        edges.append((_even(picture[box.bottom : box.bottom + 2, columns], 0)[None], tall + 1 - down))
    if box.left > 0:
        edges.append((_even(picture[rows, max(box.left - 2, 0) : box.left], 1)[:, None], across))
    if box.right < picture.shape[1]:
        edges.append((_even(picture[rows, box.right : box.right + 2], 1)[:, None], wide + 1 - across))
    for values, distance in edges:
        weight = (1 / distance.astype(np.float64))[..., None] * np.ones((tall, wide, 1))
        total += weight * values
        weights += weight
    if not edges:
        return np.full((tall, wide, 3), np.rint(picture.mean(axis=(0, 1))), np.uint8)
    return np.rint(total / weights).astype(np.uint8)


def _even(strip: Uint8Array, axis: int) -> FloatArray:
    """The mean of a strip across its width."""
    mean: FloatArray = strip.astype(np.float32).mean(axis=axis)
    return mean


def replaced_by(picture: Uint8Array, boxes: Sequence[Box], average: FloatArray) -> Uint8Array:
    """The picture (height, width, 3) with the average picture in each box."""
    hidden: Uint8Array = picture.copy()
    for box in boxes:
        hidden[box.slices] = np.rint(average[box.slices])
    return hidden


def put_in(picture: Uint8Array, source: Uint8Array, box: Box, place: Box) -> Uint8Array:
    """The picture with what lies in `box` of `source` at `place`, fitted to the brightness there, its rim faded.

    `place` has the size of `box`. The patch keeps its own differences of brightness; its rim's mean colour becomes that
    of the place's rim.
    """
    patch, under = source[box.slices].astype(np.float32), picture[place.slices].astype(np.float32)
    rim = np.ones(patch.shape[:2], bool)
    rim[1:-1, 1:-1] = False
    fitted = patch + (np.median(under[rim], axis=0) - np.median(patch[rim], axis=0))
    fade = _fade(*patch.shape[:2])
    changed: Uint8Array = picture.copy()
    changed[place.slices] = np.rint(np.clip(under + fade[:, :, None] * (fitted - under), 0, 255))
    return changed


def _fade(tall: int, wide: int) -> npt.NDArray[np.float32]:
    """1 in the middle of a patch, towards 0 at its rim."""

    def ramp(side: int) -> npt.NDArray[np.float32]:
        inward = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
        return np.clip(inward / max(FEATHER * side, 1), 0, 1).astype(np.float32)

    return np.outer(ramp(tall), ramp(wide)).astype(np.float32)
