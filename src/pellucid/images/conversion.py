"""From pixel values of any kind to 8-bit RGB, by the rules that images.py states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

Uint8Array = npt.NDArray[np.uint8]

NEARLY_BLACK = "The picture has 16 bits a pixel but uses 12 or fewer, which makes it nearly black."
SEVERAL = "The file holds several pictures; only the first was read."
ON_BLACK = "Transparent parts of the picture were laid on black."

SIXTEEN_TO_EIGHT: Uint8Array = np.rint(np.arange(65536) / 257).astype(np.uint8)


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


def to_eight_bits(picture: PIL.Image.Image, sixteen: bool = False) -> tuple[PIL.Image.Image, tuple[str, ...]]:
    """A Pillow image of any mode as mode "L" or "RGB", and sentences about what was done.

    `sixteen` says that mode "I", which holds 32 bits, came from a file of 16.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and sixteen):
        values = np.asarray(picture)
        dark = int(values.max()) < 4096
        return PIL.Image.fromarray(through_table(SIXTEEN_TO_EIGHT, values)), (NEARLY_BLACK,) if dark else ()
    if picture.mode in ("I", "F"):
        grey, warnings = without_depth(np.asarray(picture))
        return PIL.Image.fromarray(grey), warnings
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layered = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        opacity = layered.getchannel("A")
        if opacity.getextrema() != (255, 255):
            black = PIL.Image.new("RGB", picture.size)
            black.paste(layered, mask=opacity)
            return black, (ON_BLACK,)
        picture = layered
    if picture.mode in ("L", "RGB"):
        return picture, ()
    return picture.convert("L" if picture.mode == "1" else "RGB"), ()


def without_depth(values: npt.NDArray[Any]) -> tuple[Uint8Array, tuple[str, ...]]:
    """Values of no stated depth to 8 bits, and sentences about what was done."""
    warnings: tuple[str, ...] = ()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        warnings = ("Values that are not finite numbers were read as 0.",)
    low, high = float(values.min()), float(values.max())
    tops = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    top = next((t for t in tops if low >= 0 and high <= t), None)
    if top is None:
        warnings += ("The values have no known range and were stretched from the least to the greatest.",)
    else:
        low, high = 0.0, top
    # Halves, as the whole range of a float does not fit a float.
    span = high / 2 - low / 2
    factor = 127.5 / span if span > 1e-300 else 0.0
    result = np.empty(values.shape, np.uint8)
    for rows in _bands(values):
        result[rows] = np.rint((values[rows].astype(np.float64) / 2 - low / 2) * (2 * factor))
    return result, warnings


def _bands(values: npt.NDArray[Any]) -> Iterator[slice]:
    rows = max(1, len(values) * 2**20 // values.size)
    return (slice(top, top + rows) for top in range(0, len(values), rows))
