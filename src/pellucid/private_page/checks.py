"""Four tiny pictures with the pixels and logits that Python gives: each browser is held against them at every load."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image

from ..bundle.bundle import Bundle
from ..images import read_image
from ..preprocessing import Uint8Array

SIZE = (26, 37)
SIDE = 8


def check_document(bundle: Bundle) -> dict[str, Any]:
    """What a browser is to find: files, their pixels and logits, and the logits of a pattern that needs no decoder."""
    pattern = _pattern((SIDE, SIDE))
    shape = bundle.preprocessing
    tiled = np.tile(pattern, (-(-shape.height // SIDE), -(-shape.width // SIDE), 1))[: shape.height, : shape.width]
    return {
        "pictures": [_expected(bundle, kind, data) for kind, data in _files()],
        "graph": {"side": SIDE, "seen": _base64(pattern.tobytes()), "logits": _logits(bundle, tiled)},
    }


def _expected(bundle: Bundle, kind: str, data: bytes) -> dict[str, Any]:
    pixels = read_image(data).pixels
    return {
        "kind": kind,
        "file": _base64(data),
        "pixels": _base64(pixels.tobytes()),
        "logits": _logits(bundle, bundle.preprocessing.resize(pixels)),
    }


def _logits(bundle: Bundle, seen: Uint8Array) -> list[float]:
    return [float(z) for z in bundle.logits(bundle.preprocessing.normalise(seen[None]))[0]]


def _files() -> list[tuple[str, bytes]]:
    """A JPEG with halved colours and an orientation, one without, a PNG with opacity, and a WebP with loss."""
    colours = _pattern(SIZE)
    opacity = np.linspace(0, 255, SIZE[1]).astype(np.uint8)[None].repeat(SIZE[0], axis=0)
    exif = PIL.Image.Exif()
    exif[0x112] = 6
    picture = PIL.Image.fromarray(colours)
    layered = PIL.Image.fromarray(np.dstack([colours, opacity]))
    return [
        ("image/jpeg", _saved(picture, "JPEG", quality=85, subsampling="4:2:0", exif=exif)),
        ("image/jpeg", _saved(picture, "JPEG", quality=85, subsampling="4:2:0")),
        ("image/png", _saved(layered, "PNG")),
        ("image/webp", _saved(picture, "WEBP", quality=80)),
    ]


def _saved(picture: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _pattern(size: tuple[int, int]) -> Uint8Array:
    """A picture of slopes and waves in every channel, (h, w, 3) uint8."""
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    channels = [np.sin(9 * x + 4 * y), np.cos(7 * y - 3 * x), np.sin(12 * x * y + 2 * x)]
    return np.rint(127.5 + 120 * np.dstack(channels)).astype(np.uint8)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
