"""From a file to an upright picture of 8 bits, still in Pillow's hands.

`images.py` states the rules; this is the part that works without leaving Pillow, for those who resize right away.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import ImageError
from .containers import EXTENSIONS, check_pixels, inspect, quiet, recognise
from .conversion import Uint8Array, to_eight_bits

# The only decoders there are. Calling them, instead of PIL.Image.open, keeps Pillow's registry of dozens out of reach,
# and its warning about sizes that are bounded here before.
DECODERS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
}

SEVERAL = "The file holds several pictures; only the first was read."

# A JPEG is decoded at a half, quarter or eighth as long as it stays this many times larger than is needed. Resized from
# there, it differs from resizing the full decode by 0.9 of 255 on average, half of what bicubic instead of bilinear
# changes; by 2.0 without headroom, and 0.7 with twice the size (benchmarks/decoding.py, on skimage's photographs).
HEADROOM = 1.5

# EXIF orientation -> Pillow's way to turn it upright, and whether that swaps the sides, and mirrors left-right and
# top-bottom after that.
UPRIGHT: dict[int, tuple[Transpose | None, bool, bool, bool]] = {
    1: (None, False, False, False),
    2: (Transpose.FLIP_LEFT_RIGHT, False, True, False),
    3: (Transpose.ROTATE_180, False, True, True),
    4: (Transpose.FLIP_TOP_BOTTOM, False, False, True),
    5: (Transpose.TRANSPOSE, True, False, False),
    6: (Transpose.ROTATE_270, True, True, False),
    7: (Transpose.TRANSVERSE, True, True, True),
    8: (Transpose.ROTATE_90, True, False, True),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before it is decoded: files of more than `file_bytes`, pictures of more than `pixels`.

    Decoding takes 10 to 21 bytes of memory a pixel, most for animated WebP.
    """

    pixels: int = 100_000_000
    file_bytes: int = 64 * 2**20


DEFAULT_LIMITS = Limits()


class Geometry:
    """Where a decoded picture, perhaps of reduced size, lies in the file that it came from."""

    __slots__ = ()

    stored_size: tuple[int, int]
    orientation: int
    reduction: int

    @property
    def decoded_size(self) -> tuple[int, int]:
        """(height, width) of the decoded picture."""
        raise NotImplementedError

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright picture at full resolution."""
        height, width = self.stored_size
        return (width, height) if UPRIGHT[self.orientation][1] else (height, width)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the picture within what was decoded, in decoded pixels.

        Decoding at a reduced size rounds up, so that the last row and column (before orientation) reach a little
        beyond the picture. Resizing this box leaves every point where it is in the file.
        """
        height, width = (n / self.reduction for n in self.size)
        _, _, mirrored, flipped = UPRIGHT[self.orientation]
        left = self.decoded_size[1] - width if mirrored else 0.0
        top = self.decoded_size[0] - height if flipped else 0.0
        return left, top, left + width, top + height


@dataclass(frozen=True, slots=True)
class Picture(Geometry):
    """As `images.Image`, with a Pillow image `upright` of mode "L" or "RGB" instead of pixels."""

    upright: PIL.Image.Image
    format: str
    mode: str
    stored_size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    orientation: int = 1
    reduction: int = 1

    @property
    def decoded_size(self) -> tuple[int, int]:
        """(height, width) of the decoded picture."""
        return self.upright.height, self.upright.width

    @property
    def pixels(self) -> Uint8Array:
        """(H, W, 3) uint8 RGB, read-only."""
        # Pillow's convert copies even where there is nothing to convert.
        colour = self.upright if self.upright.mode == "RGB" else self.upright.convert("RGB")
        pixels = np.ascontiguousarray(colour)
        pixels.flags.writeable = False
        return pixels


