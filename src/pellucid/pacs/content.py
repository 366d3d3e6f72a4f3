"""Content items of structured reports as pydicom datasets.

Reference: DICOM PS3.3, C.17.3 (document content), C.18 (macros of the value types).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .codes import ClassCodes, Code

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CONTAINS, PROPERTIES, MODIFIED, CONTEXT = "CONTAINS", "HAS PROPERTIES", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
ACQUISITION, SELECTED = "HAS ACQ CONTEXT", "SELECTED FROM"
ONE = Code("1", "UCUM", "no units")


def dataset(**elements: Any) -> Dataset:
    """A dataset of elements by keyword."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def coded(code: Code) -> Dataset:
    """One item of a code sequence."""
    return dataset(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)


@lru_cache(maxsize=512)
def sequence_of(code: Code | ClassCodes) -> Any:
    """A code sequence of one item. It is shared by all objects that hold it: never change it."""
    from pydicom.sequence import Sequence as DicomSequence

    if isinstance(code, Code):
        return DicomSequence([coded(code)])
    item = coded(code.finding)
    if code.also:
        item.EquivalentCodeSequence = [coded(c) for c in code.also]
    return DicomSequence([item])


def _item(kind: str, relation: str, name: Code | ClassCodes | None, **elements: Any) -> Dataset:
    made = dataset(RelationshipType=relation, ValueType=kind) if relation else dataset(ValueType=kind)
    if name is not None:
        made.ConceptNameCodeSequence = sequence_of(name)
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def container(name: Code, children: Sequence[Dataset], *, relation: str = CONTAINS, template: str = "") -> Dataset:
    """A container of separate items: in continuous ones, renderers leave out what a number is called."""
    made = _item("CONTAINER", relation, name, ContinuityOfContent="SEPARATE")
    if template:
        made.ContentTemplateSequence = [dataset(MappingResource="DCMR", TemplateIdentifier=template)]
    made.ContentSequence = list(children)
    return made


def code_item(
    name: Code | ClassCodes, value: Code | ClassCodes, relation: str = CONTAINS, children: Sequence[Dataset] = ()
) -> Dataset:
    """A coded value."""
    made = _item("CODE", relation, name, ConceptCodeSequence=sequence_of(value))
    if children:
        made.ContentSequence = list(children)
    return made


def text_item(name: Code, value: str, relation: str = CONTAINS) -> Dataset:
    """A text without backslashes, which would part it into several."""
    return _item("TEXT", relation, name, TextValue=value.replace("\\", "/"))


def uid_item(name: Code, value: str, relation: str = CONTEXT) -> Dataset:
    """A unique identifier."""
    return _item("UIDREF", relation, name, UID=value)


def number_item(
    name: Code, value: float, unit: Code = ONE, relation: str = CONTAINS, children: Sequence[Dataset] = ()
) -> Dataset:
    """A number: as a decimal string of at most 16 characters, and exactly, as a float of 64 bits."""
    from pydicom.valuerep import DS, format_number_as_ds

    text = format_number_as_ds(float(value))
    measured = dataset(NumericValue=DS(text), FloatingPointValue=float(value))
    measured.MeasurementUnitsCodeSequence = sequence_of(unit)
    made = _item("NUM", relation, name, MeasuredValueSequence=[measured])
    if children:
        made.ContentSequence = list(children)
    return made


def image_item(
    name: Code | None, reference: Dataset, relation: str = CONTAINS, children: Sequence[Dataset] = ()
) -> Dataset:
    """A reference to an image; `reference` as `references.to_instance` makes it."""
    made = _item("IMAGE", relation, name, ReferencedSOPSequence=[reference])
    if children:
        made.ContentSequence = list(children)
    return made


def polyline_item(name: Code, points: Sequence[float], image: Dataset) -> Dataset:
    """A line through (column, row, column, row, ...) on the pixels of an image."""
    made = _item("SCOORD", CONTAINS, name, GraphicType="POLYLINE", GraphicData=list(points))
    made.ContentSequence = [image]
    return made
