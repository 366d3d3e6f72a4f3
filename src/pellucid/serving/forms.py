"""Multipart forms, read as they come in, so that no step is longer than a part of the body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .json_bodies import malformed
from .problems import Problem
from .spools import Spool

MOST_PARTS = 16
MOST_HEADERS, MOST_HEADER_BYTES = 16, 16 * 1024
MOST_BOUNDARY = 256


@dataclass(slots=True)
class FormPart:
    """One part of a form: the field's name, the suffix of the file's name, the type that it declares, and its bytes.

    The bytes are `chunks` in memory, or `length` bytes from `start` on in the form's spool. `chosen` says that a file
    was chosen. Of its name nothing but the suffix is kept, to say so when it is a wrong one.
    """

    name: str = ""
    chosen: bool = False
    suffix: str = ""
    declared: str = ""
    chunks: list[bytes] = field(default_factory=list)
    start: int = 0
    length: int = 0


def media_type(content_type: str) -> str:
    """`image/png` of `Image/PNG; charset=x`."""
    return content_type.partition(";")[0].strip().lower()


class FormReader:
    """Reads a form in steps: `feed` each piece of the body, then `parts`.

    With a spool the parts' bytes go there, otherwise they stay in memory. Raises Problem 400 for a form that is
    malformed, 413 for too many parts.
    """

    def __init__(self, content_type: str, most_parts: int = MOST_PARTS, spool: Spool | None = None) -> None:
        _, options = parse_options_header(content_type.encode("latin-1", "replace"))
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= MOST_BOUNDARY:
            raise malformed("The form has no usable boundary in its Content-Type.")
        self._parts: list[FormPart] = []
        self._most, self._spool, self._ended, self._broken = most_parts, spool, False, False
        self._name = self._value = b""
        self._parser = MultipartParser(
            boundary, self._callbacks(), max_header_count=MOST_HEADERS, max_header_size=MOST_HEADER_BYTES
        )

    def feed(self, piece: bytes) -> None:
        """Read on; what follows a fault is passed over."""
        if self._broken:
            return
        try:
            self._parser.write(piece)
        except FormParserError:
            self._broken = True

    def parts(self) -> list[FormPart]:
        """All parts, once the body has ended."""
        if self._broken:
            raise malformed("The form is malformed: its parts do not follow its boundary.")
        if not self._ended:
            raise malformed("The form breaks off before its last boundary.")
        return self._parts

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self._parts) >= self._most:
            detail = f"The form has more than {self._most:,} parts. Send fewer files at once."
            raise Problem(413, "too-many-parts", detail)
        self._parts.append(FormPart(start=self._spool.size if self._spool else 0))

    def _data(self, data: bytes, start: int, end: int) -> None:
        part, piece = self._parts[-1], bytes(data[start:end])
        part.length += len(piece)
        if self._spool is None:
            part.chunks.append(piece)
        else:
            self._spool.append(piece)

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        name, part = self._name.lower(), self._parts[-1]
        if name == b"content-disposition":
            _, options = parse_options_header(self._value)
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            file = options.get(b"filename", b"")
            part.chosen, part.suffix = bool(file), _suffix(file)
        elif name == b"content-type":
            part.declared = media_type(self._value.decode("latin-1"))
        self._name = self._value = b""

    def _end(self) -> None:
        self._ended = True


def _suffix(name: bytes) -> str:
    """`.png` of a file's name; "" for one without, or with a strange one."""
    _, dot, last = name.rpartition(b".")
    return f".{last.decode().lower()}" if dot and len(last) <= 5 and last.isalnum() and last.isascii() else ""
