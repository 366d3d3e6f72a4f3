"""Strips and tiles of a TIFF to arrays of numbers.

tifffile parses the file. Segments are decoded here instead of by tifffile for two reasons: what a segment unpacks to is
bounded before it is unpacked, and LZW, PackBits, ZSTD, JPEG and fax codes need only the libtiff and libjpeg that Pillow
brings. What they do not know (LERC, JPEG XL, ...) is left to tifffile and imagecodecs, where that is installed.

Reference: TIFF Revision 6.0 (1992); Adobe Photoshop TIFF Technical Notes (predictor 3, deflate).
"""

from __future__ import annotations

import io
import lzma
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import ImageError
from .containers import check_pixels, inspect, jpeg_header, jpeg_parts, truncated

Values = npt.NDArray[Any]

YCBCR = 6
NONE, LZW, JPEG, PACKBITS, LZMA, ZSTD = 1, 5, 7, 32773, 34925, 50000
DEFLATE = (8, 32946)
FAX = (2, 3, 4)
BY_LIBTIFF = (LZW, PACKBITS, ZSTD)
COMPRESSIONS = frozenset((NONE, JPEG, LZMA, *DEFLATE, *FAX, *BY_LIBTIFF))
PREDICTORS = frozenset((1, 2, 3))

SHORT, LONG = 3, 4
REVERSED_BITS = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))


@dataclass(frozen=True, slots=True)
class SegmentLayout:
    """How the numbers of one page lie in its segments.

    `size` and `segment` are (height, width). Colours YCbCr may have one hue for `unit` (rows, columns) of pixels.
    """

    size: tuple[int, int]
    segment: tuple[int, int]
    tiled: bool
    planes: int
    samples: int
    bits: int
    dtype: np.dtype[Any]
    compression: int
    predictor: int
    reversed_bits: bool
    unit: tuple[int, int] = (1, 1)

    @property
    def across(self) -> int:
        """Segments side by side."""
        return math.ceil(self.size[1] / self.segment[1])

    @property
    def down(self) -> int:
        """Segments one below the other."""
        return math.ceil(self.size[0] / self.segment[0])


def layout_of(page: Any) -> SegmentLayout | None:
    """The layout of a `tifffile.TiffPage`; None when only imagecodecs can read it."""
    bits, order = page.bitspersample, page.parent.byteorder
    whole = bits in (8, 16, 32, 64)
    if not isinstance(bits, int) or page.imagedepth != 1 or not (whole or (bits < 16 and page.sampleformat == 1)):
        return None
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(page.sampleformat)
    if kind is None or (kind == "f" and bits < 16):
        return None
    if page.compression not in COMPRESSIONS or page.predictor not in PREDICTORS or (page.predictor > 1 and not whole):
        return None
    if page.compression == JPEG and bits != 8:
        return None
    unit = (1, 1)
    if page.photometric == YCBCR and page.compression != JPEG:
        across, down = page.tags.valueof(530, (2, 2))
        unit = int(down), int(across)
        if unit != (1, 1) and (bits != 8 or page.planarconfig != 1 or page.predictor > 1 or not all(unit)):
            return None
    height, width = page.imagelength, page.imagewidth
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    segment = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip or height, height), width)
    return SegmentLayout(
        (height, width),
        segment,
        bool(page.is_tiled),
        page.samplesperpixel if separate else 1,
        1 if separate else page.samplesperpixel,
        bits,
        np.dtype(f"{order}{kind}{bits // 8}") if whole else np.dtype(np.uint8 if bits < 8 else np.uint16),
        page.compression,
        page.predictor,
        page.fillorder == 2,
        unit,
    )


