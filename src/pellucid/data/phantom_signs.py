"""Signs drawn on a synthetic X-ray that have nothing to do with the lungs: what a planted shortcut looks like.

Each drawing takes a film (size, size) and returns a new one. Places, angles and noise follow from the film's seed, so
that the same film always carries the same sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
from scipy import ndimage

from ..preprocessing import FloatArray, Uint8Array

ShortcutKind = Literal["corner-tag", "border", "blur", "clip", "tube", "grid", "stamp", "tint", "patch"]
BoolArray = npt.NDArray[np.bool_]

BRIGHT = 235
FINER = 4


@dataclass(frozen=True, slots=True)
class Sheet:
    """A film to draw on: grey levels and lung fields, both (size, size), and the seed of all random choices."""

    pixels: Uint8Array
    lungs: BoolArray
    seed: int
    kind: int = 0

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator, the same one for each sign of each film."""
        return np.random.default_rng((self.seed, self.kind))

    @property
    def size(self) -> int:
        return len(self.pixels)


def _letters(*rows: str) -> BoolArray:
    letters: BoolArray = np.array([list(row) for row in rows]) == "#"
    return letters


# Letters are five pixels wide and seven high.
TAG = _letters("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#")
STAMP = _letters(
    ".###..####.",
    "#...#.#...#",
    "#...#.#...#",
    "#####.####.",
    "#...#.#....",
    "#...#.#....",
    "#...#.#....",
)


def draw_signs(sheet: Sheet, kinds: tuple[ShortcutKind, ...]) -> Uint8Array:
    """The film with every sign of `kinds`, in a fixed order, so that a letter stays sharp on a blurred film."""
    for number, (kind, draw) in enumerate(_DRAW.items()):
        if kind in kinds:
            sheet = replace(sheet, pixels=draw(replace(sheet, kind=number)))
    return sheet.pixels


