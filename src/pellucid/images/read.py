"""Bytes or a path to an 8-bit RGB image, and what the file was.

Every picture becomes upright RGB of 8 bits by one conversion:

- Values of a stated depth of d bits are scaled by it, `round(255 * value / (2**d - 1))`; int16 without a negative value
  counts as 16 bits. 16-bit colour of PNG keeps its upper byte (Pillow reads no more of it). Palettes are looked up; 1
  bit is 0 or 255. A picture of 16 bits that uses 12 or fewer gets a warning, whatever its kind.
- Values without a stated depth (float, integers of 32 bits and more) are read as 0..1 (float only), else 0..255, else
  0..65535, whichever first holds them all; floats may lie up to 5 % outside, and are clipped. Anything else is
  stretched from its least to its greatest value. All but the range 0..1 carries a warning, as the next picture of the
  same source may be read by another range.
- Transparency is laid on black: the value that padding has, that a transparent canvas has in a browser, and that most
  programs leave under transparent pixels. Opacity is scaled by the full value of its type or range, and never
  stretched: it is opaque at 1 or 255 (float and integers of 32 bits and more), or 32767 (int16), for example.
- CMYK is `(255 - ink) * (255 - black) / 255`; JPEGs of four channels are taken as inverted, as Adobe writes them and
  every common decoder assumes. Embedded colour profiles are ignored, as they were when the published backbones were
  trained.
- EXIF orientation is applied.

Nothing of a file's metadata is kept, or quoted in an error or a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..errors import ImageError
from .containers import orientation_of
from .conversion import Uint8Array, opacity_to_eight, to_depth_eight, to_eight_bits
from .pictures import (
    DEFAULT_LIMITS,
    DecodedImage,
    Geometry,
    Limits,
    decoding,
    flatness,
    open_picture,
    read_file,
    turned_upright,
)

__all__ = ["DEFAULT_LIMITS", "Image", "Limits", "as_image", "from_array", "from_pil", "read_file", "read_image"]


@dataclass(frozen=True, slots=True)
class Image(Geometry):
    """An image as pellucid sees it.

    `pixels` (H, W, 3) uint8 RGB, upright, read-only. `format` is Pillow's name ("JPEG", "PNG", ...), "DICOM", or
    "array"; `mode` is what the file held ("L", "I;16", "CMYK", ...); `stored_size` is (height, width) in the file
    before orientation and before any scaled decoding. `warnings` are sentences for people. `orientation` is the EXIF
    orientation that was applied, and `reduction` how many pixels of the file, along each side, went into one.
    """

    pixels: Uint8Array
    format: str
    mode: str
    stored_size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    orientation: int = 1
    reduction: int = 1

    @property
    def decoded_size(self) -> tuple[int, int]:
        """(height, width) of `pixels`."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def upright(self) -> PIL.Image.Image:
        """The pixels as a Pillow image; of one channel where the file held grey."""
        return PIL.Image.fromarray(self.pixels[..., 0] if self.mode == "L" else self.pixels)


def read_image(
    source: str | Path | bytes,
    *,
    at_least: tuple[int, int] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Image:
    """Read an image of any format of `images.formats`, recognised by its first bytes.

    `at_least` (height, width) is the smallest size that will do, after orientation. A JPEG of three times that or more
    is then decoded at a half, quarter or eighth, never to less than 1.5 times `at_least`; resize `Image.box` of it.

    Raises ImageError for a file that is no image, is damaged, is larger than `limits` (checked before anything is
    decoded), or is of a kind that is not read.
    """
    return _image(open_picture(source, at_least=at_least, limits=limits))


def from_pil(picture: PIL.Image.Image) -> Image:
    """Convert a Pillow image of any mode; an EXIF orientation that it still carries is applied.

    Raises ImageError `damaged` when a lazily opened file fails to decode.
    """
    with decoding():
        picture.load()
    exif = picture.info.get("exif")
    orientation = orientation_of(exif.removeprefix(b"Exif\0\0")) if isinstance(exif, bytes) else 1
    # Pillow opens a PNG of 16-bit grey in 32 bits at times.
    depth = 16 if picture.mode == "I" and picture.format == "PNG" else 8
    size = picture.height, picture.width
    return _image(turned_upright(picture, picture.format or "array", size, orientation, depth=depth))


def from_array(array: npt.ArrayLike) -> Image:
    """Convert an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): grey, RGB or RGBA, channels last.

    Types are scaled as the module says: uint8 stays, bool is 0 and 255, uint16 and int16 have 16 bits.
    Raises ImageError `unsupported-format` for other shapes and types, `too-small` without a pixel.
    """
    values = np.asarray(array)
    shaped = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4))
    if not shaped or values.dtype.kind not in "buif":
        reason = (
            f"An array of shape {values.shape} and type {values.dtype} is not an image; "
            "give numbers of shape (height, width) or (height, width, 3), channels last."
        )
        raise ImageError("unsupported-format", reason)
    if not values.size:
        raise ImageError("too-small", f"An array of shape {values.shape} holds no pixel.")
    mode = str(values.dtype)
    if values.ndim == 3 and values.shape[2] == 4:
        colours, warnings = to_depth_eight(values[..., :3])
        eight = np.dstack([colours, opacity_to_eight(values[..., 3], values[..., :3])])
    else:
        eight, warnings = to_depth_eight(values)
    flat = eight[..., 0] if eight.ndim == 3 and eight.shape[2] == 1 else eight
    picture, remarks = to_eight_bits(PIL.Image.fromarray(flat))
    return _image(DecodedImage(picture, "array", mode, (values.shape[0], values.shape[1]), warnings + remarks))


def as_image(anything: Any) -> Image:
    """An Image from a path, bytes, a Pillow image, an array or an Image (returned as it is)."""
    if isinstance(anything, Image):
        return anything
    if isinstance(anything, PIL.Image.Image):
        return from_pil(anything)
    if isinstance(anything, (bytearray, memoryview)):
        return read_image(bytes(anything))
    if isinstance(anything, (str, Path, bytes)):
        return read_image(anything)
    return from_array(anything)


def _image(picture: DecodedImage) -> Image:
    return Image(
        picture.pixels,
        picture.format,
        picture.mode,
        picture.stored_size,
        (*picture.warnings, *flatness(picture.upright)),
        picture.orientation,
        picture.reduction,
    )
