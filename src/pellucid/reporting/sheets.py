"""Sheets that show several maps of one image side by side, and the superpixels that an additive method weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw

from ..explanation.attribution import Attribution
from ..preprocessing import FloatArray, Preprocessing, Uint8Array
from .overlay import DIVERGING, SEQUENTIAL, colour_table, reading
from .pictures import INK, LINE, PAPER, SOFT, font, smaller, wrapped
from .words import number

CELL = 288
_GAP, _TEXT, _SMALL, _BAR = 20, 17, 14, 10
_MOST_COLUMNS = 4
_FOR, _AGAINST = (98, 198, 191), (240, 142, 60)
_LEAST_SIDE = 640


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a sheet: its heading, the overlay (H, W, 3) and what its colours mean; None for a plain image."""

    heading: str
    picture: Uint8Array
    attribution: Attribution | None = None
    limit: float = 0.0


def comparison_sheet(
    title: str, rows: Sequence[Sequence[Cell | None]], *, colormap: str | None = None, signed: bool = False
) -> Uint8Array:
    """Cells in rows under a title, each with its own colour bar, (H', W', 3) uint8; None leaves a place empty.

    A single row of more than four cells is broken into several. Pictures are reduced or enlarged to 288 pixels.
    """
    if len(rows) == 1 and len(rows[0]) > _MOST_COLUMNS:
        columns = _balanced(len(rows[0]))
        rows = [rows[0][i : i + columns] for i in range(0, len(rows[0]), columns)]
    drawn = [[None if c is None else _cell(c, colormap, signed) for c in row] for row in rows]
    columns = max(map(len, drawn))
    width = columns * CELL + (columns + 1) * _GAP
    heading = wrapped(title, font(_TEXT + 3, bold=True), width - 2 * _GAP)
    top = _GAP + len(heading) * round(1.4 * (_TEXT + 3)) + _GAP // 2
    heights = [max((c.height for c in row if c), default=0) for row in drawn]
    sheet = PIL.Image.new("RGB", (width, top + sum(heights) + _GAP * len(rows)), PAPER)
    pen = PIL.ImageDraw.Draw(sheet)
    for i, line in enumerate(heading):
        pen.text((_GAP, _GAP + i * round(1.4 * (_TEXT + 3))), line, INK, font(_TEXT + 3, bold=True))
    for row, height in zip(drawn, heights, strict=True):
        for column, cell in enumerate(row):
            if cell:
                sheet.paste(cell, (_GAP + column * (CELL + _GAP), top))
        top += height + _GAP
    return np.asarray(sheet)


def cell_sized(picture: Uint8Array) -> Uint8Array:
    """A picture (H, W, 3) uint8 at the size that it has in a cell of a comparison sheet."""
    return np.asarray(_fitted(PIL.Image.fromarray(picture)))


