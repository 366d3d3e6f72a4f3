"""Files made to break a reader, and the harmless ones that they are compared with. All are made here, none is shipped.

Those that Pillow would not write are written by hand.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from functools import cache

import numpy as np
import PIL.Image

from ...preprocessing import Uint8Array

CANARY = "CANARY-Doe^Jane-1947-48.2082N"
"""Stands for a patient's name and place; must come back nowhere."""


@cache
def film(height: int = 96, width: int = 128) -> Uint8Array:
    """A grey picture of soft shapes, (H, W) uint8, different at every corner."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    lungs = np.exp(-(((x - 0.3) / 0.12) ** 2 + ((y - 0.5) / 0.3) ** 2)) + np.exp(
        -(((x - 0.7) / 0.13) ** 2 + ((y - 0.55) / 0.28) ** 2)
    )
    values = 200 - 120 * lungs + 30 * x + 10 * np.sin(9 * y)
    pixels: Uint8Array = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


def encoded(picture: Uint8Array | PIL.Image.Image, kind: str, **options: object) -> bytes:
    """A picture in a format that Pillow writes."""
    file = io.BytesIO()
    (picture if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def plain_png() -> bytes:
    """A harmless PNG."""
    return encoded(film(), "PNG")


def plain_jpeg() -> bytes:
    """A harmless JPEG."""
    return encoded(film(), "JPEG", quality=90)


def png_of(size: tuple[int, int], depth: int, colour: int, body: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand: `size` (height, width), its deflated `body`, and chunks before it."""
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def png_with(*chunks: tuple[bytes, bytes], values: Uint8Array | None = None) -> bytes:
    """A grey PNG of 8 or 16 bits with chunks of one's own."""
    values = film() if values is None else values
    depth = 8 * values.dtype.itemsize
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    return png_of((values.shape[0], values.shape[1]), depth, 0, zlib.compress(rows), *chunks)


def sixteen_bits() -> bytes:
    """The film as a 16-bit grey PNG that uses the whole range."""
    return png_with(values=(film().astype(np.uint16) * 257))  # type: ignore[arg-type]


def huge_png() -> bytes:
    """60,000 x 60,000 pixels by its header."""
    return png_of((60_000, 60_000), 8, 2, zlib.compress(bytes(1000)))


def large_png() -> bytes:
    """177 megapixels of one bit, whole, in some 20 kB."""
    side = 13_304
    squeeze = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    return png_of((side, side), 1, 0, b"".join([*(squeeze.compress(row) for _ in range(side)), squeeze.flush()]))


def text_bomb() -> bytes:
    """A small PNG with a text of 200 MB, compressed."""
    squeeze = zlib.compressobj(9)
    block = b"A" * 2**20
    text = b"".join([*(squeeze.compress(block) for _ in range(200)), squeeze.flush()])
    return png_with((b"zTXt", b"Comment\0\0" + text))


def frames(kind: str, count: int = 500) -> bytes:
    """An animation: GIF, PNG or WEBP."""
    base = film(16, 24)
    pictures = [PIL.Image.fromarray(np.roll(base, n, axis=1)) for n in range(count)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])


def jpeg_and(tail: bytes) -> bytes:
    """A JPEG with something behind it."""
    return plain_jpeg() + tail


