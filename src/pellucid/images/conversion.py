"""From pixel values of any kind to 8 bits, by the rules that images/read.py states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

Uint8Array = npt.NDArray[np.uint8]

NEARLY_BLACK = "The picture has 16 bits a pixel but uses 12 or fewer, which makes it nearly black."
NEARLY_ONE_GREY = "The picture has 16 bits a pixel but uses 12 or fewer, which makes it nearly one grey."
ASSUMED = "The values have no stated range and were read as 0 to {}."
CLIPPED = "Values a little outside 0 to {} were clipped."
STRETCHED = "The values have no known range and were stretched from the least to the greatest."
NOT_FINITE = "Values that are not finite numbers were read as 0."
SEVERAL = "The file holds several pictures; only the first was read."
ON_BLACK = "Transparent parts of the picture were laid on black."

SIXTEEN_TO_EIGHT: Uint8Array = np.rint(np.arange(65536) / 257).astype(np.uint8)

# A 16-bit picture whose values all lie below this was most likely made of 12 bits or fewer.
DARK = 4096
# How far values may lie outside a range, as a share of it: resampling and compression overshoot a little.
OVERSHOOT = 0.05
# The full values of 8, 10, 12 and 14 bits, which numbers of more bits may hold.
FEWER_BITS = (255, 1023, 4095, 16383)


class Decoded(NamedTuple):
    """What a decoder gives: a picture of mode "L" or "RGB" as stored, the file's mode, and sentences about it.

    `orientation` is EXIF's 1 to 8, not yet applied.
    """

    picture: PIL.Image.Image
    mode: str
    warnings: tuple[str, ...]
    orientation: int = 1


def through_table(table: Uint8Array, values: npt.NDArray[Any], first: int = 0) -> Uint8Array:
    """`table[values - first]`, clipped to the table's ends. In bands of rows: an index takes 8 bytes a value."""
    result = np.empty(values.shape, np.uint8)
    for rows in _bands(values):
        index = values[rows].astype(np.intp) - first
        result[rows] = table[np.clip(index, 0, len(table) - 1, out=index)]
    return result


def by_depth(bits: int) -> Uint8Array:
    """The table from values of `bits` (1 to 16) to 8 bits: `round(255 * value / (2**bits - 1))`."""
    return SIXTEEN_TO_EIGHT if bits == 16 else np.rint(np.linspace(0, 255, 1 << bits)).astype(np.uint8)


def to_depth_eight(values: npt.NDArray[Any], bits: int | None = None) -> tuple[Uint8Array, tuple[str, ...]]:
    """Numbers of any type to 8 bits, and sentences about what was done.

    Unsigned numbers of `bits` (the whole type when None), and signed ones of 16 bits without a negative, are scaled by
    their depth; all others by the range that they seem to have. No picture is scaled by its own greatest value without
    a sentence.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255), ()
    if kind == "u" and size <= 2:
        bits = bits or 8 * size
        if bits == 8:
            return values.astype(np.uint8, copy=False), ()
        dark = bits == 16 and values.size > 0 and int(values.max()) < DARK
        return through_table(by_depth(bits), values), (NEARLY_BLACK,) if dark else ()
    if kind == "i" and size == 2 and values.size and int(values.min()) >= 0:
        return to_depth_eight(values.astype(np.uint16))
    return _without_depth(values)


def opacity_to_eight(opacity: npt.NDArray[Any], colours: npt.NDArray[Any], bits: int | None = None) -> Uint8Array:
    """Opacity of any type to 8 bits: 0 is transparent, and 255 the full value of its range.

    `colours` are the values that it belongs to, of the same type and `bits`. Opacity is never stretched: one that is
    at its full value everywhere is opaque. Negative and non-finite values count as 0.
    """
    kind, size = opacity.dtype.kind, opacity.dtype.itemsize
    if kind == "b" or (kind == "u" and (bits or 8 * size) <= 8):
        return to_depth_eight(opacity, bits)[0]
    if kind == "f":
        opacity = np.nan_to_num(opacity, nan=0.0, posinf=0.0, neginf=0.0)
    return _stretched(opacity, 0.0, _full_opacity(opacity, colours, bits))


def _full_opacity(opacity: npt.NDArray[Any], colours: npt.NDArray[Any], bits: int | None) -> float:
    """The value that means opaque, by the depth of the type, or by the first range that holds all values."""
    kind, size, most = opacity.dtype.kind, opacity.dtype.itemsize, opacity.max()
    if most in FEWER_BITS and bits in (None, 8 * size) and colours.max() <= most:
        return float(most)
    if kind == "f":
        ranges = (1, 255, 65535)
        return next((float(top) for top in ranges if most <= (1 + OVERSHOOT) * top), float(most))
    depth = (bits or 8 * size) - (kind == "i")
    # Integers of 32 bits and more often hold less: a mask of 0 and 1, or opacity of a smaller type.
    smaller = {1: (), 2: (), 4: (1, 255, 65535), 8: (1, 255, 65535, 2**31 - 1, 2**32 - 1)}[size]
    return float(next((top for top in smaller if most <= top), 2**depth - 1))


def to_eight_bits(picture: PIL.Image.Image, kind: str = "", depth: int = 8) -> tuple[PIL.Image.Image, tuple[str, ...]]:
    """A Pillow image of any mode as mode "L" or "RGB", and sentences about what was done.

    `kind` is the format of the file that it came from, and `depth` the bits of its samples: Pillow holds 16-bit grey
    in 32 bits at times, and 16-bit colour in 8.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and depth == 16):
        grey, warnings = to_depth_eight(np.asarray(picture).astype(np.uint16, copy=False))
        return PIL.Image.fromarray(grey), warnings
    if picture.mode in ("I", "F"):
        grey, warnings = to_depth_eight(np.asarray(picture))
        return PIL.Image.fromarray(grey), warnings
    dark = (NEARLY_BLACK,) if depth == 16 and _is_dark(picture) else ()
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layered = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        opacity = layered.getchannel("A")
        # Programs that write BMP leave the fourth byte at 0, and viewers take no notice of it.
        unused = kind == "BMP" and opacity.getextrema() == (0, 0)
        # The upper byte of the full value of 10 or 12 bits.
        fewer = bool(dark) and opacity.getextrema() in ((3, 3), (15, 15))
        if unused or fewer or opacity.getextrema() == (255, 255):
            return layered.convert("RGB"), dark
        black = PIL.Image.new("RGB", picture.size)
        black.paste(layered, mask=opacity)
        return black, (ON_BLACK, *dark)
    if picture.mode in ("L", "RGB"):
        return picture, dark
    return picture.convert("L" if picture.mode == "1" else "RGB"), dark


