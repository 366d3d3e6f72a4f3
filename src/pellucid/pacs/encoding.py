"""A dataset as the bytes of a DICOM file, and texts as elements of it.

A result consists mostly of short texts and of elements that are encoded already: those copied from the film, the
content of a report, pixels. These are joined as they are, which takes a fifth of pydicom's time; pydicom writes the
others, and every dataset that is not explicit VR little endian.

Reference: DICOM PS3.5, 7.1.2 (explicit VR), PS3.10, 7.1 (file meta information).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LARGE = 2**16
"""Bytes of a part that is not copied."""
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
# Texts that pydicom writes as they are, with their values parted by backslashes.
_TEXTS = frozenset(("AE", "AS", "CS", "DA", "IS", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UT"))
# Their length takes four bytes after two that are zero.
_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_ITEM = b"\xfe\xff\x00\xe0"
# Tags of a file's header: the length of its group, and its version.
_GROUP_LENGTH, _VERSION = 0x00020000, 0x00020001


def fill(made: Dataset, **elements: Any) -> None:
    """Set elements by keyword. ASCII texts are kept as their bytes, which pydicom reads when they are asked for."""
    for keyword, value in elements.items():
        tag, kind = _known(keyword)
        if isinstance(value, str) and kind in _TEXTS and value.isascii():
            made[tag] = as_stored(tag, kind, value.encode("ascii"))
        else:
            setattr(made, keyword, value)


def as_stored(tag: Any, kind: str, value: bytes) -> Any:
    """An element with the bytes of its value, padded to an even length."""
    from pydicom.dataelem import RawDataElement

    value += _padding(kind, value)
    return RawDataElement(tag, kind, len(value), value, 0, False, True)


@lru_cache(maxsize=512)
def _known(keyword: str) -> tuple[Any, str]:
    """Tag and value representation of a keyword of the standard."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.tag import Tag

    number = tag_for_keyword(keyword)
    if number is None:
        raise ValueError(f"{keyword} is no keyword of DICOM")
    return Tag(number), dictionary_VR(number)


def to_bytes(made: Dataset) -> bytes:
    """A dataset with its file header as the bytes of a DICOM file."""
    return b"".join(to_parts(made))


def to_parts(made: Dataset) -> list[bytes]:
    """The bytes of a DICOM file in few parts, of which the large ones are not copied."""
    fresh = made.original_encoding == (None, None)
    if fresh and "PixelData" in made and made["PixelData"].VR not in ("OB", "OW"):
        made["PixelData"].VR = "OB"
    if fresh and str(made.file_meta.TransferSyntaxUID) == EXPLICIT_LITTLE_ENDIAN:
        return _few(_parts(made))
    from pydicom import dcmwrite

    if fresh:
        made.set_original_encoding(False, True, made._character_set)
    buffer = io.BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    return [buffer.getvalue()]


def _few(parts: Iterable[bytes]) -> list[bytes]:
    """The same bytes, with neighbouring parts that are small joined."""
    found, small = list[bytes](), list[bytes]()
    for part in parts:
        if len(part) < LARGE:
            small.append(part)
            continue
        found += [b"".join(small), part]
        small.clear()
    return [part for part in (*found, b"".join(small)) if part]


def _parts(made: Dataset) -> list[bytes]:
    from pydicom.charset import convert_encodings
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    stated = made.get("SpecificCharacterSet")
    unicode = stated == "ISO_IR 192"
    parts = [header_bytes(made.file_meta)]
    for tag in sorted(made.keys()):
        element: Any = made.get_item(tag)
        value = _value(element, unicode=unicode)
        if value is not None:
            parts += _element(int(tag), str(element.VR), value)
            continue
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = False, True
        write_data_element(buffer, made[tag], convert_encodings(stated or None))
        parts.append(buffer.getvalue())
    return parts


def header_bytes(meta: Dataset) -> bytes:
    """Preamble and file meta information."""
    texts = [(int(tag), meta.get_item(tag)) for tag in sorted(meta.keys()) if tag not in (_GROUP_LENGTH, _VERSION)]
    parts = [*_element(_VERSION, "OB", b"\0\1")]
    for tag, element in texts:
        value = _value(element, unicode=False)
        if value is None:
            raise ValueError(f"{element.keyword} of the file header is not a plain text")
        parts += _element(tag, str(element.VR), value)
    return _header(parts)


def header_of(sop_class: str, uid: str, syntax: str, implementation: str, version: str) -> bytes:
    """The same of an object with these UIDs, without a dataset in between."""
    texts = ((2, "UI", sop_class), (3, "UI", uid), (0x10, "UI", syntax), (0x12, "UI", implementation))
    parts = [*_element(_VERSION, "OB", b"\0\1")]
    for number, kind, text in (*texts, (0x13, "SH", version)):
        parts += _element(_GROUP_LENGTH + number, kind, text.encode("ascii"))
    return _header(parts)


def _header(parts: Sequence[bytes]) -> bytes:
    length = struct.pack("<I", sum(map(len, parts)))
    return b"".join((b"\0" * 128 + b"DICM", *_element(_GROUP_LENGTH, "UL", length), *parts))


def _items(items: Iterable[Dataset], *, unicode: bool) -> bytes | None:
    """The value of a sequence; None where pydicom has to encode one of its elements."""
    found = []
    for item in items:
        parts: list[bytes] = []
        for tag in sorted(item.keys()):
            element: Any = item.get_item(tag)
            value = None if int(tag) == 0x00080005 else _value(element, unicode=unicode)
            if value is None:
                return None
            parts += _element(int(tag), str(element.VR), value)
        found += [_ITEM, struct.pack("<I", sum(map(len, parts))), *parts]
    return b"".join(found)


def _value(element: Any, *, unicode: bool) -> bytes | None:
    """The value of an element as bytes; None where pydicom has to encode it."""
    from pydicom.dataelem import RawDataElement
    from pydicom.multival import MultiValue

    value = element.value
    if isinstance(element, RawDataElement):
        known = element.VR is not None and element.VR != "UN" and not element.is_implicit_VR
        return value if known and isinstance(value, bytes) and element.is_little_endian else None
    if element.VR in ("OB", "OW"):
        return value if isinstance(value, bytes) else None
    if element.VR == "SQ":
        return _items(value, unicode=unicode)
    if element.VR == "US" and isinstance(value, int):
        return struct.pack("<H", value)
    if element.VR not in _TEXTS:
        return None
    if isinstance(value, MultiValue):
        value = "\\".join(map(str, value))
    if value is None or value == "":
        return b""
    return value.encode("utf-8") if isinstance(value, str) and (unicode or value.isascii()) else None


def _element(tag: int, kind: str, value: bytes) -> tuple[bytes, bytes, bytes]:
    """The header of an element, its value, and what makes its length even."""
    padding = _padding(kind, value)
    length = len(value) + len(padding)
    numbers = struct.pack("<HI", 0, length) if kind in _LONG else struct.pack("<H", length)
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind.encode("ascii") + numbers, value, padding


def _padding(kind: str, value: bytes) -> bytes:
    """What makes the length of a value even."""
    return b"" if len(value) % 2 == 0 else b"\0" if kind in ("UI", "OB", "OW", "UN") else b" "