def _balanced(count: int) -> int:
    """How many columns give rows of about the same length, at most five."""
    rows = -(-count // (_MOST_COLUMNS + 1))
    return -(-count // rows)


def _cell(cell: Cell, colormap: str | None, signed: bool) -> PIL.Image.Image:
    picture = _fitted(PIL.Image.fromarray(cell.picture))
    lines = wrapped(cell.heading, font(_TEXT, bold=True), CELL)[:2]
    above = 2 * round(1.3 * _TEXT) if len(lines) > 1 else round(1.3 * _TEXT)
    below = _legend(cell, colormap, signed)
    whole = PIL.Image.new("RGB", (CELL, above + 6 + picture.height + 8 + (below.height if below else 0)), PAPER)
    pen = PIL.ImageDraw.Draw(whole)
    for i, line in enumerate(lines):
        pen.text((0, i * round(1.3 * _TEXT)), line, INK, font(_TEXT, bold=True))
    whole.paste(picture, ((CELL - picture.width) // 2, above + 6))
    if below:
        whole.paste(below, (0, above + 6 + picture.height + 8))
    return whole


def _legend(cell: Cell, colormap: str | None, signed: bool) -> PIL.Image.Image | None:
    if cell.attribution is None:
        return None
    words = reading(cell.attribution, cell.limit, signed=signed)
    unit = [words[:1].upper() + words[1:]] if words else wrapped(cell.attribution.unit, font(_SMALL), CELL)[:2]
    line = round(1.35 * _SMALL)
    legend = PIL.Image.new("RGB", (CELL, _BAR + 6 + 3 * line), PAPER)
    pen = PIL.ImageDraw.Draw(legend)
    if words:
        pen.text((0, 0), unit[0], INK, font(_SMALL))
        return legend
    table = colour_table(colormap or (DIVERGING if signed else SEQUENTIAL))
    gradient = PIL.Image.fromarray(np.ascontiguousarray(table[None]))
    legend.paste(gradient.resize((CELL, _BAR), PIL.Image.Resampling.BILINEAR), (0, 0))
    pen.rectangle((0, 0, CELL - 1, _BAR - 1), outline=LINE)
    pen.text((0, _BAR + 5), number(-cell.limit if signed else 0.0), INK, font(_SMALL))
    pen.text((CELL - 1, _BAR + 5), number(cell.limit), INK, font(_SMALL), anchor="ra")
    for i, text in enumerate(unit):
        pen.text((0, _BAR + 5 + (i + 1) * line), text, SOFT, font(_SMALL))
    return legend


def _fitted(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture at the width of a cell, or narrower where it would be higher than half as much again."""
    factor = min(CELL / picture.width, 1.5 * CELL / picture.height)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(size, PIL.Image.Resampling.LANCZOS if factor < 1 else PIL.Image.Resampling.BICUBIC)


@dataclass(frozen=True, slots=True)
class Pieces:
    """The superpixels of one image as an additive method weighed them.

    `labels` (h, w) number them on the model's input; `weights` and `errors` (S,) are in `unit` and `top` the numbers of
    those that weigh most, the first the most.
    """

    labels: npt.NDArray[np.intp]
    weights: FloatArray
    errors: FloatArray
    top: Sequence[int]
    unit: str


def labels_on_original(
    labels: npt.NDArray[np.intp], preprocessing: Preprocessing, size: tuple[int, int]
) -> npt.NDArray[np.intp]:
    """The superpixel of each pixel of the original image (H, W); -1 where the model did not see it."""
    place = preprocessing.placement(size)
    axes = [(np.arange(size[d]) + 0.5) * place.scale[d] + place.shift[d] for d in (0, 1)]
    inside = [(a >= 0) & (a < labels.shape[d]) for d, a in enumerate(axes)]
    rows, columns = (np.clip(a.astype(np.intp), 0, labels.shape[d] - 1) for d, a in enumerate(axes))
    return np.where(inside[0][:, None] & inside[1], labels[rows[:, None], columns], -1)


def superpixel_picture(image: Uint8Array, pieces: Pieces, preprocessing: Preprocessing, *, title: str) -> Uint8Array:
    """The superpixels that weigh most, outlined and numbered on the image, with their weights and standard errors.

    Teal speaks for the class, orange against it; the rest of the image is dimmed. `image` (H, W, 3) is the original.
    Returns (H', W', 3) uint8.
    """
    from skimage.segmentation import find_boundaries

    factor = max(1, -(-_LEAST_SIDE // max(image.shape[:2])))
    shown = smaller(PIL.Image.fromarray(image), 1600)
    shown = shown.resize((shown.width * factor, shown.height * factor), PIL.Image.Resampling.BICUBIC)
    places = labels_on_original(pieces.labels, preprocessing, (image.shape[0], image.shape[1]))
    enlarged = PIL.Image.fromarray(places.astype(np.int32)).resize(shown.size, PIL.Image.Resampling.NEAREST)
    labels = np.asarray(enlarged)
    text = max(17, round(max(shown.size) / 38))
    picture = np.asarray(shown, np.float32) * 0.45
    # A thin net of all pieces, then the top ones in full light with a frame of their colour.
    picture[np.asarray(find_boundaries(labels, mode="inner"))] += 26  # type: ignore[no-untyped-call]
    thick = max(2, text // 8)
    for piece in reversed(pieces.top):
        inside = labels == piece
        colour = np.array(_FOR if pieces.weights[piece] > 0 else _AGAINST, np.float32)
        picture[inside] = 0.86 * np.asarray(shown, np.float32)[inside] + 0.14 * colour
        picture[inside & ~_eroded(inside, thick)] = colour
    drawn = PIL.Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    _number(drawn, labels, pieces, text)
    return _with_list(drawn, pieces, text, title)


def _eroded(inside: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(inside, iterations=by, border_value=0))


def _number(drawn: PIL.Image.Image, labels: npt.NDArray[np.int32], pieces: Pieces, text: int) -> None:
    """A disc with its rank on the innermost point of each of the top pieces."""
    from scipy.ndimage import distance_transform_edt

    pen = PIL.ImageDraw.Draw(drawn)
    for rank, piece in enumerate(pieces.top, 1):
        inside = np.pad(labels == piece, 1)
        if not inside.any():
            continue
        y, x = (int(v) - 1 for v in np.unravel_index(int(distance_transform_edt(inside).argmax()), inside.shape))
        radius = round(0.72 * text)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(16, 19, 20))
        pen.text((x, y), str(rank), (235, 239, 240), font(text, bold=True), anchor="mm")


def _with_list(drawn: PIL.Image.Image, pieces: Pieces, text: int, title: str) -> Uint8Array:
    line, margin = round(1.5 * text), text
    heading = wrapped(title, font(text, bold=True), drawn.width)
    notes = [*wrapped(f"Weight and standard error, {pieces.unit}", font(text), drawn.width)]
    columns = 2 if drawn.width >= 30 * text and len(pieces.top) > 3 else 1
    rows = -(-len(pieces.top) // columns)
    height = margin + len(heading) * line + drawn.height + margin // 2 + (rows + len(notes)) * line + margin
    sheet = PIL.Image.new("RGB", (drawn.width + 2 * margin, height), PAPER)
    pen = PIL.ImageDraw.Draw(sheet)
    for i, words in enumerate(heading):
        pen.text((margin, margin + i * line - text // 4), words, INK, font(text, bold=True))
    top = margin + len(heading) * line
    sheet.paste(drawn, (margin, top))
    top += drawn.height + margin // 2
    if not pieces.top:
        pen.text((margin, top), "No superpixel has any weight.", INK, font(text))
    for i, piece in enumerate(pieces.top):
        x, y = margin + (i // rows) * drawn.width // columns, top + (i % rows) * line
        weight = float(pieces.weights[piece])
        side = round(0.7 * text)
        pen.rectangle((x, y + text // 4, x + side, y + text // 4 + side), fill=_FOR if weight > 0 else _AGAINST)
        sign = "+" if weight > 0 else ""
        words = f"{i + 1}   {sign}{number(weight)} \N{PLUS-MINUS SIGN} {number(float(pieces.errors[piece]))}"
        pen.text((x + 2 * side, y), words, INK, font(text))
    for i, words in enumerate(notes):
        pen.text((margin, top + (rows + i) * line), words, SOFT, font(text))
    return np.asarray(sheet)
