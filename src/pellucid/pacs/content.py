"""Content items of structured reports, encoded.

An item is made as the bytes of its elements (explicit VR little endian, UTF-8) rather than as pydicom datasets: a
report has some seventy nested items, and making and writing them as datasets took longer than the prediction. Whatever
reads the object gets datasets all the same, as pydicom parses a sequence when it is looked at.

Reference: DICOM PS3.3, C.17.3 (document content), C.18 (macros of the value types); PS3.5, 7.1.2 and 7.5 (encoding).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .codes import ClassCodes, Code
from .encoding import fill

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CONTAINS, MODIFIED, CONTEXT = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
ACQUISITION, SELECTED = "HAS ACQ CONTEXT", "SELECTED FROM"
ONE = Code("1", "UCUM", "no units")

VALUE, SCHEME, MEANING, EQUIVALENT = 0x00080100, 0x00080102, 0x00080104, 0x00080121
SOP_CLASS, SOP_INSTANCE, REFERENCED = 0x00081150, 0x00081155, 0x00081199
UNITS, RELATION, VALUE_TYPE, NAME, CONTINUITY = 0x004008EA, 0x0040A010, 0x0040A040, 0x0040A043, 0x0040A050
UID, TEXT, FLOAT, CONCEPT, MEASURED, NUMERIC = 0x0040A124, 0x0040A160, 0x0040A161, 0x0040A168, 0x0040A300, 0x0040A30A
TEMPLATES, CONTENT, TEMPLATE, RESOURCE = 0x0040A504, 0x0040A730, 0x0040DB00, 0x00080105
MAKER, MODEL, DEVICE_UID, SOFTWARE = 0x00080070, 0x00081090, 0x00181002, 0x00181020
CONTRIBUTING, PURPOSE = 0x0018A001, 0x0040A170
GRAPHIC, GRAPHIC_TYPE = 0x00700022, 0x00700023
_LONG = (b"SQ", b"UT")
_ITEM = b"\xfe\xff\x00\xe0"


def dataset(**elements: Any) -> Dataset:
    """A dataset of elements by keyword."""
    from pydicom.dataset import Dataset

    made = Dataset()
    fill(made, **elements)
    return made


def _element(tag: int, kind: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if kind == b"UI" else b" "
    length = struct.pack("<HI" if kind in _LONG else "<H", *((0, len(value)) if kind in _LONG else (len(value),)))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind + length + value


def _text(tag: int, kind: bytes, value: str) -> bytes:
    return _element(tag, kind, value.encode("utf-8"))


def encoded(items: Sequence[bytes]) -> bytes:
    """The value of a sequence: each item with its header."""
    return b"".join(_ITEM + struct.pack("<I", len(item)) + item for item in items)


def sequence_element(tag: int, items: Sequence[bytes]) -> Any:
    """A sequence of encoded items as a raw element that pydicom writes as it is, and parses when it is read."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    value = encoded(items)
    return RawDataElement(Tag(tag), "SQ", len(value), value, 0, False, True)


def coded(code: Code) -> bytes:
    """The elements of a code."""
    return _text(VALUE, b"SH", code.value) + _text(SCHEME, b"SH", code.scheme) + _text(MEANING, b"LO", code.meaning)


def contributing_equipment(maker: str, model: str, uid: str, version: str, purpose: Code) -> Any:
    """A sequence of one device that took part in making an object, and what it did (PS3.3, C.12.1.1.5)."""
    item = (
        _text(MAKER, b"LO", maker)
        + _text(MODEL, b"LO", model)
        + _text(DEVICE_UID, b"UI", uid)
        + _text(SOFTWARE, b"LO", version)
        + _code_sequence(PURPOSE, purpose)
    )
    return sequence_element(CONTRIBUTING, [item])


@lru_cache(maxsize=2048)
def _code_sequence(tag: int, code: Code | ClassCodes) -> bytes:
    if isinstance(code, Code):
        return _element(tag, b"SQ", encoded([coded(code)]))
    also = _element(EQUIVALENT, b"SQ", encoded([coded(c) for c in code.also])) if code.also else b""
    return _element(tag, b"SQ", encoded([coded(code.finding) + also]))


