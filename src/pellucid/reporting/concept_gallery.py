"""The picture of a concept: its patches from different images, and where in the picture they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from ..evaluation.patches import Box
from ..files import write_whole
from ..preprocessing import FloatArray, Uint8Array

TILE, GAP, COLUMNS = 108, 4, 8
BACKGROUND, MARK = (255, 255, 255), (214, 39, 40)


def concept_gallery(pictures: Sequence[Uint8Array], boxes: Sequence[Box], average: FloatArray) -> PIL.Image.Image:
    """Up to 16 patches with as much of their surroundings, framed, and a map of all places over the average picture.

    `pictures` (n, height, width, 3) and `boxes` (n) belong together, the strongest first.
    """
    shown = min(len(pictures), 2 * COLUMNS)
    tiles = [_tile(picture, box) for picture, box in zip(pictures[:shown], boxes[:shown], strict=True)]
    columns = min(COLUMNS, max(shown, 1))
    rows = -(-shown // columns)
    side = max(rows, 2) * (TILE + GAP) - GAP
    sheet = PIL.Image.new("RGB", (columns * (TILE + GAP) + GAP + side, side), BACKGROUND)
    for at, tile in enumerate(tiles):
        sheet.paste(tile, ((at % columns) * (TILE + GAP), (at // columns) * (TILE + GAP)))
    sheet.paste(_places(average, boxes, side), (columns * (TILE + GAP) + GAP, 0))
    return sheet


def picture_sheet(pictures: Sequence[Uint8Array]) -> PIL.Image.Image:
    """Up to 16 whole pictures (height, width, 3) in two rows."""
    shown = min(len(pictures), 2 * COLUMNS)
    columns, rows = min(COLUMNS, max(shown, 1)), max(1, -(-shown // COLUMNS))
    sheet = PIL.Image.new("RGB", (columns * (TILE + GAP) - GAP, rows * (TILE + GAP) - GAP), BACKGROUND)
    for at, picture in enumerate(pictures[:shown]):
        tile = PIL.Image.fromarray(np.ascontiguousarray(picture))
        tile.thumbnail((TILE, TILE))
        sheet.paste(tile, ((at % columns) * (TILE + GAP), (at // columns) * (TILE + GAP)))
    return sheet


def write_concept_gallery(path: Path, sheet: PIL.Image.Image) -> None:
    """Write it as a PNG, whole or not at all."""
    from io import BytesIO

    buffer = BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def _tile(picture: Uint8Array, box: Box) -> PIL.Image.Image:
    """A patch in the middle of twice as much of the picture, its corners marked."""
    height, width = picture.shape[:2]
    side = box.bottom - box.top
    centre = (box.top + box.bottom) / 2, (box.left + box.right) / 2
    wider = Box.around(*centre, 2 * side, height, width)
    cut = PIL.Image.fromarray(np.ascontiguousarray(picture[wider.slices]))
    tile = cut.resize((TILE, TILE), PIL.Image.Resampling.BICUBIC)
    scale = TILE / max(wider.bottom - wider.top, 1)
    left, top = (box.left - wider.left) * scale, (box.top - wider.top) * scale
    _corners(PIL.ImageDraw.Draw(tile), left, top, left + side * scale - 1, top + side * scale - 1)
    return tile


def _corners(pen: PIL.ImageDraw.ImageDraw, left: float, top: float, right: float, bottom: float) -> None:
    arm = (right - left) / 5
    for x, inward in ((left, 1), (right, -1)):
        for y, down in ((top, 1), (bottom, -1)):
            pen.line([(x, y), (x + inward * arm, y)], fill=MARK, width=1)
            pen.line([(x, y), (x, y + down * arm)], fill=MARK, width=1)


def _places(average: FloatArray, boxes: Sequence[Box], side: int) -> PIL.Image.Image:
    """A dot for each patch on the faded average picture."""
    height, width = average.shape[:2]
    faded = np.rint(0.55 * average + 0.45 * 255).astype(np.uint8)
    ratio = side / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    drawn = PIL.Image.new("RGB", (side, side), BACKGROUND)
    drawn.paste(PIL.Image.fromarray(faded).resize(size, PIL.Image.Resampling.BILINEAR), (0, 0))
    pen = PIL.ImageDraw.Draw(drawn)
    for box in boxes:
        x, y = (box.left + box.right) / 2 * ratio, (box.top + box.bottom) / 2 * ratio
        pen.ellipse((x - 3.5, y - 3.5, x + 3.5, y + 3.5), fill=MARK, outline=(255, 255, 255))
    return drawn