def zip_tail() -> bytes:
    """A ZIP that holds the canary."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(CANARY, CANARY)
    return packed.getvalue()


def exif(orientation: int = 1) -> bytes:
    """An EXIF block (from its byte order mark on) with the canary as artist and as description, and an orientation."""
    text = CANARY.encode() + b"\0"
    entries = [(0x010E, 2, len(text), 0), (0x0112, 3, 1, orientation), (0x013B, 2, len(text), 0)]
    at = 8 + 2 + 12 * len(entries) + 4
    directory = b"".join(
        struct.pack("<HHI", tag, kind, count) + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", at))
        for tag, kind, count, value in entries
    )
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries)) + directory + bytes(4) + text


def oriented(orientation: int) -> bytes:
    """The film as a camera held that way stores it, so that all eight show the same."""
    upright = film()
    mirrored = upright[:, ::-1]
    stored = {
        1: upright,
        2: mirrored,
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    return png_with((b"eXIf", exif(orientation)), values=np.ascontiguousarray(stored))


def canary_files() -> dict[str, bytes]:
    """Pictures with the canary in every place that a writer puts a name."""
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(CANARY)) + CANARY.encode()
    jpeg = encoded(film(), "JPEG", quality=90, exif=b"Exif\0\0" + exif())
    text = CANARY.encode("latin-1")
    chunks = (
        (b"tEXt", b"Author\0" + text),
        (b"zTXt", b"Title\0\0" + zlib.compress(text)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text),
        (b"eXIf", exif()),
    )
    return {
        "jpeg": jpeg[:2] + comment + jpeg[2:],
        "png": png_with(*chunks),
        "webp": encoded(film(), "WEBP", exif=exif(), xmp=CANARY.encode()),
        "gif": encoded(film(), "GIF", comment=CANARY.encode()),
        "dicom": dicom(),
    }


def dicom(
    photometric: str = "MONOCHROME2",
    *,
    values: Uint8Array | None = None,
    frames: int | None = None,
    pixels: bool = True,
    rescale: tuple[float, float] | None = None,
    window: tuple[float, float] | None = None,
) -> bytes:
    """An uncompressed DICOM file of 8 bits by hand, of a patient named like the canary."""
    values = film() if values is None else values
    syntax = b"1.2.840.10008.1.2.1\0"
    meta = _element(2, 0x10, b"UI", syntax)
    group = _element(2, 0, b"UL", struct.pack("<I", len(meta)))
    short = struct.Struct("<H").pack
    body = [
        _element(0x0008, 0x0060, b"CS", b"CR"),
        _element(0x0010, 0x0010, b"PN", CANARY.encode()),
        _element(0x0010, 0x4000, b"LT", CANARY.encode()),
        _element(0x0028, 0x0002, b"US", short(1)),
        _element(0x0028, 0x0004, b"CS", photometric.encode()),
        *([] if frames is None else [_element(0x0028, 0x0008, b"IS", str(frames).encode())]),
        _element(0x0028, 0x0010, b"US", short(values.shape[0])),
        _element(0x0028, 0x0011, b"US", short(values.shape[1])),
        _element(0x0028, 0x0100, b"US", short(8)),
        _element(0x0028, 0x0101, b"US", short(8)),
        _element(0x0028, 0x0102, b"US", short(7)),
        _element(0x0028, 0x0103, b"US", short(0)),
        *(
            []
            if window is None
            else [_element(0x0028, 0x1050 + i, b"DS", f"{n:g}".encode()) for i, n in enumerate(window)]
        ),
        *(
            []
            if rescale is None
            else [_element(0x0028, 0x1052 + i, b"DS", f"{n:g}".encode()) for i, n in enumerate(rescale)]
        ),
        *([_element(0x7FE0, 0x0010, b"OB", values.tobytes() * (frames or 1))] if pixels else []),
    ]
    return bytes(128) + b"DICM" + group + meta + b"".join(body)


def _element(group: int, element: int, kind: bytes, value: bytes) -> bytes:
    value += (b"\0" if kind in (b"UI", b"OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH", group, element) + kind
    if kind == b"OB":
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


OTHERS: dict[str, bytes] = {
    "HTML": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "SVG with a script": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "PSD": b"8BPS\0\1" + bytes(40),
    "PDF": b"%PDF-1.7\n1 0 obj<<>>endobj\n",
    "text": b"only words",
}
"""What must not be taken for a picture, whatever it is named."""


def tiff() -> bytes:
    """A TIFF, which only training reads."""
    return encoded(film(), "TIFF")
