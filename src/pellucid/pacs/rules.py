"""Which films are answered, and the code of the reason for those that are not.

Vendors tell the view in many places: in ViewPosition, in ViewCodeSequence, in the description of the series or of the
protocol, or only by the direction of the rows (anterior or posterior means a lateral film).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any, Literal

from .config import Accept
from .source import moment

Refusal = Literal["sop-class", "modality", "derived", "body-part", "view", "unknown-view", "prior", "too-large"]
View = Literal["PA", "AP", "LATERAL", "OBLIQUE", ""]

SOP_CLASSES = {
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "IO": "1.2.840.10008.5.1.4.1.1.1.3",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
}
"""Names that `accept.sop_classes` may use instead of UIDs."""

REASONS: dict[Refusal, str] = {
    "sop-class": "not a kind of object that is answered",
    "modality": "another modality",
    "derived": "a derived picture, such as a result",
    "body-part": "another body part",
    "view": "another view, such as a lateral film",
    "unknown-view": "no view is stated",
    "too-large": "larger than any film",
    "prior": "a prior study, older than accept.newest_days",
}

# SNOMED CT and the older SNOMED RT codes of CID 4010.
VIEW_CODES: dict[str, View] = {
    "399348003": "PA", "R-10214": "PA", "272479007": "PA",
    "399273000": "AP", "R-10206": "AP", "272479003": "AP",
    "399173006": "LATERAL", "R-10236": "LATERAL", "399198007": "LATERAL", "R-10232": "LATERAL", "399067008": "LATERAL",
    "R-10228": "OBLIQUE", "399182000": "OBLIQUE", "399135001": "OBLIQUE",
}  # fmt: skip
_WORDS: tuple[tuple[str, View], ...] = (
    (r"\b(lat(eral)?|ll|rl|llat|rlat|seitlich|profil)\b", "LATERAL"),
    (r"\b(obl(ique)?|lao|rao|lpo|rpo)\b", "OBLIQUE"),
    (r"\b(pa|p\.a|postero-?anterior)\b", "PA"),
    (r"\b(ap|a\.p|antero-?posterior|bedside|supine)\b", "AP"),
)
_DESCRIPTIONS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "PerformedProcedureStepDescription",
)
_TITLES = ("RequestedProcedureDescription", "StudyDescription")
_CHEST = re.compile(r"\b(chest|thorax|cxr|lung|lunge)\b", re.IGNORECASE)


def view_of(header: Any) -> View:
    """The view of a film: by its code, its position, the words of its descriptions, or its orientation; else ""."""
    for item in header.get("ViewCodeSequence") or ():
        found = VIEW_CODES.get(str(item.get("CodeValue")))
        if found:
            return found
        if worded := _worded(str(item.get("CodeMeaning") or "")):
            return worded
    for keyword in ("ViewPosition", *_DESCRIPTIONS):
        if worded := _worded(str(header.get(keyword) or "")):
            return worded
    rows = str((header.get("PatientOrientation") or [""])[0]).strip().upper()
    return "LATERAL" if rows[:1] in ("A", "P") and rows else ""


def _worded(text: str) -> View:
    """The view that words name, after underscores and digits are taken for spaces."""
    plain = re.sub(r"[_\W\d]+", " ", text.lower().replace("p.a", "pa").replace("a.p", "ap"))
    named: set[View] = {view for pattern, view in _WORDS if re.search(pattern, plain)}
    # "PA and LAT" in a description is of the examination, not of this film.
    return named.pop() if len(named) == 1 else ""


def body_parts_of(header: Any) -> Iterator[str]:
    """The body part as a defined term, wherever it is told."""
    stated = str(header.get("BodyPartExamined") or "").strip().upper()
    if stated:
        yield stated
        return
    for item in header.get("AnatomicRegionSequence") or ():
        yield str(item.get("CodeMeaning") or "").strip().upper()
    for keyword in (*_DESCRIPTIONS, *_TITLES):
        if _CHEST.search(str(header.get(keyword) or "").replace("_", " ")):
            yield "CHEST"


def refusal(header: Any, accept: Accept, today: datetime.date) -> Refusal | None:
    """Why a film is not answered; None for one that is. `header` is a dataset, with whatever tags are known."""
    wanted = {SOP_CLASSES.get(name, name) for name in accept.sop_classes}
    if str(header.get("SOPClassUID")) not in wanted:
        return "sop-class"
    kind = [str(v).upper() for v in header.get("ImageType") or ()]
    if ("DERIVED" in kind and "SECONDARY" in kind) or str(header.get("Manufacturer")) == "pellucid":
        return "derived"
    if accept.modalities and str(header.get("Modality") or "").upper() not in accept.modalities:
        return "modality"
    if accept.body_parts:
        told = list(body_parts_of(header))
        if not (set(told) & set(accept.body_parts) if told else accept.unknown_body_part == "take"):
            return "body-part"
    if accept.views:
        view = view_of(header)
        if view == "" and accept.unknown_view == "skip":
            return "unknown-view"
        if view != "" and view not in accept.views:
            return "view"
    begun = moment(header.get("StudyDate"), None)
    if accept.newest_days and begun is not None and (today - begun.date()).days > accept.newest_days:
        return "prior"
    return None
