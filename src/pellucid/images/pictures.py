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
from PIL.Image import Transpose

from ..errors import ImageError
from .containers import check_pixels, inspect
from .conversion import SEVERAL, Decoded, Uint8Array, to_eight_bits
from .formats import ALL_FORMATS, Format, misnamed, recognise

# A JPEG is decoded at a half, quarter or eighth as long as it stays this many times larger than is needed. Resized from
# there, it differs from resizing the full decode by 0.9 of 255 on average, half of what bicubic instead of bilinear
# changes; by 2.0 without headroom, and 0.7 with twice the size (benchmarks/decoding.py, on skimage's photographs).
HEADROOM = 1.5

# A picture whose channels span no more grey values than this shows nothing; few pixels tell that nearly any is not so.
FLAT, FEW = 2, 8

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
    """What is refused before it is decoded.

    Refused are files of more than `file_bytes`, pictures of more than `pixels`, and formats whose name is not in
    `formats`. Decoding takes 10 to 21 bytes of memory a pixel, most for animated WebP;
    of TIFF up to 50, for colours of 64 bits.
    """

    pixels: int = 100_000_000
    file_bytes: int = 64 * 2**20
    formats: frozenset[str] = ALL_FORMATS


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
class DecodedImage(Geometry):
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
    limits: Limits = DEFAULT_LIMITS,
) -> DecodedImage:
    """Read an image file; see `images.read_image`."""
    data = source if isinstance(source, bytes) else read_file(source, limits)
    if len(data) > limits.file_bytes:
        raise _too_many_bytes(limits)
    row = recognise(data, limits.formats)
    picture = _whole(data, row, row.decode, limits) if row.decode else _plain(data, row, at_least, limits)
    remarks = _remarks("" if isinstance(source, bytes) else Path(source).suffix.lower(), row.name, picture.size)
    return replace(picture, warnings=remarks + picture.warnings) if remarks else picture


def flatness(upright: PIL.Image.Image) -> tuple[str, ...]:
    """A warning for a picture of one tone: of such a one a model's features may tell nothing unusual."""
    few = upright.resize((FEW, FEW), PIL.Image.Resampling.NEAREST)
    if any(_span(picture) > FLAT for picture in (few, upright)):
        return ()
    return ("The picture is one flat tone, unlike anything that a model learns from: its answer means nothing.",)


def _span(picture: PIL.Image.Image) -> int:
    """The most grey values that a channel of a picture spans."""
    extrema = np.array(picture.getextrema(), np.int64).reshape(-1, 2)
    return int((extrema[:, 1] - extrema[:, 0]).max())


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
    picture: PIL.Image.Image,
    kind: str,
    stored: tuple[int, int],
    orientation: int,
    *,
    reduction: int = 1,
    depth: int = 8,
) -> DecodedImage:
    """A decoded Pillow image of any mode, of a file of `depth` bits a sample, to 8 bits and upright."""
    with decoding():
        eight, warnings = to_eight_bits(picture, kind, depth)
        return _upright(eight, kind, picture.mode, stored, warnings, orientation, reduction)


def _upright(
    picture: PIL.Image.Image,
    kind: str,
    mode: str,
    stored: tuple[int, int],
    warnings: tuple[str, ...],
    orientation: int,
    reduction: int = 1,
) -> DecodedImage:
    method = UPRIGHT[orientation][0]
    upright = picture if method is None else picture.transpose(method)
    return DecodedImage(upright, kind, mode, stored, warnings, orientation, reduction)


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


def _plain(data: bytes, row: Format, at_least: tuple[int, int] | None, limits: Limits) -> DecodedImage:
    """An image of a format that Pillow decodes, once the file was inspected."""
    assert row.walk is not None
    assert row.decoder is not None
    container = inspect(data, row.walk)
    check_pixels(container.size, limits.pixels)
    reduction = 1
    with decoding():
        decoder = row.decoder(io.BytesIO(container.body))
        if (decoder.height, decoder.width) != container.size:
            raise ImageError("damaged", "The file is damaged: it states two different sizes.")
        # In one block: libjpeg cannot pause within arithmetic coding to wait for the next.
        decoder.decodermaxblock = max(decoder.decodermaxblock, len(container.body))
        if container.scalable and at_least is not None:
            reduction = _reduction(container.size, at_least[:: -1 if UPRIGHT[container.orientation][1] else 1])
            decoder.draft(None, (decoder.width // reduction, decoder.height // reduction))
        decoder.load()
    picture = turned_upright(
        decoder, row.name, container.size, container.orientation, reduction=reduction, depth=container.depth
    )
    return replace(picture, warnings=(SEVERAL, *picture.warnings)) if container.several else picture


def _reduction(size: tuple[int, int], at_least: tuple[int, ...]) -> int:
    room = min(have / max(1, want) for have, want in zip(size, at_least, strict=True))
    return next((n for n in (8, 4, 2) if room >= HEADROOM * n), 1)


def _whole(data: bytes, row: Format, decode: Callable[[bytes, int], Decoded], limits: Limits) -> DecodedImage:
    """An image of a format whose decoder does all the work."""
    with decoding():
        picture, mode, warnings, orientation = decode(data, limits.pixels)
    return _upright(picture, row.name, mode, (picture.height, picture.width), warnings, orientation)


def _too_many_bytes(limits: Limits) -> ImageError:
    return ImageError("too-large", f"The file is larger than {limits.file_bytes / 2**20:g} MB, the most that is read.")


def _remarks(suffix: str, kind: str, size: tuple[int, int]) -> tuple[str, ...]:
    found = [sentence] if (sentence := misnamed(suffix, kind)) else []
    height, width = size
    if min(size) < 16:
        found.append(f"The picture is only {width} x {height} pixels, too few to show much.")
    if max(size) > 10 * min(size):
        found.append(f"The picture is very thin, {width} x {height} pixels, and is distorted or cut to fit a model.")
    return tuple(found)
