"""Pictures for people: a map with its title, colour bar and unit, and the set written for one explained image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageDraw

from ..explanation.attribution import Attribution
from ..preprocessing import Uint8Array
from .overlay import DIVERGING, LITTLE_EVIDENCE, NO_EVIDENCE, SEQUENTIAL, MapPictures, colour_table, draw_map, reading
from .words import number

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

PAPER, INK, SOFT, LINE = (255, 255, 255), (27, 35, 38), (84, 97, 102), (205, 212, 214)
# A smaller picture is enlarged by a whole factor until its longer side has this many pixels.
_LEAST_SIDE = 448
_LEAST_WIDTH = 400
# Shorter forms of what is stamped on small pictures, and the smallest type, in pixels, that can be read.
_SHORTER = {NO_EVIDENCE: ("no evidence", "none"), LITTLE_EVIDENCE: ("almost none",)}
_LEAST_TYPE = 7

Z_RLE = 3
"""zlib's strategy for pictures: it looks for repeats of the byte before only."""

# The longest side of the copy of the original that goes beside the maps.
_COPY_SIDE = 512


def with_colour_bar(
    picture: Uint8Array,
    attribution: Attribution,
    *,
    limit: float,
    title: str = "",
    colormap: str | None = None,
    signed: bool = False,
) -> Uint8Array:
    """A map or overlay as a sheet to show: title above, colour bar with its ends, middle and unit below.

    `picture` (H, W, 3) or grey (H, W), uint8; small ones are enlarged so that the text stays in proportion and legible
    at any size. Where the picture shows nothing, the words for it stand in place of the bar. Returns (H', W', 3) uint8.
    """
    shown = _enlarged(PIL.Image.fromarray(picture).convert("RGB"))
    text = max(15, round(max(shown.size) / 42))
    width = max(shown.width, _LEAST_WIDTH)
    margin = text
    heading = wrapped(title, font(text, bold=True), width)
    words = reading(attribution, limit, signed=signed)
    above = margin + len(heading) * round(1.35 * text) + (text // 2 if heading else 0)
    legend = _bar(width, text, attribution, limit, colormap, signed) if words is None else _line(width, text, words)
    sheet = PIL.Image.new("RGB", (width + 2 * margin, above + shown.height + text + legend.height + margin), PAPER)
    pen = PIL.ImageDraw.Draw(sheet)
    for row, line in enumerate(heading):
        pen.text((margin, margin + row * round(1.35 * text)), line, INK, font(text, bold=True))
    sheet.paste(shown, (margin + (width - shown.width) // 2, above))
    sheet.paste(legend, (margin, above + shown.height + text))
    return np.asarray(sheet)


def explanation_pictures(
    image: Uint8Array,
    attribution: Attribution,
    *,
    limit: float,
    alpha: float = 0.45,
    colormap: str | None = None,
    signed: bool = False,
) -> dict[str, Uint8Array]:
    """The pictures of one explained image by their names in an `ExplanationRecord`.

    `image`: a copy of the original, at most 512 px; `attention` (H, W), `heatmap` and `overlay` (H, W, 3): at the
    size of the original. A picture that shows nothing carries the words that say so.
    """
    maps = draw_map(image, attribution, limit=limit, alpha=alpha, colormap=colormap, signed=signed)
    return {"image": small_copy(image), **stamped_pictures(maps, attribution, limit, signed=signed)}


def small_copy(image: Uint8Array) -> Uint8Array:
    """The copy of an original (H, W, 3) that goes beside its maps: at most 512 px along each side."""
    return np.asarray(smaller(PIL.Image.fromarray(image), _COPY_SIDE))


def stamped_pictures(
    maps: MapPictures, attribution: Attribution, limit: float, *, signed: bool = False
) -> dict[str, Uint8Array]:
    """`attention`, `heatmap` and `overlay`; one that shows nothing carries the words that say so."""
    pictures = {}
    for name, signed_too in (("attention", False), ("heatmap", signed), ("overlay", signed)):
        words = reading(attribution, limit, signed=signed_too)
        picture: Uint8Array = getattr(maps, name)
        pictures[name] = picture if words is None else stamped(picture, words)
    return pictures


def save_explanation(folder: Path, stem: str, pictures: dict[str, Uint8Array]) -> dict[str, str]:
    """Write `stem-<name>.png` for each picture into `folder`; the file names, relative to it, by picture name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: f"{stem}-{name}.png" for name in pictures}
    for name, pixels in pictures.items():
        # Runs of equal differences suffice for maps: half of the time of level 3, and files of about its size.
        PIL.Image.fromarray(pixels).save(folder / files[name], compress_level=1, compress_type=Z_RLE)
    return files


def stamped(picture: Uint8Array, words: str) -> Uint8Array:
    """A copy of a picture, (H, W) or (H, W, 3), with words on a dark band along its lower edge.

    The band takes at most a fifth of the height, or 2 pixels. Where the words are too wide for that, shorter ones
    stand for them; where even these do not fit legibly, the band has only a light rule.
    """
    copy = PIL.Image.fromarray(picture)
    pen = PIL.ImageDraw.Draw(copy)
    light, dark = (235, 0) if picture.ndim == 2 else ((235, 239, 240), (16, 19, 20))
    text, size = _fitting(words, copy.width, copy.height)
    band = round(1.6 * size) if text else max(2, copy.height // 8)
    pen.rectangle((0, copy.height - band, copy.width, copy.height), fill=dark)
    middle = copy.height - band / 2
    if text:
        pen.text((copy.width / 2, middle), text, light, font(size), anchor="mm")
    else:
        pen.line((copy.width // 4, int(middle), copy.width - copy.width // 4 - 1, int(middle)), fill=light)
    return np.asarray(copy)


def _fitting(words: str, width: int, height: int) -> tuple[str, int]:
    """The longest form of the words that fits into a band, and the size of its type; "" when none fits legibly."""
    usual = max(9, round(min(width, height) / 16))
    largest = min(usual, int(height / 5 / 1.6))
    for text in (words, *_SHORTER.get(words, ())):
        for size in range(largest, _LEAST_TYPE - 1, -1):
            if font(size).getlength(text) <= width - 4:
                return text, size
    return "", 0


def smaller(picture: PIL.Image.Image, side: int) -> PIL.Image.Image:
    """The picture, reduced so that its longer side is at most `side`; never enlarged."""
    copy = picture.copy()
    copy.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    return copy


def _enlarged(picture: PIL.Image.Image) -> PIL.Image.Image:
    factor = -(-_LEAST_SIDE // max(picture.size))
    size = (picture.width * factor, picture.height * factor)
    return picture if factor == 1 else picture.resize(size, PIL.Image.Resampling.BICUBIC)


def _bar(
    width: int, text: int, attribution: Attribution, limit: float, colormap: str | None, signed: bool
) -> PIL.Image.Image:
    """The colour bar, its three ticks, and what a value means."""
    table = colour_table(colormap or (DIVERGING if signed else SEQUENTIAL))
    meaning = wrapped(f"{attribution.method}, {attribution.unit}", font(text), width)
    line = round(1.35 * text)
    legend = PIL.Image.new("RGB", (width, text + line * (1 + len(meaning)) + text // 2), PAPER)
    gradient = PIL.Image.fromarray(np.ascontiguousarray(table[None])).resize(
        (width, text), PIL.Image.Resampling.BILINEAR
    )
    legend.paste(gradient, (0, 0))
    pen = PIL.ImageDraw.Draw(legend)
    pen.rectangle((0, 0, width - 1, text - 1), outline=LINE)
    low = -limit if signed else 0.0
    for place, value, anchor in ((0, low, "la"), (width // 2, (low + limit) / 2, "ma"), (width - 1, limit, "ra")):
        pen.text((place, text + text // 3), number(value), INK, font(text), anchor=anchor)
    for row, words in enumerate(meaning):
        pen.text((0, text + text // 3 + line * (1 + row)), words, SOFT, font(text))
    return legend


def _line(width: int, text: int, words: str) -> PIL.Image.Image:
    lines = wrapped(words[:1].upper() + words[1:], font(text), width)
    strip = PIL.Image.new("RGB", (width, round(1.35 * text) * len(lines) + text // 2), PAPER)
    for row, line in enumerate(lines):
        PIL.ImageDraw.Draw(strip).text((0, row * round(1.35 * text)), line, INK, font(text))
    return strip


def wrapped(text: str, face: FreeTypeFont, width: int) -> list[str]:
    """The text in lines of at most `width` pixels; a word longer than that is cut."""
    lines: list[str] = []
    for word in text.split():
        while face.getlength(word) > width:
            kept = next(n for n in range(len(word) - 1, 0, -1) if face.getlength(word[:n]) <= width or n == 1)
            lines.append(word[:kept])
            word = word[kept:]
        if lines and face.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans as matplotlib carries it: the same on every machine, with Greek and Cyrillic."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
