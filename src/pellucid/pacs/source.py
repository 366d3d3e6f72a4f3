"""The film that a result is about: its header, without pixels, and what of it every result takes over.

What identifies patient and study is copied as the bytes that the film holds, so that no name is changed by decoding
and encoding it. Only where pellucid adds text that the film's character set lacks, everything becomes UTF-8.
"""

from __future__ import annotations

import datetime
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..errors import InputError
from .encoding import as_stored, fill

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UTF_8 = "ISO_IR 192"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

# Reference: DICOM PS3.3, C.7.1.1 (patient), C.7.1.3 and C.7.2.3 (clinical trial), C.7.2.1 (study), C.7.2.2.
_PATIENT = """
PatientName PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID OtherPatientIDs
OtherPatientIDsSequence OtherPatientNames PatientBirthDate PatientBirthTime PatientBirthDateInAlternativeCalendar
PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar PatientSex QualityControlSubject EthnicGroup
PatientComments PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence
BreedRegistrationSequence StrainDescription StrainNomenclature ResponsiblePerson ResponsiblePersonRole
ResponsibleOrganization PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
ReferencedPatientSequence ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName
ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber
"""
PATIENT = tuple(_PATIENT.split())
_STUDY = """
StudyInstanceUID StudyDate StudyTime ReferringPhysicianName ReferringPhysicianIdentificationSequence
ConsultingPhysicianName ConsultingPhysicianIdentificationSequence StudyID AccessionNumber
IssuerOfAccessionNumberSequence StudyDescription PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence
NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence RequestingServiceCodeSequence
ReferencedStudySequence ProcedureCodeSequence ReasonForPerformedProcedureCodeSequence
AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientSizeCodeSequence
PatientWeight PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension MedicalAlerts Allergies SmokingStatus
PregnancyStatus LastMenstrualDate PatientState Occupation AdditionalPatientHistory AdmissionID
IssuerOfAdmissionIDSequence ServiceEpisodeID IssuerOfServiceEpisodeIDSequence ServiceEpisodeDescription
PatientSexNeutered ReasonForVisit ReasonForVisitCodeSequence ClinicalTrialTimePointID
ClinicalTrialTimePointDescription LongitudinalTemporalOffsetFromEvent LongitudinalTemporalEventType
ConsentForClinicalTrialUseSequence
"""
STUDY = tuple(_STUDY.split())
# A time zone holds for every time of an object, those copied from the study too: only the film's own will do.
ABOUT_ALL = ("TimezoneOffsetFromUTC",)
# Elements that every object has, empty where the film has none (type 2).
_NEVER_ABSENT = """
PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber
"""
NEVER_ABSENT = tuple(_NEVER_ABSENT.split())
NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
TEXTUAL = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"))


class UnusableFilm(InputError):
    """A DICOM object about which no result can be written.

    `code` is one of `not-dicom`, `no-uid`, `bad-uid` and `not-an-image`.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class FilmSource:
    """A film's header. `kept` are the elements that identify patient and study, as stored, by tag."""

    header: Dataset
    kept: dict[int, Any]
    character_set: tuple[str, ...]

    @property
    def uid(self) -> str:
        return str(self.header.SOPInstanceUID)

    @property
    def sop_class(self) -> str:
        return str(self.header.SOPClassUID)

    @property
    def series(self) -> str:
        return str(self.header.SeriesInstanceUID)

    @property
    def study(self) -> str:
        return str(self.header.StudyInstanceUID)

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        return int(self.header.Rows), int(self.header.Columns)

    @property
    def time(self) -> datetime.datetime | None:
        """When the film was acquired, in its own time zone; else when its content was made, or its study began."""
        for stem in ("Acquisition", "Content", "Series", "Study"):
            found = moment(self.header.get(f"{stem}Date"), self.header.get(f"{stem}Time"))
            if found is not None:
                return found
        return None

    def local(self, when: datetime.datetime) -> datetime.datetime:
        """A time in the zone that the film states; in this machine's zone where it states none."""
        if when.tzinfo is None:
            return when
        offset = re.fullmatch(r"([+-])(\d\d)(\d\d)", str(self.header.get("TimezoneOffsetFromUTC") or "").strip())
        if offset is None:
            return when.astimezone().replace(tzinfo=None)
        minutes = (int(offset[2]) * 60 + int(offset[3])) * (-1 if offset[1] == "-" else 1)
        zone = datetime.timezone(datetime.timedelta(minutes=minutes))
        return when.astimezone(zone).replace(tzinfo=None)

    def identity(self, character_set: str | None) -> Dataset:
        """Patient, study and time zone as a dataset: as stored, or decoded for `character_set`."""
        from pydicom.dataset import Dataset

        made = Dataset()
        if character_set is None and self.character_set:
            made.SpecificCharacterSet = list(self.character_set)
        elif character_set is not None:
            made.SpecificCharacterSet = character_set
        for tag, element in self.kept.items():
            made[tag] = element if character_set is None else self._decoded(element)
        fill(made, **{keyword: "" for keyword in NEVER_ABSENT if keyword not in made})
        return made

    def _decoded(self, element: Any) -> Any:
        from pydicom.charset import convert_encodings
        from pydicom.dataelem import RawDataElement, convert_raw_data_element

        if isinstance(element, RawDataElement):
            element = convert_raw_data_element(element, encoding=convert_encodings(list(self.character_set) or None))
        return _as_text(element)