def code_sequence(code: Code) -> Any:
    """A code sequence of one item, as a new pydicom sequence."""
    from pydicom.sequence import Sequence as DicomSequence

    return DicomSequence([dataset(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)])


def _item(kind: bytes, relation: str, name: Code | ClassCodes | None, after: bytes, children: Sequence[bytes]) -> bytes:
    """An item: what all have, then `after`, its own elements with tags above (0040,A043), then its children."""
    made = _text(RELATION, b"CS", relation) + _element(VALUE_TYPE, b"CS", kind)
    if name is not None:
        made += _code_sequence(NAME, name)
    return made + after + (_element(CONTENT, b"SQ", encoded(children)) if children else b"")


def container(name: Code, children: Sequence[bytes], *, template: str = "") -> bytes:
    """A container of separate items: in continuous ones, renderers leave out what a number is called."""
    after = _element(CONTINUITY, b"CS", b"SEPARATE")
    if template:
        after += _element(TEMPLATES, b"SQ", encoded([_template(template)]))
    return _item(b"CONTAINER", CONTAINS, name, after, children)


def _template(identifier: str) -> bytes:
    return _element(RESOURCE, b"CS", b"DCMR") + _text(TEMPLATE, b"CS", identifier)


def set_root(made: Dataset, name: Code, children: Sequence[bytes], template: str) -> None:
    """Give an object its root container."""
    fill(made, ValueType="CONTAINER", ContinuityOfContent="SEPARATE")
    made.ConceptNameCodeSequence = code_sequence(name)
    made.ContentTemplateSequence = [dataset(MappingResource="DCMR", TemplateIdentifier=template)]
    element = sequence_element(CONTENT, children)
    made[element.tag] = element


@lru_cache(maxsize=1024)
def code_item(name: Code | ClassCodes, value: Code | ClassCodes, relation: str = CONTAINS) -> bytes:
    """A coded value."""
    return _item(b"CODE", relation, name, _code_sequence(CONCEPT, value), ())


def text_item(name: Code, value: str, relation: str = CONTAINS) -> bytes:
    """A text without backslashes, which would part it into several."""
    return _item(b"TEXT", relation, name, _text(TEXT, b"UT", value.replace("\\", "/")), ())


def uid_item(name: Code, value: str, relation: str = CONTEXT) -> bytes:
    """A unique identifier."""
    return _item(b"UIDREF", relation, name, _text(UID, b"UI", value), ())


def number_item(name: Code, value: float, unit: Code = ONE, relation: str = CONTAINS) -> bytes:
    """A number: as a decimal string of at most 16 characters, and exactly, as a float of 64 bits."""
    from pydicom.valuerep import format_number_as_ds

    measured = _code_sequence(UNITS, unit) + _element(FLOAT, b"FD", struct.pack("<d", float(value)))
    measured += _text(NUMERIC, b"DS", format_number_as_ds(float(value)))
    return _item(b"NUM", relation, name, _element(MEASURED, b"SQ", encoded([measured])), ())


def image_item(
    name: Code | None, sop_class: str, uid: str, relation: str = CONTAINS, children: Sequence[bytes] = ()
) -> bytes:
    """A reference to an image."""
    reference = _text(SOP_CLASS, b"UI", sop_class) + _text(SOP_INSTANCE, b"UI", uid)
    return _element(REFERENCED, b"SQ", encoded([reference])) + _item(b"IMAGE", relation, name, b"", children)


def polyline_item(name: Code, points: Sequence[float], image: bytes) -> bytes:
    """A line through (column, row, column, row, ...) on the pixels of an image."""
    drawn = _element(GRAPHIC, b"FL", struct.pack(f"<{len(points)}f", *points))
    return _item(b"SCOORD", CONTAINS, name, b"", [image]) + drawn + _text(GRAPHIC_TYPE, b"CS", "POLYLINE")
