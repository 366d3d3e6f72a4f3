"""What holds of every object that pellucid writes, asked of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from .codes import SCHEME
from .kinds import KINDS
from .source import NEVER_ABSENT

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_TEXT_LIMITS = {"CodeValue": 16, "CodingSchemeDesignator": 16, "CodeMeaning": 64, "SeriesDescription": 64}


def broken_rules(path: Path) -> tuple[str, list[str]]:
    """The SOP class of a file ("" where it is no DICOM object), and a sentence for each rule that it breaks."""
    require("pydicom", "pacs")
    import pydicom

    from ..images.containers import quiet

    with quiet("pydicom"):
        try:
            made = pydicom.dcmread(path)
            sop_class = str(made.get("SOPClassUID") or "")
            return sop_class, list(_broken(made))
        except OSError as error:
            return "", [f"The file cannot be read ({error.strerror or 'it is damaged'})."]
        except Exception:  # pydicom raises errors of many kinds on damaged files
            return "", ["The file is not a DICOM object, or it is damaged."]


def _broken(made: Dataset) -> Iterator[str]:
    meta = made.file_meta
    if str(meta.get("MediaStorageSOPInstanceUID")) != str(made.get("SOPInstanceUID")):
        yield "The header names another instance than the object."
    for keyword in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"):
        uid = str(made.get(keyword) or "")
        if len(uid) > 64 or not _UID.fullmatch(uid):
            yield f"{keyword} is not a valid UID."
    for keyword in NEVER_ABSENT:
        if keyword not in made:
            yield f"{keyword} is missing; it may be empty, but not absent."
    if made.get("Manufacturer") == "pellucid":
        yield from _broken_by_ours(made)
    yield from _broken_items(made)


def _broken_by_ours(made: Dataset) -> Iterator[str]:
    """Rules of results, not of DICOM in general."""
    if int(made.get("SeriesNumber") or 0) not in {kind.series for kind in KINDS}:
        yield "SeriesNumber is not that of a kind of result."
    if not re.search("research.*not for diagnosis", str(made.get("SeriesDescription"))):
        yield "SeriesDescription does not say that it is for research and not for diagnosis."
    if not made.get("ManufacturerModelName") or not made.get("SoftwareVersions"):
        yield "The model or the version of the software is missing."
    referenced = {str(e.value) for e in made.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    if not referenced:
        yield "It refers to no film."
    if str(made.SOPInstanceUID) in referenced:
        yield "It refers to itself."
    if "ContentSequence" in made:
        yield from _unlisted(made, referenced)


def _unlisted(made: Dataset, referenced: set[str]) -> Iterator[str]:
    """Images named in the content must be in the evidence."""
    listed = {
        str(e.value)
        for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for item in made.get(name, ())
        for e in item.iterall()
        if e.keyword == "ReferencedSOPInstanceUID"
    }
    named = {
        str(e.value) for item in made.ContentSequence for e in item.iterall() if e.keyword == "ReferencedSOPInstanceUID"
    }
    if named - listed:
        yield "An image of the content is not listed as evidence."


def _broken_items(made: Dataset) -> Iterator[str]:
    private = False
    for element in made.iterall():
        most = _TEXT_LIMITS.get(element.keyword)
        if most is not None and len(str(element.value)) > most:
            yield f"{element.keyword} is longer than {most} characters."
        private = private or (element.keyword == "CodingSchemeDesignator" and _is_private(element.value))
    if private and "ContentSequence" in made:
        named = {str(item.get("CodingSchemeDesignator")) for item in made.get("CodingSchemeIdentificationSequence", ())}
        if SCHEME not in named:
            yield "Private codes are used, and their scheme is not identified."


def _is_private(value: Any) -> bool:
    return str(value) == SCHEME