def _as_text(element: Any) -> Any:
    """The element with names as text rather than as the bytes that they were, in the items of a sequence too."""
    from pydicom.dataelem import DataElement
    from pydicom.valuerep import PersonName

    if element.VR == "SQ":
        for item in element.value:
            item.pop("SpecificCharacterSet", None)
            for inner in list(item):
                item[inner.tag] = _as_text(inner)
    if element.VR != "PN":
        return element
    names = element.value if element.VM > 1 else [element.value]
    texts = [PersonName(str(name)) for name in names if name is not None]
    return DataElement(element.tag, "PN", texts if len(texts) > 1 else texts[0] if texts else "")


def moment(date: Any, time: Any) -> datetime.datetime | None:
    """A date and time of DICOM; None for what is none. A missing or broken time is midnight."""
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", str(date or "").strip())
    if found is None:
        return None
    clock = re.match(r"(\d\d):?(\d\d)?:?(\d\d)?", str(time or "").strip())
    hours, minutes, seconds = (int(part or 0) for part in clock.groups()) if clock else (0, 0, 0)
    try:
        year, month, day = (int(part) for part in found.groups())
        return datetime.datetime(year, month, day, hours, minutes, min(seconds, 59))
    except ValueError:
        return None


def read_source(data: bytes) -> FilmSource:
    """Read the header of a film. Raises UnusableFilm for what is no DICOM image with the UIDs that a result needs."""
    require("pydicom", "pacs")
    import pydicom

    from ..images.containers import quiet

    with quiet("pydicom"):
        try:
            header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
            kept = _kept(header)
            uids = {keyword: str(header.get(keyword) or "") for keyword in NEEDED}
        except Exception:  # pydicom raises errors of many kinds on damaged files, with their text
            raise UnusableFilm("not-dicom", "The file is not a DICOM object, or it is damaged.") from None
    if not any(uids.values()):
        raise UnusableFilm("not-dicom", "The file is not a DICOM object.")
    for keyword, uid in uids.items():
        if not uid:
            reason = "results cannot be filed without it"
            raise UnusableFilm("no-uid", f"The DICOM object has no {keyword}, and {reason}.")
        if len(uid) > 64 or not _UID.fullmatch(uid):
            raise UnusableFilm("bad-uid", f"The {keyword} of the DICOM object is not a valid UID.")
    if not header.get("Rows") or not header.get("Columns"):
        raise UnusableFilm("not-an-image", "The DICOM object holds no picture.")
    stated = header.get("SpecificCharacterSet")
    values = [stated] if isinstance(stated, str) else list(stated or [])
    return FilmSource(header, kept, tuple(str(v) for v in values) if any(values) else ())


@lru_cache(maxsize=1)
def _taken_over() -> dict[int, str]:
    """The tags of what is kept of every film, and their value representations."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tags = (tag_for_keyword(keyword) for keyword in (*PATIENT, *STUDY, *ABOUT_ALL))
    return {tag: dictionary_VR(tag) for tag in tags if tag is not None}


def _kept(header: Dataset) -> dict[int, Any]:
    """What identifies patient and study, as stored: text as its bytes, whatever the encoding of the file around it."""
    from pydicom.dataelem import RawDataElement

    found: dict[int, Any] = {}
    known = _taken_over()
    for tag in header.keys() & known.keys():
        element: Any = header.get_item(tag)
        kind = known[tag]
        if isinstance(element, RawDataElement) and kind in TEXTUAL and element.value is not None:
            found[tag] = as_stored(tag, kind, element.value)
        else:
            found[tag] = header[tag]
    return found