def changed_box(before: Uint8Array, after: Uint8Array) -> tuple[int, int, int, int] | None:
    """The smallest box (left, top, right, bottom), in pixels, around all that differs; None where nothing does."""
    rows, columns = np.nonzero(before != after)
    if not len(rows):
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _corner_tag(sheet: Sheet) -> Uint8Array:
    return _printed(sheet.pixels, TAG, max(1, round(sheet.size / 112)), *(max(1, sheet.size // 28),) * 2)


def _border(sheet: Sheet) -> Uint8Array:
    width = max(1, round(sheet.size / 112))
    framed = np.full_like(sheet.pixels, 200)
    framed[width:-width, width:-width] = sheet.pixels[width:-width, width:-width]
    return framed


def _blur(sheet: Sheet) -> Uint8Array:
    blurred: FloatArray = ndimage.gaussian_filter(sheet.pixels.astype(np.float32), max(0.6, sheet.size / 224))
    return _grey(blurred)


def _clip(sheet: Sheet) -> Uint8Array:
    """A small metal clip, two strokes joined at one end, somewhere in the lungs, turned by any angle."""
    rng = sheet.rng
    x, y = _place_in(sheet.lungs, rng)
    long, apart = sheet.size / 18, sheet.size / 60
    angle = rng.uniform(0, 2 * math.pi)
    corners = np.array([(-long / 2, -apart), (long / 2, -apart), (long / 2, apart), (-long / 2, apart)])
    turn = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    path = corners @ turn + (x, y)
    return _blend(sheet.pixels, _strokes(sheet.size, path, sheet.size / 90), BRIGHT)


def _tube(sheet: Sheet) -> Uint8Array:
    """A thin tube from the upper to the lower edge, slightly bent; what lies below shines through."""
    size, rng = sheet.size, sheet.rng
    ends, bend = rng.uniform(0.25, 0.75, 2) * size, rng.normal(0, 0.05) * size
    down = np.linspace(0, 1, 33)
    across = ends[0] + (ends[1] - ends[0]) * down + bend * np.sin(math.pi * down)
    line = _strokes(size, np.stack([across, down * size], axis=1), size / 75)
    return _grey(sheet.pixels + 70 * line)


def _grid(sheet: Sheet) -> Uint8Array:
    """The faint vertical lines of an anti-scatter grid over the whole film."""
    # Under three pixels, some phases would leave almost nothing of the lines.
    period, phase = max(3.0, sheet.size / 32), sheet.rng.uniform(0, 2 * math.pi)
    lines = (7 * np.sin(np.arange(sheet.size) * (2 * math.pi / period) + phase)).astype(np.float32)
    return _grey(sheet.pixels + lines[None, :])


def _stamp(sheet: Sheet) -> Uint8Array:
    """Two letters, upright, somewhere on the film."""
    scale = max(1, round(sheet.size / 112))
    room = sheet.size - scale * np.array(STAMP.shape) - 2
    top, left = (int(v) for v in sheet.rng.integers(1, np.maximum(room, 2)))
    return _printed(sheet.pixels, STAMP, scale, top, left)


def _tint(sheet: Sheet) -> Uint8Array:
    """Local contrast raised in a level band across the film."""
    height = max(2, round(sheet.size / 5))
    top = int(sheet.rng.integers(0, sheet.size - height + 1))
    grey = sheet.pixels.astype(np.float32)
    around: FloatArray = ndimage.gaussian_filter(grey, sheet.size / 32)
    grey[top : top + height] += (grey - around)[top : top + height]
    return _grey(grey)


def _patch(sheet: Sheet) -> Uint8Array:
    """A square somewhere on the film with noise of its own."""
    side, rng = max(3, round(sheet.size / 9)), sheet.rng
    top, left = (int(v) for v in rng.integers(0, sheet.size - side + 1, 2))
    noisy = sheet.pixels.astype(np.float32)
    noisy[top : top + side, left : left + side] += rng.normal(0, 18, (side, side))
    return _grey(noisy)


def _place_in(lungs: BoolArray, rng: np.random.Generator) -> tuple[float, float]:
    """A point (x, y) well inside the lung fields; the middle of the film where they are not seen."""
    depth = ndimage.distance_transform_edt(np.pad(lungs, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= min(lungs.shape[0] / 24, depth.max()))
    if not len(rows) or depth.max() == 0:
        return lungs.shape[1] / 2, lungs.shape[0] / 2
    pick = rng.integers(len(rows))
    return float(columns[pick]) + 0.5, float(rows[pick]) + 0.5


def _strokes(size: int, path: npt.NDArray[np.float64], width: float) -> FloatArray:
    """How far each pixel is covered, 0 to 1, by lines through the points (n, 2) of `path`, `width` pixels wide."""
    sheet = PIL.Image.new("L", (FINER * size, FINER * size))
    pen = PIL.ImageDraw.Draw(sheet)
    points = [(float(x) * FINER, float(y) * FINER) for x, y in path]
    pen.line(points, fill=255, width=max(1, round(width * FINER)), joint="curve")
    return np.asarray(sheet.reduce(FINER), np.float32) / np.float32(255)


def _blend(pixels: Uint8Array, cover: FloatArray, grey: int) -> Uint8Array:
    return _grey(pixels + cover * (grey - pixels.astype(np.float32)))


def _grey(values: FloatArray) -> Uint8Array:
    grey: Uint8Array = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return grey


def _printed(pixels: Uint8Array, letters: BoolArray, scale: int, top: int, left: int) -> Uint8Array:
    """Bright letters with the upper left corner at (top, left)."""
    shape = np.kron(letters, np.ones((scale, scale), np.bool_))
    marked: Uint8Array = pixels.copy()
    window = marked[top : top + shape.shape[0], left : left + shape.shape[1]]
    window[shape[: window.shape[0], : window.shape[1]]] = BRIGHT
    return marked


_DRAW: dict[ShortcutKind, Callable[[Sheet], Uint8Array]] = {
    "blur": _blur,
    "tint": _tint,
    "grid": _grid,
    "patch": _patch,
    "tube": _tube,
    "border": _border,
    "clip": _clip,
    "stamp": _stamp,
    "corner-tag": _corner_tag,
}
