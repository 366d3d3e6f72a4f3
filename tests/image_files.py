"""Image files made for tests: by Pillow's encoders, or by hand where Pillow cannot be the judge."""

import io
import struct
import zlib

import numpy as np
import PIL.Image

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (23, 37), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (23, 37, 3), dtype=np.uint8)
OPACITY = RNG.integers(0, 256, (23, 37), dtype=np.uint8)


def encoded(picture: np.ndarray | PIL.Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def smooth(height: int, width: int) -> np.ndarray:
    """Soft blobs in three colours: natural enough for JPEG, and different at every point."""
    small = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC))


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def on_black(values: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return np.rint(values.astype(float) * opacity[..., None] / 255).astype(np.uint8)


def png(values: np.ndarray, colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand, of uint8 or big-endian 16-bit values (H, W) or (H, W, channels)."""
    depth = 8 * values.dtype.itemsize
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def tiff(size: tuple[int, int], bits: int, pixels: bytes, photometric: int = 1) -> bytes:
    """An uncompressed grey TIFF written by hand, little-endian."""
    values = [(256, size[1]), (257, size[0]), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1)]
    values += [(278, size[0]), (279, len(pixels))]
    directory = struct.pack("<H", len(values)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in values)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory + bytes(4)


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block with a description and an orientation, written by hand, as JPEG holds it."""
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *([orientation, 0] if kind == 3 else [orientation]))
    start = b"Exif\0\0" + struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    comment = struct.pack(order + "HHI", 0x010E, 2, 4) + b"JOE\0"
    return start + struct.pack(order + "H", 2) + comment + struct.pack(order + "HHI", 274, kind, 1) + value + bytes(4)


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera held that way stores: row and column 0 lie as the EXIF standard's table says (4.6.4, tag 274)."""
    top_left = {1: "tl", 2: "tr", 3: "br", 4: "bl"}
    if orientation in top_left:
        vertical, horizontal = top_left[orientation]
        turned = upright
    else:
        horizontal, vertical = {5: "lt", 6: "rt", 7: "rb", 8: "lb"}[orientation]
        turned = upright[:: -1 if vertical == "b" else 1, :: -1 if horizontal == "r" else 1]
        return turned.transpose(1, 0, 2)
    return turned[:: -1 if vertical == "b" else 1, :: -1 if horizontal == "r" else 1]
