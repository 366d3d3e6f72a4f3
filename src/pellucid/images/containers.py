"""What an image file says of itself, read before any decoder sees it.

Walking the container in Python, without decoding, gives the size (so that it can be bounded first), the orientation,
and whether the file is whole. It also leaves out what no decoder needs: text, EXIF and other metadata never reach
Pillow, which would parse them, keep them, and warn about them.

One function for each format walks a file. It raises ImageError: `damaged` for a file that breaks off or contradicts
itself, `unsupported-format` for a variant that is not read.
"""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ImageError

# Far above what any writer produces; each bounds a loop over a hostile file.
MOST_SEGMENTS = 4096
MOST_CHUNKS = 100_000
MOST_SCANS = 100

# By the marker of their frame.
LOSSLESS_JPEG, JPEG_LS = 0xC3, 0xF7
UNREAD_JPEGS = {
    JPEG_LS: "a JPEG-LS image, which imagecodecs or pyjpegls reads",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "a hierarchical JPEG, which hardly any program reads"),
    0xCB: "a lossless JPEG with arithmetic coding, which hardly any program reads",
}

Walked = TypeVar("Walked")

_warnings_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Container:
    """One image file, not yet decoded.

    `size` is (height, width) as stored, `orientation` EXIF's 1 to 8, `several` says that more pictures than the first
    are in the file, `depth` is the bits of a sample, `scalable` says that it can be decoded at a reduced size.
    `body` is what a decoder needs of it.
    """

    size: tuple[int, int]
    body: bytes
    orientation: int = 1
    several: bool = False
    depth: int = 8
    scalable: bool = False


def inspect(data: bytes, walk: Callable[[bytes], Walked]) -> Walked:
    """Walk a file with one of the functions below. Raises ImageError, as they do."""
    try:
        return walk(data)
    except (struct.error, IndexError):
        raise truncated() from None


def truncated() -> ImageError:
    """The error for a file that ends too early."""
    return ImageError("damaged", "The file is truncated: it ends before the picture does.")


def check_pixels(size: tuple[int, int], most: int) -> None:
    """Refuse a (height, width) of no or more than `most` pixels, before anything of that size is allocated."""
    height, width = size
    if height <= 0 or width <= 0:
        raise _contradicts()
    if height * width > most:
        reason = f"The picture is {width} x {height} pixels; at most {most / 1e6:g} megapixels are read."
        raise ImageError("too-large", reason)


def _contradicts() -> ImageError:
    return ImageError("damaged", "The file is damaged: what it says of itself does not fit together.")