def read_values(data: bytes, page: Any, layout: SegmentLayout, wanted: int) -> Values:
    """The first `wanted` samples of each pixel, (height, width, wanted), in native byte order."""
    check_pixels(layout.segment, max(layout.size[0] * layout.size[1], 2**24))
    result = np.zeros((*layout.size, wanted), layout.dtype.newbyteorder("="))
    for number, plane, top, left in _places(layout):
        if layout.planes > 1 and plane >= wanted:
            continue
        rows = layout.segment[0] if layout.tiled else min(layout.segment[0], layout.size[0] - top)
        if (packed := _bytes_of(data, page, number)) is None:
            continue
        values = _segment(packed, page, layout, (rows, layout.segment[1]))
        target = result[top : top + rows, left : left + layout.segment[1]]
        values = values[: target.shape[0], : target.shape[1]]
        if layout.planes > 1:
            target[..., plane] = values[..., 0]
        else:
            target[:] = values[..., :wanted]
    return result


def _places(layout: SegmentLayout) -> Iterator[tuple[int, int, int, int]]:
    """Number, plane, top and left of each segment."""
    number = 0
    for plane in range(layout.planes):
        for row in range(layout.down):
            for column in range(layout.across):
                yield number, plane, row * layout.segment[0], column * layout.segment[1]
                number += 1


def _bytes_of(data: bytes, page: Any, number: int) -> bytes | None:
    """The bytes of one segment as stored; None for one that a sparse file leaves out, whose values are 0."""
    if number >= min(len(page.dataoffsets), len(page.databytecounts)):
        raise truncated()
    start, length = page.dataoffsets[number], page.databytecounts[number]
    if start == 0 and length == 0 and any(page.databytecounts):
        return None
    if length <= 0 or start <= 0 or start + length > len(data):
        raise truncated()
    return data[start : start + length]


def _segment(packed: bytes, page: Any, layout: SegmentLayout, size: tuple[int, int]) -> Values:
    """One strip or tile of `size` (height, width): (height, width, samples)."""
    if layout.compression == JPEG:
        return _jpeg(packed, page, layout, size)
    if layout.compression in FAX:
        return _fax(packed, page, size)
    units = math.ceil(size[0] / layout.unit[0]), math.ceil(size[1] / layout.unit[1])
    numbers = layout.samples if layout.unit == (1, 1) else layout.unit[0] * layout.unit[1] + 2
    row = (units[1] * numbers * layout.bits + 7) // 8
    if layout.reversed_bits:
        packed = packed.translate(REVERSED_BITS)
    raw = _unpacked(packed, layout.compression, row, units[0])
    if len(raw) < row * units[0]:
        raise truncated()
    if layout.unit != (1, 1):
        return _shared_hues(raw, layout.unit, units, size)
    if layout.bits not in (8, 16, 32, 64):
        return _small_numbers(raw, layout.bits, size, layout.samples)
    if layout.predictor == 3:
        return _float_differences(raw, layout, size)
    flat = np.frombuffer(raw, layout.dtype, size[0] * size[1] * layout.samples)
    values = flat.reshape(*size, layout.samples).astype(layout.dtype.newbyteorder("="), copy=False)
    if layout.predictor == 1:
        return values
    unsigned = values.view(f"u{values.dtype.itemsize}")
    return np.cumsum(unsigned, axis=1, dtype=unsigned.dtype).view(values.dtype)


def _unpacked(packed: bytes, compression: int, row: int, rows: int) -> bytes:
    """What a segment unpacks to, at most `row` bytes for each of its rows."""
    most = row * rows
    if compression == NONE:
        return packed
    if compression in DEFLATE:
        return zlib.decompressobj().decompress(packed, most)
    if compression == LZMA:
        return lzma.LZMADecompressor().decompress(packed, most)
    # To libtiff the bytes are the pixels of a grey picture of 8 bits.
    tags = {258: 8, 259: compression, 262: 1}
    return _by_libtiff(packed, (rows, row), tags).tobytes()


