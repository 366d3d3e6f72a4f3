"""The image formats that are read: how each is recognised, named and decoded.

This table is the only list of formats. A file is recognised by its first bytes; extensions only tell which files of a
folder or an archive are images.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import ImageError
from . import containers
from .conversion import Decoded
from .unread import refusal

Walk = Callable[[bytes], containers.Container]
Decoder = Callable[[io.BytesIO], ImageFile]


@dataclass(frozen=True, slots=True)
class Format:
    """One image format.

    `name` is what `Image.format` holds and `title` what people call it. `signature` matches the first bytes of a file.
    The first of `extensions` is the one that files are written with. Local commands and training read every format; a
    server reads those that are `served`, unless it is configured otherwise.

    A format is decoded either by `walk`, which inspects the file, and `decoder`, a Pillow class; or by `decode`, which
    takes the bytes and the most pixels allowed.
    """

    name: str
    title: str
    signature: re.Pattern[bytes]
    extensions: tuple[str, ...]
    media_types: tuple[str, ...]
    walk: Walk | None = None
    decoder: Decoder | None = None
    decode: Callable[[bytes, int], Decoded] | None = None
    served: bool = True


def _dicom(data: bytes, most_pixels: int) -> Decoded:
    from .dicom import decode

    return decode(data, most_pixels)


def _tiff(data: bytes, most_pixels: int) -> Decoded:
    from .tiff import decode

    return decode(data, most_pixels)


# DICOM comes first: its 128 free bytes may hold the signature of another format, such as TIFF. Calling Pillow's classes
# instead of PIL.Image.open keeps dozens of other decoders out of reach, and avoids a warning about sizes that are
# bounded here. "BM" alone begins many texts, so the length of the header that follows in a BMP is matched too. Canon's
# raw images (CR2) begin like TIFF, and are named in images/unread.py.
FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "DICOM",
            "DICOM",
            # With its preamble; or, without, by the first element, of group 2 or 8, in each of the three encodings.
            re.compile(
                rb".{128}DICM|\x02\0[\0\x01\x02\x10]\0[A-Z]{2}|\x08\0[\0-\x30]\0([A-Z]{2}|.[\0\x01]\0\0)"
                rb"|\0\x08\0[\0-\x30][A-Z]{2}",
                re.DOTALL,
            ),
            (".dcm", ".dicom", ".dic", ".ima"),
            ("application/dicom", "image/dicom"),
            decode=_dicom,
        ),
        Format(
            "JPEG",
            "JPEG",
            re.compile(rb"\xff\xd8\xff"),
            (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"),
            ("image/jpeg", "image/jpg", "image/pjpeg", "image/jfif"),
            containers.jpeg,
            JpegImageFile,
        ),
        Format(
            "PNG",
            "PNG",
            re.compile(rb"\x89PNG\r\n\x1a\n"),
            (".png", ".apng"),
            ("image/png", "image/x-png", "image/apng", "image/vnd.mozilla.apng"),
            containers.png,
            PngImageFile,
        ),
        Format(
            "WEBP",
            "WebP",
            re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
            (".webp",),
            ("image/webp",),
            containers.webp,
            WebPImageFile,
        ),
        Format("GIF", "GIF", re.compile(rb"GIF8[79]a"), (".gif",), ("image/gif",), containers.gif, GifImageFile),
        Format(
            "TIFF",
            "TIFF",
            re.compile(rb"(?!II\*\0.{4}CR\x02)(II[*+]\0|MM\0[*+])", re.DOTALL),
            (".tif", ".tiff"),
            ("image/tiff", "image/x-tiff", "image/tif"),
            decode=_tiff,
            served=False,
        ),
        Format(
            "BMP",
            "BMP",
            # Or without "BM", as a DIB: by its length, its one plane, its bits and its compression.
            re.compile(
                rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0|\x0c\0\0\0.{4}\x01\0[\x01\x04\x08\x18]\0"
                rb"|[\x28\x34\x38\x6c\x7c]\0\0\0.{8}\x01\0[\x01\x04\x08\x10\x18\x20]\0[\0-\x06]\0\0\0",
                re.DOTALL,
            ),
            (".bmp", ".dib"),
            ("image/bmp", "image/x-bmp", "image/x-ms-bmp", "image/x-windows-bmp"),
            containers.bmp,
            BmpImageFile,
        ),
    )
}

ALL_FORMATS = frozenset(FORMATS)
SERVED_FORMATS = frozenset(name for name, row in FORMATS.items() if row.served)
IMAGE_SUFFIXES = frozenset(suffix for row in FORMATS.values() for suffix in row.extensions)
BY_MEDIA_TYPE = {media_type: row for row in FORMATS.values() for media_type in row.media_types}


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes of a file are those of a DICOM file with its preamble."""
    return head[128:132] == b"DICM"


def titles(formats: Collection[str] = ALL_FORMATS) -> list[str]:
    """What people call these formats, in the order of the table."""
    return [row.title for name, row in FORMATS.items() if name in formats]


def recognise(data: bytes, formats: Collection[str] = ALL_FORMATS) -> Format:
    """The format of a file, from its first bytes.

    Raises ImageError: `empty`, `not-an-image`, or `unsupported-format`, also for a format that is not in `formats`.
    """
    if not data:
        raise ImageError("empty", "The file is empty.")
    row = next((row for row in FORMATS.values() if row.signature.match(data)), None)
    if row is None:
        raise refusal(data, titles(formats))
    if row.name not in formats:
        *most, last = titles(formats)
        reason = f"The file is a {row.title} image; only {', '.join(most)} and {last} are read here. Save it as PNG."
        raise ImageError("unsupported-format", reason)
    return row


def misnamed(suffix: str, name: str) -> str:
    """A sentence when `suffix` belongs to another format than `name`, else ""."""
    if suffix not in IMAGE_SUFFIXES or suffix in FORMATS[name].extensions:
        return ""
    return f"The file is named {suffix} but holds {FORMATS[name].title}."