def open_picture(
    source: str | Path | bytes,
    *,
    at_least: tuple[int, int] | None = None,
    training: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Picture:
    """Read an image file; see `images.read_image`."""
    data = source if isinstance(source, bytes) else read_file(source, limits)
    if len(data) > limits.file_bytes:
        raise _too_many_bytes(limits)
    kind = recognise(data, training)
    if kind == "DICOM":
        picture = _dicom(data, limits)
    elif kind == "TIFF":
        picture = _tiff(data, limits)
    else:
        picture = _plain(data, kind, at_least, limits)
    remarks = _remarks("" if isinstance(source, bytes) else Path(source).suffix.lower(), kind, picture.size)
    return replace(picture, warnings=remarks + picture.warnings) if remarks else picture


def read_file(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of one file, at most `limits.file_bytes`. Raises ImageError: `missing`, `unreadable` or `too-large`."""
    try:
        if not Path(path).is_file():
            raise ImageError("missing", f"There is no file at {str(path)[-200:]!r}.")
        with Path(path).open("rb") as file:
            # A buffer of the most that is allowed would cost more than reading the file.
            data = file.read(min(limits.file_bytes, os.fstat(file.fileno()).st_size) + 1)
    except ValueError:
        raise ImageError("missing", "There is no such file: its name holds a NUL character.") from None
    except OSError as error:
        reason = f"The file at {str(path)[-200:]!r} cannot be read: {error.strerror or 'input/output error'}."
        raise ImageError("unreadable", reason) from None
    if len(data) > limits.file_bytes:
        raise _too_many_bytes(limits)
    return data


def turned_upright(
    picture: PIL.Image.Image, kind: str, stored: tuple[int, int], orientation: int, reduction: int = 1
) -> Picture:
    """A decoded Pillow image of any mode to 8 bits and upright."""
    with decoding():
        eight, warnings = to_eight_bits(picture, sixteen=kind == "PNG")
        method = UPRIGHT[orientation][0]
        upright = eight if method is None else eight.transpose(method)
    return Picture(upright, kind, picture.mode, stored, warnings, orientation, reduction)


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError that quotes nothing of the file."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("too-large", "There is not enough memory to decode the picture.") from None
    except Exception:
        # On hostile bytes decoders raise nearly anything: OSError, SyntaxError, KeyError, OverflowError, ...
        raise ImageError("damaged", "The file is damaged: it cannot be decoded to the end.") from None


def _plain(data: bytes, kind: str, at_least: tuple[int, int] | None, limits: Limits) -> Picture:
    container = inspect(data, kind)
    check_pixels(container.size, limits.pixels)
    reduction = 1
    with decoding():
        decoder = DECODERS[kind](io.BytesIO(container.body))
        if (decoder.height, decoder.width) != container.size:
            raise ImageError("damaged", "The file is damaged: it states two different sizes.")
        if kind == "JPEG" and at_least is not None:
            reduction = _reduction(container.size, at_least[:: -1 if UPRIGHT[container.orientation][1] else 1])
            decoder.draft(None, (decoder.width // reduction, decoder.height // reduction))
        decoder.load()
    picture = turned_upright(decoder, kind, container.size, container.orientation, reduction)
    return replace(picture, warnings=(SEVERAL, *picture.warnings)) if container.several else picture


def _reduction(size: tuple[int, int], at_least: tuple[int, ...]) -> int:
    room = min(have / max(1, want) for have, want in zip(size, at_least, strict=True))
    return next((n for n in (8, 4, 2) if room >= HEADROOM * n), 1)


def _tiff(data: bytes, limits: Limits) -> Picture:
    from PIL.TiffImagePlugin import TiffImageFile

    with quiet(), decoding():
        decoder = TiffImageFile(io.BytesIO(data))
        tags = decoder.tag_v2
        stored, tile = (int(tags[257]), int(tags[256])), (int(tags.get(323, 1)), int(tags.get(322, 1)))
        check_pixels(stored, limits.pixels)
        check_pixels(tile, limits.pixels)
        orientation, white_is_zero, bits = tags.get(274, 1), tags.get(262) == 0, tags.get(258, (1,))[0]
        several = decoder.n_frames > 1
        decoder.seek(0)
        # This turns it upright too, unlike Pillow's other decoders.
        decoder.load()
        decoded = _full_range(decoder, bits, white_is_zero) if decoder.mode.startswith("I;16") else decoder
        picture = turned_upright(decoded, "TIFF", stored, 1)
    return replace(
        picture,
        orientation=orientation if orientation in UPRIGHT else 1,
        warnings=((SEVERAL,) if several else ()) + picture.warnings,
    )


def _full_range(picture: PIL.Image.Image, bits: int, white_is_zero: bool) -> PIL.Image.Image:
    """A TIFF of 9 to 16 bits as 16: Pillow leaves 12 bits as they are, and inverts where white is zero only at 8."""
    most = np.uint32((1 << bits) - 1)
    values = np.minimum(np.asarray(picture).astype(np.uint32), most)
    if white_is_zero:
        values = most - values
    return PIL.Image.fromarray(((values * 65535 + most // 2) // most).astype(np.uint16))


def _dicom(data: bytes, limits: Limits) -> Picture:
    from .dicom import decode

    with quiet(), decoding():
        pixels, mode, warnings = decode(data, limits.pixels)
        return Picture(PIL.Image.fromarray(pixels), "DICOM", mode, (pixels.shape[0], pixels.shape[1]), warnings)


def _too_many_bytes(limits: Limits) -> ImageError:
    return ImageError("too-large", f"The file is larger than {limits.file_bytes / 2**20:g} MB, the most that is read.")


def _remarks(suffix: str, kind: str, size: tuple[int, int]) -> tuple[str, ...]:
    found = []
    if suffix not in EXTENSIONS[kind] and any(suffix in known for known in EXTENSIONS.values()):
        found.append(f"The file is named {suffix} but holds {kind}.")
    height, width = size
    if min(size) < 16:
        found.append(f"The picture is only {width} x {height} pixels, too few to show much.")
    if max(size) > 10 * min(size):
        found.append(f"The picture is very thin, {width} x {height} pixels, and is distorted or cut to fit a model.")
    return tuple(found)