def _by_libtiff(packed: bytes, size: tuple[int, int], more: dict[int, int]) -> Values:
    """Let Pillow's libtiff decode a segment, wrapped as a file of one strip of `size` (height, width)."""
    tags = {256: size[1], 257: size[0], 273: 8, 277: 1, 278: size[0], 279: len(packed), **more}
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, LONG, 1, tags[tag]) for tag in sorted(tags)
    )
    at = 8 + len(packed) + len(packed) % 2
    file = struct.pack("<2sHI", b"II", 42, at) + packed + bytes(len(packed) % 2) + directory + bytes(4)
    return np.asarray(TiffImageFile(io.BytesIO(file)))


def _fax(packed: bytes, page: Any, size: tuple[int, int]) -> Values:
    options = {tag: int(page.tags.valueof(tag, 0)) for tag in (292, 293) if tag in page.tags}
    tags = {258: 1, 259: int(page.compression), 262: 1, 266: int(page.fillorder), **options}
    return _by_libtiff(packed, size, tags).astype(np.uint8)[..., None]


def _jpeg(packed: bytes, page: Any, layout: SegmentLayout, size: tuple[int, int]) -> Values:
    """A segment that is a JPEG of its own, but for the tables that all segments share.

    Whether its colours are YCbCr is said by the TIFF and not by the JPEG, so that is written into it.
    """
    tables = page.jpegtables
    if tables:
        packed = packed[:2] + bytes(tables[2:-2]) + packed[2:]
    header = inspect(packed, jpeg_header)
    if header.components != layout.samples or any(a < b for a, b in zip(header.size, size, strict=True)):
        raise ImageError("damaged", "The file is damaged: a part of it is not of the size stated.")
    check_pixels(header.size, 4 * size[0] * size[1] + 2**20)
    luminance = page.photometric == 6 and layout.samples == 3
    decoder = JpegImageFile(io.BytesIO(jpeg_parts(packed, header, luminance)))
    values = np.asarray(decoder)
    # Pillow takes inks as inverted, as Photoshop's own JPEGs have them; those in a TIFF are not.
    values = 255 - values if layout.samples == 4 else values
    return values.reshape(*header.size, layout.samples)[: size[0], : size[1]]


def _small_numbers(raw: bytes, bits: int, size: tuple[int, int], samples: int) -> Values:
    """Unpack numbers of fewer than 16 bits; each row begins at a byte, the first number in its upper bits."""
    count = size[1] * samples
    row = (count * bits + 7) // 8
    packed = np.frombuffer(raw, np.uint8, row * size[0]).reshape(size[0], row)
    ones = np.unpackbits(packed, axis=1, count=count * bits).reshape(size[0], count, bits)
    result = np.zeros((size[0], count), np.uint8 if bits < 8 else np.uint16)
    for bit in range(bits):
        result |= ones[..., bit].astype(result.dtype) << result.dtype.type(bits - 1 - bit)
    return result.reshape(*size, samples)


def _shared_hues(raw: bytes, unit: tuple[int, int], units: tuple[int, int], size: tuple[int, int]) -> Values:
    """Units of `unit` (rows, columns) brightnesses and two hues to pixels (height, width, 3)."""
    numbers = unit[0] * unit[1] + 2
    packed = np.frombuffer(raw, np.uint8, units[0] * units[1] * numbers).reshape(*units, numbers)
    bright = packed[..., :-2].reshape(*units, *unit).transpose(0, 2, 1, 3).reshape(units[0] * unit[0], -1)
    hues = packed[..., -2:].repeat(unit[0], axis=0).repeat(unit[1], axis=1)
    return np.dstack([bright, hues])[: size[0], : size[1]]


def _float_differences(raw: bytes, layout: SegmentLayout, size: tuple[int, int]) -> Values:
    """Predictor 3: the bytes of a row lie sorted by significance, highest first, each as a difference to the last."""
    width, count = layout.dtype.itemsize, size[1] * layout.samples
    deltas = np.frombuffer(raw, np.uint8, size[0] * count * width).reshape(size[0], -1, layout.samples)
    planes = np.cumsum(deltas, axis=1, dtype=np.uint8).reshape(size[0], width, count)
    values = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{width}")
    return values.reshape(*size, layout.samples).astype(f"f{width}")
