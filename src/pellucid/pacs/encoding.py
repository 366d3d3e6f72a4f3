"""A dataset as the bytes of a DICOM file.

A result consists mostly of short texts and of elements that are encoded already: those copied from the film, the
content of a report, pixels. These are joined as they are, which takes a fifth of pydicom's time; pydicom writes the
others, and every dataset that is not explicit VR little endian.

Reference: DICOM PS3.5, 7.1.2 (explicit VR), PS3.10, 7.1 (file meta information).
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
# Texts that pydicom writes as they are, with their values parted by backslashes.
_TEXTS = frozenset(("AE", "AS", "CS", "DA", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UT"))
# Their length takes four bytes after two that are zero.
_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))


def to_bytes(made: Dataset) -> bytes:
    """A dataset with its file header as the bytes of a DICOM file."""
    fresh = made.original_encoding == (None, None)
    if fresh and "PixelData" in made and made["PixelData"].VR not in ("OB", "OW"):
        made["PixelData"].VR = "OB"
    if fresh and str(made.file_meta.TransferSyntaxUID) == EXPLICIT_LITTLE_ENDIAN:
        return _joined(made)
    from pydicom import dcmwrite

    if fresh:
        made.set_original_encoding(False, True, made._character_set)
    buffer = io.BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def _joined(made: Dataset) -> bytes:
    from pydicom.charset import convert_encodings
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element, write_file_meta_info

    head = DicomBytesIO()
    head.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(head, made.file_meta, enforce_standard=True)
    stated = made.get("SpecificCharacterSet")
    encodings = convert_encodings(stated or None)
    unicode = stated == "ISO_IR 192"
    parts = [head.getvalue()]
    for tag in sorted(made.keys()):
        element: Any = made.get_item(tag)
        value = _value(element, unicode=unicode)
        if value is not None:
            parts += _element(int(tag), str(element.VR), value)
            continue
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = False, True
        write_data_element(buffer, made[tag], encodings)
        parts.append(buffer.getvalue())
    return b"".join(parts)


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
    if element.VR not in _TEXTS:
        return None
    if isinstance(value, MultiValue):
        value = "\\".join(map(str, value))
    if value is None or value == "":
        return b""
    return value.encode("utf-8") if isinstance(value, str) and (unicode or value.isascii()) else None


def _element(tag: int, kind: str, value: bytes) -> tuple[bytes, bytes, bytes]:
    """The header of an element, its value, and what makes its length even."""
    padding = b"" if len(value) % 2 == 0 else b"\0" if kind in ("UI", "OB", "OW", "UN") else b" "
    length = len(value) + len(padding)
    numbers = struct.pack("<HI", 0, length) if kind in _LONG else struct.pack("<H", length)
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind.encode("ascii") + numbers, value, padding
