"""Images out of request bodies: multipart forms, raw bodies, and JSON with an address or with base64.

The bytes alone tell what a file is. What it was declared or named as gives a warning where that is something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..images.formats import BY_MEDIA_TYPE, FORMATS
from .forms import FormPart
from .json_bodies import LargeJson, from_base64, malformed, parse_json
from .problems import Problem
from .spools import Spool

UNDECLARED = frozenset({"", "application/octet-stream", "binary/octet-stream"})


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it came: its bytes, and what it was `declared` as.

    That is the name of a row of FORMATS, "another type", or "" for nothing.
    """

    data: bytes
    declared: str = ""

    def remarks(self, format: str) -> tuple[str, ...]:
        """A warning when the file turned out to be of another format than declared."""
        if self.declared in ("", format):
            return ()
        declared = FORMATS[self.declared].title if self.declared in FORMATS else self.declared
        return (f"The file was sent as {declared} but holds {FORMATS[format].title}.",)


def is_image(media_type: str) -> bool:
    """Whether a raw body of this type is taken as an image."""
    return media_type in BY_MEDIA_TYPE or media_type in UNDECLARED - {""} or media_type.startswith("image/")


def declared_as(media_type: str, suffix: str = "") -> str:
    """The name of the format that a type stands for, or where there is no type a file's suffix; "" for neither."""
    if media_type not in UNDECLARED:
        row = BY_MEDIA_TYPE.get(media_type)
        return row.name if row else "another type"
    return next((row.name for row in FORMATS.values() if suffix in row.extensions), "")


def file_of(parts: Sequence[FormPart]) -> Upload:
    """The image of a form's one field `file`. Raises Problem 400 without one, or with several."""
    files = [p for p in parts if p.name == "file" and (p.chosen or p.length)]
    if not files:
        raise no_file()
    if len(files) > 1:
        raise Problem(400, "several-files", "The form holds several files. Send one, or use /v1/batch.")
    return upload_of(files[0])


def upload_of(part: FormPart, spool: Spool | None = None) -> Upload:
    """The file in a part of a form."""
    data = b"".join(part.chunks) if spool is None else spool.read(part.start, part.length)
    return Upload(data, declared_as(part.declared, part.suffix))


def no_file() -> Problem:
    """The refusal of a request without a file."""
    return Problem(400, "no-file", "No file was sent. Send a form with the image in the field `file`.")


def unknown_content_type() -> Problem:
    """The refusal of a body that is neither a form nor an image nor JSON."""
    return Problem(415, "content-type", "Send a form with the field `file`, an image, or JSON with `image` or `url`.")


def url_of(body: bytes) -> str | None:
    """The address in `{"url": "https://..."}`; None when the document holds an image. Raises Problem 400."""
    document = parse_json(body)
    if isinstance(document, dict) and isinstance(document.get("image"), str) and "url" not in document:
        return None
    url = document.get("url") if isinstance(document, dict) else None
    if not isinstance(url, str) or not url or "image" in document:
        raise malformed('The body must be {"image": "..."} with base64, or {"url": "https://..."}.')
    return url


def image_of_json(body: bytes) -> Upload:
    """The image of `{"image": "..."}`, a file in base64. Raises Problem 400."""
    read = LargeJson(body)
    image = read.document.get("image") if isinstance(read.document, dict) else None
    if not isinstance(image, str) or "url" in read.document:
        raise malformed('The body must be {"image": "..."} with base64, or {"url": "https://..."}.')
    return Upload(from_base64(read.text(image)))