def _is_dark(picture: PIL.Image.Image) -> bool:
    """Whether the upper bytes of 16-bit colours, all that Pillow keeps, say that they use 12 bits or fewer."""
    colours = [name for name in picture.getbands() if name not in "Aa"]
    most = max(int(np.asarray(picture.getchannel(name)).max()) for name in colours)
    return most < DARK // 256


def on_black(
    picture: PIL.Image.Image, opacity: Uint8Array, multiplied: bool
) -> tuple[PIL.Image.Image, tuple[str, ...]]:
    """Lay a picture of mode "L" or "RGB" on black; `multiplied` says that its colours are by opacity already."""
    if opacity.min() == 255:
        return picture, ()
    if multiplied:
        return picture, (ON_BLACK,)
    black = PIL.Image.new(picture.mode, picture.size)
    black.paste(picture, mask=PIL.Image.fromarray(opacity))
    return black, (ON_BLACK,)


def _without_depth(values: npt.NDArray[Any]) -> tuple[Uint8Array, tuple[str, ...]]:
    """Numbers without a stated depth by the first range of 0..1 (floats only), 0..255 and 0..65535 that holds them."""
    warnings: tuple[str, ...] = ()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        warnings = (NOT_FINITE,)
    low, high = float(values.min()), float(values.max())
    isfloat = values.dtype.kind == "f"
    slack = OVERSHOOT if isfloat else 0.0
    tops = (1, 255, 65535) if isfloat else (255, 65535)
    top = next((t for t in tops if low >= -slack * high and high <= (1 + slack) * t), None)
    if top is None:
        return _stretched(values, low, high), (*warnings, STRETCHED)
    if top == 65535 and high < DARK:
        warnings += (NEARLY_BLACK,)
    elif top != 1:
        warnings += (ASSUMED.format(top),)
    if low < 0 or high > top:
        warnings += (CLIPPED.format(top),)
    return _stretched(values, 0.0, float(top)), warnings


def _stretched(values: npt.NDArray[Any], low: float, high: float) -> Uint8Array:
    """`low` to 0 and `high` to 255, clipped."""
    # Halves, as the whole range of a float does not fit a float.
    span = high / 2 - low / 2
    factor = 127.5 / span if span > 1e-300 else 0.0
    result = np.empty(values.shape, np.uint8)
    for rows in _bands(values):
        scaled = np.rint((values[rows].astype(np.float64) / 2 - low / 2) * (2 * factor))
        result[rows] = np.clip(scaled, 0, 255, out=scaled)
    return result


def _bands(values: npt.NDArray[Any]) -> Iterator[slice]:
    rows = max(1, len(values) * 2**20 // max(1, values.size))
    return (slice(top, top + rows) for top in range(0, len(values), rows))
