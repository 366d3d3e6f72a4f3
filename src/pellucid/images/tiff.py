"""The first picture of a TIFF file to 8 bits.

Pillow's own reader is used for old JPEG only: 16-bit colours in separate planes, compressed numbers in the other byte
order and subsampled colours come out of it as other pixels, or not at all.
"""

from __future__ import annotations

import io
import itertools
import struct
from importlib.util import find_spec
from typing import Any

import numpy as np
import PIL.Image
from PIL.Image import Transpose

from ..errors import ImageError
from .containers import check_pixels, quiet, truncated
from .conversion import (
    SEVERAL,
    SIXTEEN_TO_EIGHT,
    Decoded,
    Uint8Array,
    on_black,
    opacity_to_eight,
    through_table,
    to_depth_eight,
)
from .tiff_segments import JPEG, YCBCR, Values, layout_of, read_values

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, CIELAB, ICCLAB = 0, 1, 2, 3, 4, 5, 8, 9
COLOURS = {RGB: 3, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
OLD_JPEG = 6
# Bytes of one number, by the type that a directory states.
NUMBER_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
MOST_PAGES = 64
MOST_SAMPLES = 16

BANDS = "The TIFF does not say that its 3 bands are colours; they were read as red, green and blue."
SLIDE = " It is a whole-slide image: cut patches from it, for example with OpenSlide or QuPath, and classify those."
RAW = "The file is a camera's raw image, which is not read: develop it to JPEG, PNG or TIFF, for example with rawpy."
# What only raw images hold: the mosaic of a sensor, and the compression of Sony, Nikon and Pentax.
DNG_VERSION = 50706
RAW_COLOURS = (32803, 34892)
RAW_CODES = (32767, 34713, 65535)
SLIDES = ("svs", "ndpi", "scn", "bif", "philips")


def decode(data: bytes, most_pixels: int) -> Decoded:
    """Decode the first picture of a TIFF file; thumbnails and masks are passed over.

    Raises ImageError: `damaged`, `too-large`, or `unsupported-format` for a variant that is not read.
    """
    import tifffile

    with quiet("tifffile"):
        file = tifffile.TiffFile(io.BytesIO(data))
        page, several = _first_picture(file)
        layout = layout_of(page)
    _check(file, page, most_pixels)
    _check_directory(data, page)
    colours = COLOURS.get(page.photometric, 1)
    if page.compression == OLD_JPEG:
        picture, mode, warnings = _by_pillow(data, page)
    else:
        wanted = _samples(page, colours)
        values = read_values(data, page, layout, wanted) if layout else _by_tifffile(page)[..., :wanted]
        picture, mode, warnings = _to_eight_bits(values, page)
    orientation = page.tags.valueof(274, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    return Decoded(picture, mode, ((SEVERAL,) if several else ()) + warnings, orientation)


def _first_picture(file: Any) -> tuple[Any, bool]:
    """The first page that is neither a thumbnail nor a mask, and whether there are more of that kind."""
    pages = []
    for number in range(MOST_PAGES):
        try:
            page = file.pages[number]
        except IndexError:
            break
        if not int(page.tags.valueof(254, 0)) & 0b101:
            pages.append(page)
        if len(pages) == 2:
            break
    first = file.pages[0]
    if (not pages and 330 in first.tags) or _is_raw(first):
        raise ImageError("unsupported-format", RAW)
    return (pages[0] if pages else first), len(pages) > 1


def _is_raw(first: Any) -> bool:
    """Whether a file is a camera's raw image, by its first page and the pages below that: DNG, NEF, ARW, PEF, ..."""
    if DNG_VERSION in first.tags:
        return True
    pages = [first]
    if 330 in first.tags:
        pages += [page for page in itertools.islice(first.pages, MOST_PAGES) if page is not None]
    return any(page.tags.valueof(262) in RAW_COLOURS or page.compression in RAW_CODES for page in pages)


def _check(file: Any, page: Any, most_pixels: int) -> None:
    try:
        check_pixels((page.imagelength, page.imagewidth), most_pixels)
    except ImageError as error:
        slide = any(getattr(file, f"is_{kind}", False) for kind in SLIDES)
        raise ImageError(error.code, error.reason + SLIDE * slide) from None
    if page.imagedepth != 1:
        raise ImageError("unsupported-format", "The TIFF is a volume and not a picture; save its slices one by one.")
    if page.samplesperpixel > MOST_SAMPLES:
        raise _unsupported(f"{page.samplesperpixel} bands", "Save three bands as RGB, or one as grey.")


def _check_directory(data: bytes, page: Any) -> None:
    """Refuse a file that ends within the page's directory or one of its values, for which tifffile assumes defaults."""
    kind = page.parent.tiff
    order, word = kind.offsetformat
    (count,) = struct.unpack_from(kind.tagnoformat, data, page.offset)
    first = page.offset + kind.tagnosize
    ends = [first + count * kind.tagsize + kind.offsetsize]
    for at in range(first, first + count * kind.tagsize, kind.tagsize):
        number, length = struct.unpack_from(f"{order}H{word}", data, at + 2)
        size = NUMBER_BYTES.get(number, 0) * length
        if size > kind.offsetsize:
            ends.append(struct.unpack_from(kind.offsetformat, data, at + kind.tagsize - kind.offsetsize)[0] + size)
    if max(ends) > len(data):
        raise truncated()


def _unsupported(what: str, advice: str = "Save it as PNG.") -> ImageError:
    return ImageError("unsupported-format", f"A TIFF with {what} is not read. {advice}")


def _samples(page: Any, colours: int) -> int:
    """How many samples of each pixel are needed: the colours, and opacity where there is one."""
    kind, there = page.photometric, page.samplesperpixel
    if kind not in (*COLOURS, WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE, MASK):
        raise _unsupported(f"{getattr(kind, 'name', kind)} colours")
    if there < colours:
        raise ImageError("damaged", "The file is damaged: it states fewer samples than its colours need.")
    if kind == BLACK_IS_ZERO and there >= 3:
        if there == 3:
            return 3
        raise _unsupported(f"{there} bands", "Save three bands as RGB, or one as grey.")
    return colours + (_opacity(page, colours) is not None)


def _opacity(page: Any, colours: int) -> bool | None:
    """Whether the sample behind the colours is an opacity that they are multiplied by; None when it is no opacity."""
    if page.samplesperpixel <= colours or page.photometric not in (RGB, BLACK_IS_ZERO, WHITE_IS_ZERO, PALETTE):
        return None
    if not page.extrasamples:
        # Writers that forget the tag mean opacity, as Pillow and libtiff assume.
        return False if page.photometric == RGB and page.samplesperpixel == 4 else None
    return {1: True, 2: False}.get(int(page.extrasamples[0]))


def _by_tifffile(page: Any) -> Values:
    """Values (height, width, samples) by tifffile and imagecodecs."""
    with quiet("tifffile"):
        try:
            values = page.asarray(squeeze=False, maxworkers=1)
        except (ValueError, NotImplementedError, KeyError):
            raise _cannot(page) from None
    if values.dtype.kind not in "buif":
        raise _unsupported(f"numbers of the type {values.dtype}")
    planes = values.reshape(page.shaped)[:, 0]
    return planes[0] if planes.shape[0] == 1 else np.moveaxis(planes[..., 0], 0, -1)


def _cannot(page: Any) -> ImageError:
    """Why tifffile does not decode a page: nothing reads such numbers, a codec is missing, or the file is damaged."""
    if page.dtype is None:
        return _unsupported(f"numbers of {page.bitspersample} bits and sample format {int(page.sampleformat)}")
    if find_spec("imagecodecs") is None:
        name = getattr(page.compression, "name", page.compression)
        what = f"{name} compression" if page.compression != 1 else f"numbers of {page.bitspersample} bits"
        return _unsupported(what, "It needs another library: pip install 'pellucid[codecs]'. Or save it as PNG.")
    return ImageError("damaged", "The file is damaged: it cannot be decoded to the end.")


def _to_eight_bits(values: Values, page: Any) -> tuple[PIL.Image.Image, str, tuple[str, ...]]:
    """A picture of mode L or RGB, what the file held, and sentences about what was done."""
    kind, colours = page.photometric, COLOURS.get(page.photometric, 1)
    if kind == BLACK_IS_ZERO and values.shape[2] == 3:
        colours = 3
    if kind == PALETTE:
        return PIL.Image.fromarray(_looked_up(values[..., 0], page)), "P", ()
    # Numbers of different lengths, as in RGB of 5, 6 and 5 bits, come rescaled from tifffile.
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8 * values.dtype.itemsize
    depth = bits if values.dtype.kind == "u" else None
    eight, warnings = to_depth_eight(values[..., :colours], depth)
    if kind == WHITE_IS_ZERO:
        eight = 255 - eight
    mode = _mode(values.dtype, bits, colours, kind)
    if kind == BLACK_IS_ZERO and colours == 3:
        warnings = (BANDS, *warnings)
    if kind == YCBCR and page.compression != JPEG:
        return PIL.Image.fromarray(eight, "YCbCr").convert("RGB"), "YCbCr", warnings
    if kind in (CMYK, CIELAB, ICCLAB):
        # Pillow expects the two hues of CIELAB to be signed, as TIFF has them; those of ICCLAB count from 128.
        shifted = eight ^ np.array([0, 128, 128], np.uint8) if kind == ICCLAB else eight
        return PIL.Image.fromarray(shifted, "CMYK" if kind == CMYK else "LAB").convert("RGB"), mode, warnings
    picture = PIL.Image.fromarray(eight[..., 0] if colours == 1 else eight)
    multiplied = _opacity(page, colours)
    if multiplied is not None and values.shape[2] > colours:
        opacity = opacity_to_eight(values[..., colours], values[..., :colours], depth)
        picture, more = on_black(picture, opacity, multiplied)
        return picture, mode + "A", warnings + more
    return picture, mode, warnings


def _looked_up(index: Values, page: Any) -> Uint8Array:
    table = np.asarray(page.tags.valueof(320), np.uint16).reshape(3, -1)
    # Old writers fill the table with 8 bits instead of 16.
    colours = table.astype(np.uint8) if table.max() < 256 else through_table(SIXTEEN_TO_EIGHT, table)
    return np.stack([through_table(row, index) for row in colours], axis=-1)


def _mode(dtype: np.dtype[Any], bits: int, colours: int, kind: int) -> str:
    """Pillow's name where there is one."""
    name = {CMYK: "CMYK", CIELAB: "LAB", ICCLAB: "LAB"}.get(kind, "L" if colours == 1 else "RGB")
    if dtype.kind == "u" and bits <= 8:
        return "1" if bits == 1 else name
    if colours == 1:
        return {"u2": "I;16", "f4": "F"}.get(f"{dtype.kind}{dtype.itemsize}", "I" if dtype.kind in "ui" else "F")
    return f"{name};{bits}" + "f" * (dtype.kind == "f")


def _by_pillow(data: bytes, page: Any) -> tuple[PIL.Image.Image, str, tuple[str, ...]]:
    """A page by Pillow's libtiff, as stored: Pillow turns it upright, and this turns it back."""
    from PIL.TiffImagePlugin import TiffImageFile

    decoder = TiffImageFile(io.BytesIO(data))
    check_pixels((decoder.height, decoder.width), 4 * page.imagelength * page.imagewidth)
    back = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }.get(page.tags.valueof(274, 1))
    decoder.load()
    stored = decoder if back is None else decoder.transpose(back)
    return stored.convert("L" if decoder.mode in ("1", "L") else "RGB"), decoder.mode, ()