def orientation_of(exif: bytes) -> int:
    """Orientation 1 to 8 from the first directory of an EXIF block (from its byte order mark on); 1 when none.

    Reference: Exif 2.32, section 4.6.4, tag 274.
    """
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, at)
            if tag == 274:
                (value,) = struct.unpack_from(order + {3: "H", 4: "I"}[kind], exif, at + 8)
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG's segments say up to `end`, where its first scan begins; `kept` are those a decoder needs.

    `one_scan` says that the first scan is the whole picture; `process` is the marker of the frame, which tells the kind
    of JPEG.
    """

    size: tuple[int, int]
    process: int
    bits: int
    components: int
    one_scan: bool
    orientation: int
    kept: list[bytes]
    end: int


def jpeg_header(data: bytes) -> JpegHeader:
    """Walk the segments of a JPEG up to its first scan. Reference: ITU-T T.81, annex B."""
    frame, process, one_scan, orientation, kept, at = None, 0, False, 0, [data[:2]], 2
    for _ in range(MOST_SEGMENTS):
        # Like libjpeg, step over stray bytes between segments.
        at = data.find(b"\xff", at)
        if at < 0:
            raise truncated()
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker <= 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        segment = data[at : at + 2 + length]
        if marker == 0xD9 or length < 2 or len(segment) < 2 + length:
            raise truncated()
        at += len(segment)
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            if frame is not None:
                raise _contradicts()
            frame, process = struct.unpack_from(">BHHB", segment, 4), marker
            one_scan = marker in (0xC0, 0xC1)
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            orientation = orientation or orientation_of(segment[10:])
        # JFIF (E0) and Adobe (EE) segments tell the colour space; all other application data and comments go.
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
        if marker == 0xDA:
            one_scan = one_scan and frame is not None and segment[4] == frame[3]
            break
    if frame is None or 0 in frame[1:3]:
        raise _contradicts()
    bits, height, width, components = frame
    return JpegHeader((height, width), process, bits, components, one_scan, orientation or 1, kept, at)


def jpeg_parts(data: bytes, header: JpegHeader, luminance: bool) -> bytes:
    """The same JPEG with an Adobe segment that says whether its colours are YCbCr, instead of what it says itself."""
    kept = [part for part in header.kept[1:-1] if part[1] not in (0xE0, 0xEE)]
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(4) + bytes([luminance])
    return b"".join([header.kept[0], adobe, *kept, header.kept[-1], data[header.end :]])


def jpeg(data: bytes) -> Container:
    """Reference: ITU-T T.81, annex B."""
    header = jpeg_header(data)
    if header.process in UNREAD_JPEGS:
        raise ImageError("unsupported-format", f"The file is {UNREAD_JPEGS[header.process]}. Save it as PNG.")
    if header.bits != 8 or header.components not in (1, 3, 4):
        channels = "1 channel" if header.components == 1 else f"{header.components} channels"
        reason = f"The file is a JPEG of {header.bits} bits and {channels}, which is not read. Save it as PNG."
        raise ImageError("unsupported-format", reason)
    # Within a scan FF is always followed by 00, so this finds a true end marker. A file without one was cut off, and a
    # lenient decoder would fill the rest with grey.
    if data.rfind(b"\xff\xd9", header.end) < 0:
        raise truncated()
    # Empty scans cost a decoder a pass over the whole picture each, and almost no bytes.
    if not header.one_scan and data.count(b"\xff\xda", header.end) > MOST_SCANS:
        raise ImageError("damaged", f"The file is damaged: a JPEG with more than {MOST_SCANS} scans.")
    body = b"".join([*header.kept, data[header.end :]])
    return Container(header.size, body, header.orientation, scalable=header.process != LOSSLESS_JPEG)


def png(data: bytes) -> Container:
    """Reference: W3C PNG (Third Edition), section 5."""
    view, at, kept, orientation, several, depth = memoryview(data), 8, [memoryview(data)[:8]], 1, False, 0
    width = height = 0
    for number in range(MOST_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise truncated()
        if (kind == b"IHDR") != (number == 0):
            raise _contradicts()
        if kind == b"IHDR":
            width, height, depth = struct.unpack_from(">IIB", data, at + 8)
        elif kind == b"eXIf":
            orientation = orientation_of(data[at + 8 : end - 4])
        elif kind == b"acTL":
            several = struct.unpack_from(">I", data, at + 8)[0] > 1
        # Pillow compares the transparent colour of a 16-bit file with 8-bit pixels.
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or (kind == b"tRNS" and depth < 16):
            if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise ImageError("damaged", "The file is damaged: a checksum in it does not fit.")
            kept.append(view[at:end])
        at = end
        if kind == b"IEND":
            break
    else:
        raise _contradicts()
    return Container((height, width), b"".join(kept), orientation, several, depth)


def webp(data: bytes) -> Container:
    """Reference: RFC 9649."""
    (length,) = struct.unpack_from("<I", data, 4)
    end = 8 + length
    if end > len(data):
        raise truncated()
    size, orientation, frames, at = (0, 0), 1, 0, 12
    for _ in range(MOST_CHUNKS):
        if at >= end:
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise truncated()
        if at == 12:
            size = _webp_size(kind, data[at + 8 : at + 8 + length])
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            block = data[at + 8 : at + 8 + length]
            orientation = orientation_of(block.removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return Container(size, data[:end], orientation, frames > 1)


def _webp_size(kind: bytes, first: bytes) -> tuple[int, int]:
    """Size from the first chunk, the one that decoders go by."""
    if kind == b"VP8X":
        return int.from_bytes(first[7:10], "little") + 1, int.from_bytes(first[4:7], "little") + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", first, 6)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", first, 1)
        return (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
    raise _contradicts()


def gif(data: bytes) -> Container:
    """Cut after the first picture. Reference: CompuServe GIF89a."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, first_end = 13 + _palette_bytes(flags), 0
    while at < len(data):
        if data[at] == 0x21:
            at = _after_blocks(data, at + 2)
        elif data[at] == 0x2C and first_end:
            return Container((height, width), data[:first_end] + b";", several=True)
        elif data[at] == 0x2C:
            left, top, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height = max(width, left + w), max(height, top + h)
            at = first_end = _after_blocks(data, at + 11 + _palette_bytes(flags))
        else:
            break
    if not first_end:
        raise truncated()
    return Container((height, width), data[:first_end] + b";")


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1


def bmp(data: bytes) -> Container:
    """A BMP, or a DIB, which is one without its first 14 bytes. Reference: Microsoft, BITMAPINFOHEADER."""
    if data[:2] != b"BM":
        data = b"BM" + struct.pack("<IxxxxI", 14 + len(data), 14 + _dib_pixels(data)) + data
    (header,) = struct.unpack_from("<I", data, 14)
    if header in (12, 16):
        width, height = struct.unpack_from("<HH" if header == 12 else "<II", data, 18)
        return Container((height, width), data)
    width, height, compression = struct.unpack_from("<iixxxxI", data, 18)
    # Pillow decodes runs in Python, some seconds a megapixel, and fills what is missing with black.
    if compression in (1, 2):
        raise ImageError("unsupported-format", "Run-length coded BMP files are not read; save it as PNG.")
    return Container((abs(height), width), data)


def _dib_pixels(data: bytes) -> int:
    """Where the pixels of a DIB begin: behind its header, the masks of its colours and its palette."""
    (header,) = struct.unpack_from("<I", data)
    if header == 12:
        (bits,) = struct.unpack_from("<H", data, 10)
        return 12 + (3 << bits if bits <= 8 else 0)
    bits, compression, colours = struct.unpack_from("<HI12xI", data, 14)
    masks = {3: 12, 6: 16}.get(compression, 0) if header == 40 else 0
    return int(header + masks + 4 * (colours or (1 << bits if bits <= 8 else 0)))


@contextmanager
def quiet(logger: str = "") -> Iterator[None]:
    """Keep a library's warnings and its logger silent: they may quote the file.

    One thread at a time, as the filters are global.
    """
    log = logging.getLogger(logger) if logger else None
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = log.disabled if log else False
        try:
            if log:
                log.disabled = True
            yield
        finally:
            if log:
                log.disabled = before
