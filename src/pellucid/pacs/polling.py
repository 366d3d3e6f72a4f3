"""New films of an archive: among Orthanc's changes, or by QIDO.

Reference: DICOM PS3.18, 10.6 (QIDO-RS); the Orthanc Book, "Tracking changes".
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .config import Accept, Poll
from .ledger import Ledger
from .rules import SOP_CLASSES, Refusal, refusal
from .web import OBJECT, PAGE, WebClient

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "BodyPartExamined",
    "ViewPosition", "ImageType", "StudyDate", "Manufacturer", "SeriesDescription", "ProtocolName", "StudyDescription",
    "AcquisitionDeviceProcessingDescription", "PerformedProcedureStepDescription", "RequestedProcedureDescription",
    "PatientOrientation",
)  # fmt: skip


class FoundObject(NamedTuple):
    """An object of the archive: its UIDs, why the rules leave it out (None for a film), and its bytes on demand."""

    uid: str
    study: str
    refused: Refusal | None
    fetch: Callable[[], bytes | None]


class Finder(Protocol):
    """Looks for new objects."""

    def __call__(self, ledger: Ledger) -> Iterator[FoundObject]:
        """Every object that is new since the last call ended; raises Unreachable."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def finder_of(poll: Poll, accept: Accept) -> Finder:
    """The finder that the configuration asks for."""
    if poll.orthanc is not None:
        return OrthancChanges(WebClient(poll.orthanc, poll), accept)
    return QidoSearch(WebClient(poll.qido or "", poll), accept)


class OrthancChanges:
    """Orthanc's list of changes. The mark moves on when a change was dealt with, so that none is lost."""

    def __init__(self, web: WebClient, accept: Accept) -> None:
        self._web, self._accept = web, accept

    def __call__(self, ledger: Ledger) -> Iterator[FoundObject]:
        """See Finder."""
        while True:
            since = int(ledger.mark("orthanc-changes") or 0)
            page = self._web.get_json("/changes", {"since": since, "limit": PAGE})
            if int(page.get("Last", 0)) < since and not page["Changes"]:
                ledger.mark("orthanc-changes", 0)  # the archive was set up newly: its numbers begin again
                if since:
                    continue
            for change in page["Changes"]:
                if change.get("ChangeType") == "NewInstance":
                    found = self._candidate(str(change["ID"]))
                    if found is not None:
                        yield found
                ledger.mark("orthanc-changes", change["Seq"])
            if page.get("Done", True):
                return

    def close(self) -> None:
        """See Finder."""
        self._web.close()

    def _candidate(self, key: str) -> FoundObject | None:
        tags = self._web.get_json(f"/instances/{key}/simplified-tags")
        if tags is None:  # removed meanwhile
            return None
        header = _simplified(tags)
        refused = refusal(header, self._accept, datetime.date.today())
        uids = str(header.get("SOPInstanceUID") or ""), str(header.get("StudyInstanceUID") or "")
        return FoundObject(*uids, refused, lambda: self._web.get_bytes(f"/instances/{key}/file"))


class QidoSearch:
    """Films by QIDO, of each modality, from the days that are answered. What the ledger knows is passed over."""

    def __init__(self, web: WebClient, accept: Accept) -> None:
        self._web, self._accept = web, accept

    def __call__(self, ledger: Ledger) -> Iterator[FoundObject]:
        """See Finder."""
        query: dict[str, Any] = {"includefield": list(KEYWORDS)}
        if self._accept.newest_days:
            first = datetime.date.today() - datetime.timedelta(days=self._accept.newest_days)
            query["StudyDate"] = f"{first:%Y%m%d}-"
        for modality in self._accept.modalities or [m for m in self._accept.sop_classes if m in SOP_CLASSES]:
            yield from self._of(ledger, {**query, "Modality": modality})

    def close(self) -> None:
        """See Finder."""
        self._web.close()

    def _of(self, ledger: Ledger, query: dict[str, Any]) -> Iterator[FoundObject]:
        from pydicom.dataset import Dataset

        for row in self._web.search("/instances", query, OBJECT):
            header = Dataset.from_json(row)
            uid = str(header.get("SOPInstanceUID") or "")
            if ledger.film_state(uid) is None:
                yield self._candidate(uid, header)

    def _candidate(self, uid: str, header: Dataset) -> FoundObject:
        study, series = str(header.get("StudyInstanceUID") or ""), str(header.get("SeriesInstanceUID") or "")
        # What a search does not return is asked of the film itself, when it is answered.
        return FoundObject(uid, study, None, lambda: self._web.retrieve(study, series, uid))


def _simplified(tags: dict[str, Any]) -> Dataset:
    from pydicom.dataset import Dataset

    header = Dataset()
    for keyword in KEYWORDS:
        value = tags.get(keyword)
        if isinstance(value, str) and value:
            several = keyword in ("ImageType", "PatientOrientation")
            setattr(header, keyword, value.split("\\") if several else value)
    for name in ("ViewCodeSequence", "AnatomicRegionSequence"):
        items = tags.get(name)
        if isinstance(items, list):
            setattr(header, name, [_code_of(item) for item in items if isinstance(item, dict)])
    return header


def _code_of(item: dict[str, Any]) -> Dataset:
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword in ("CodeValue", "CodeMeaning"):
        if isinstance(item.get(keyword), str):
            setattr(made, keyword, item[keyword])
    return made
