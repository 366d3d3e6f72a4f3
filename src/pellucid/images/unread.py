"""Files that are not read: what they are, and what to do with them."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ImageError

# (offset, magic bytes, what it is); the first that fits counts.
OTHER_PICTURES = (
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\x00\x00\x01\x00", "an icon"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphe", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
)
NO_PICTURES = (
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
)


def refusal(data: bytes, read: Sequence[str]) -> ImageError:
    """The error for a file of no format that is read; `read` are the names of those that are."""
    names = f"{', '.join(read[:-1])} and {read[-1]}"
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\0").lower()
    picture = "an SVG drawing" if b"<svg" in start else _match(data, OTHER_PICTURES)
    if picture:
        return ImageError("unsupported-format", f"The file is {picture}; only {names} are read.")
    other = "a web page or XML" if start.startswith(b"<") else _match(data, NO_PICTURES)
    if other:
        return ImageError("not-an-image", f"The file is {other} and not an image.")
    return ImageError("not-an-image", f"The file is not an image: its first bytes are none of {names}.")


def _match(data: bytes, table: tuple[tuple[int, bytes, str], ...]) -> str | None:
    return next((name for at, magic, name in table if data[at : at + len(magic)] == magic), None)
