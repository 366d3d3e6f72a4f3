"""Images out of request bodies: multipart forms, raw image bodies, and JSON with a URL.

File names are never looked at. What a part says it is must be what its first bytes say.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..images.formats import BY_MEDIA_TYPE, recognise
from .problems import Problem

MOST_PARTS = 16
MOST_HEADERS, MOST_HEADER_BYTES = 16, 16 * 1024
MOST_BOUNDARY = 256
MOST_TEXT, MOST_CHUNKS = 8 * 2**20, 1000

UNDECLARED = frozenset({"", "application/octet-stream", "binary/octet-stream"})


@dataclass(slots=True)
class Part:
    """One part of a form: the field's name, whether a file was chosen, the type it declares, and its bytes."""

    name: str = ""
    chosen: bool = False
    declared: str = ""
    body: bytearray = field(default_factory=bytearray)


def media_type(content_type: str) -> str:
    """`image/png` of `Image/PNG; charset=x`."""
    return content_type.partition(";")[0].strip().lower()


def parse_form(body: bytes, content_type: str, most_parts: int = MOST_PARTS) -> list[Part]:
    """The parts of a multipart form. Raises Problem 400 for one that is malformed, 413 for too many parts."""
    _, options = parse_options_header(content_type.encode("latin-1", "replace"))
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MOST_BOUNDARY:
        raise Problem(400, "malformed", "The form has no usable boundary in its Content-Type.")
    collector = _Collector(most_parts)
    try:
        parser = MultipartParser(
            boundary,
            collector.callbacks(),
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEADER_BYTES,
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise Problem(400, "malformed", "The form is malformed: its parts do not follow its boundary.") from None
    if not collector.ended:
        raise Problem(400, "malformed", "The form breaks off before its last boundary.")
    return collector.parts


class _Collector:
    """Gathers what the parser finds."""

    def __init__(self, most: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._most, self._name, self._value = most, b"", b""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self._most:
            raise Problem(
                413, "too-many-parts", f"The form has more than {self._most:,} parts. Send fewer files at once."
            )
        self.parts.append(Part())

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].body += memoryview(data)[start:end]

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        name, part = self._name.lower(), self.parts[-1]
        if name == b"content-disposition":
            _, options = parse_options_header(self._value)
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            part.chosen = bool(options.get(b"filename"))
        elif name == b"content-type":
            part.declared = media_type(self._value.decode("latin-1"))
        self._name = self._value = b""

    def _end(self) -> None:
        self.ended = True


def file_of(body: bytes, content_type: str) -> bytes:
    """The image of a form's one field `file`, or of a raw body of an image type.

    Raises Problem: 400 without a file, 413, 415 when it is not of the type declared, 422 when it is empty.
    """
    kind = media_type(content_type)
    if kind in BY_MEDIA_TYPE:
        return checked(bytes(body), kind)
    if kind != "multipart/form-data":
        if not body:
            raise _no_file()
        raise Problem(415, "content-type", "Send a form with the field `file`, an image, or JSON with a `url`.")
    files = [p for p in parse_form(body, content_type) if p.name == "file" and (p.chosen or p.body)]
    if not files:
        raise _no_file()
    if len(files) > 1:
        raise Problem(400, "several-files", "The form holds several files. Send one, or use /v1/batch.")
    return checked(bytes(files[0].body), files[0].declared)


def _no_file() -> Problem:
    return Problem(400, "no-file", "No file was sent. Send a form with the image in the field `file`.")


def checked(data: bytes, declared: str) -> bytes:
    """`data`, once its first bytes are known and of the type declared. Raises ImageError, or Problem 415."""
    found = recognise(data)
    if found.name == "PNG":
        refuse_text_bombs(data)
    if declared not in UNDECLARED and BY_MEDIA_TYPE.get(declared) != found:
        detail = f"The file is declared as another type than its first bytes say: they are those of {found.title}."
        raise Problem(415, "type-mismatch", detail)
    return data


def refuse_text_bombs(data: bytes) -> None:
    """Raise Problem 422 for a PNG whose compressed texts or profile unpack to more than 8 MB.

    No decoder here reads them, but whoever gets such a file next might.
    """
    at, left = 8, MOST_TEXT
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT" or kind == b"IEND":
            return
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            left -= _unpacked(kind, data[at + 8 : at + 8 + length], left)
            if left < 0:
                raise Problem(
                    422, "too-large", "A text in the PNG unpacks to more than 8 MB. Save it without metadata."
                )
        at += 12 + length


def _unpacked(kind: bytes, body: bytes, most: int) -> int:
    """How many bytes a text chunk unpacks to; no more than `most` + 1 are unpacked."""
    keyword = body.find(b"\0") + 1
    if kind == b"iTXt":
        if body[keyword : keyword + 1] != b"\1":
            return len(body)
        start = body.find(b"\0", body.find(b"\0", keyword + 2) + 1) + 1
    else:
        start = keyword + 1
    try:
        return len(zlib.decompressobj().decompress(body[start:], most + 1))
    except zlib.error:
        return 0


def parse_json(body: bytes) -> Any:
    """A JSON document. Raises Problem 400 for one that is malformed or nested too deeply; NaN is malformed."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed", "The body is not valid JSON, or is nested too deeply.") from None


def _not_json(constant: str) -> None:
    raise ValueError


def url_of(body: bytes) -> str:
    """The address in `{"url": "https://..."}`; Problem 400 when there is none."""
    given = parse_json(body)
    url = given.get("url") if isinstance(given, dict) else None
    if not isinstance(url, str) or not url:
        raise Problem(400, "malformed", 'The body must be {"url": "https://..."} with a text as url.')
    return url
