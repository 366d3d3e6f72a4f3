"""What all results have in common: file header, patient, study, series, equipment and references.

Everything that is written follows from the film, the bundle and one time, so that the same film and bundle give the
same bytes under the same UIDs.

Reference: DICOM PS3.3, C.7.3.1 (series), C.7.5.1 (equipment), C.12.1 (SOP common).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .._version import __version__
from .codes import SCHEME, Code, printable
from .content import contributing_equipment, dataset
from .encoding import EXPLICIT_LITTLE_ENDIAN, fill, header_of, to_bytes
from .findings import Findings
from .kinds import find_kind
from .origin import IMPLEMENTATION, ResultOrigin
from .source import UTF_8, FilmSource

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
# The purpose for which equipment contributed: DICOM PS3.16, CID 7005.
PROCESSING = Code("109102", "DCM", "Processing Equipment")
# Of these the side must be told: DICOM PS3.16, annex L, column "paired".
_PAIRED = """
ANKLE ARM BREAST CALCANEUS CLAVICLE ELBOW EXTREMITY EYE FEMUR FINGER FOOT FOREARM HAND HIP HUMERUS KNEE LEG RADIUS
SCAPULA SHOULDER TIBIA TOE ULNA WRIST
"""
PAIRED = frozenset(_PAIRED.split())


class InstanceReference(NamedTuple):
    """An object in an archive, and the study and series that it is in."""

    sop_class: str
    uid: str
    study: str
    series: str


@dataclass(frozen=True)
class Result:
    """A result before it is written: the object, and the kind that it is of."""

    kind: str
    object: Dataset

    @property
    def reference(self) -> InstanceReference:
        d = self.object
        uids = (d.SOPClassUID, d.SOPInstanceUID, d.StudyInstanceUID, d.SeriesInstanceUID)
        return InstanceReference(*map(str, uids))

    def to_bytes(self) -> bytes:
        """The object as a DICOM file."""
        return to_bytes(self.object)


def begin(
    findings: Findings, origin: ResultOrigin, kind: str, *, sop_class: str, modality: str, uid: str = ""
) -> Dataset:
    """An object of `kind` with everything that does not depend on its content.

    `uid` is what its SOP Instance UID is derived from, the film's own by default.
    """
    row, source, when = find_kind(kind), findings.source, findings.when
    made = source.identity(None if origin.plain else UTF_8)
    instance_uid = origin.uid(kind, "instance", uid or source.uid)
    date, time = f"{when:%Y%m%d}", f"{when:%H%M%S}"
    fill(
        made,
        SOPClassUID=sop_class,
        SOPInstanceUID=instance_uid,
        SeriesInstanceUID=origin.uid(kind, "series", source.series),
        SeriesNumber=str(row.series),
        InstanceNumber=_number(source),
        Modality=modality,
        SeriesDescription=f"AI {row.title} - research, not for diagnosis",
        ContentDate=date,
        ContentTime=time,
        InstanceCreationDate=date,
        InstanceCreationTime=time,
    )
    _equipment(made, findings, origin)
    if modality != "SR" and modality != "KO":
        _body_part(made, source)
    _set_header(made, sop_class, instance_uid, EXPLICIT_LITTLE_ENDIAN)
    return made


def with_header(made: Dataset, syntax: str) -> None:
    """Give an object its file header."""
    _set_header(made, str(made.SOPClassUID), str(made.SOPInstanceUID), syntax)


def version_name() -> str:
    """The Implementation Version Name of files and associations."""
    return printable(f"PELLUCID {__version__}", 16)


def file_header(sop_class: str, uid: str, syntax: str) -> bytes:
    """Preamble and file meta information of an object that came without them."""
    return header_of(sop_class, uid, syntax, IMPLEMENTATION, version_name())


def _set_header(made: Dataset, sop_class: str, uid: str, syntax: str) -> None:
    from pydicom.dataset import FileMetaDataset

    made.file_meta = FileMetaDataset()
    fill(
        made.file_meta,
        MediaStorageSOPClassUID=sop_class,
        MediaStorageSOPInstanceUID=uid,
        TransferSyntaxUID=syntax,
        ImplementationClassUID=IMPLEMENTATION,
        ImplementationVersionName=version_name(),
    )
    made.preamble = b"\0" * 128


def _number(source: FilmSource) -> str:
    text = str(source.header.get("InstanceNumber") or "").strip()
    return str(int(text)) if text.isdecimal() and 0 < int(text) < 2**31 else "1"


def _equipment(made: Dataset, findings: Findings, origin: ResultOrigin) -> None:
    fill(
        made,
        Manufacturer="pellucid",
        ManufacturerModelName=origin.name,
        DeviceSerialNumber=origin.checksum[:16],
        SoftwareVersions=__version__,
        StationName="PELLUCID",
    )
    device = contributing_equipment("pellucid", origin.name, origin.uid("device"), __version__, PROCESSING)
    made[device.tag] = device
    if "InstitutionName" in findings.source.header and origin.plain:
        element = findings.source.header.get_item("InstitutionName")
        if getattr(element, "VR", None) == "LO":
            made[element.tag] = element


def _body_part(made: Dataset, source: FilmSource) -> None:
    """Body part and side. Of a paired part without a stated side, the side is there and empty, as it must be."""
    header = source.header
    part = str(header.get("BodyPartExamined") or "").strip().upper()
    if part:
        made.BodyPartExamined = part[:16]
    side = next(
        (s for k in ("Laterality", "ImageLaterality") if (s := str(header.get(k) or "").strip()) in ("L", "R")), ""
    )
    if side or not part or part in PAIRED:
        made.Laterality = side


def instance(sop_class: str, uid: str) -> Dataset:
    """A reference to an instance."""
    return dataset(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid)


def evidence(references: Sequence[InstanceReference]) -> list[Dataset]:
    """References by study and series, as evidence and predecessors are listed (PS3.3, C.17.2.2)."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for r in references:
        studies.setdefault(r.study, {}).setdefault(r.series, []).append(instance(r.sop_class, r.uid))
    return [
        dataset(
            StudyInstanceUID=study,
            ReferencedSeriesSequence=[
                dataset(SeriesInstanceUID=series, ReferencedSOPSequence=items) for series, items in by_series.items()
            ],
        )
        for study, by_series in studies.items()
    ]


def reference_to(source: FilmSource) -> InstanceReference:
    """The film as a reference."""
    return InstanceReference(source.sop_class, source.uid, source.study, source.series)


def scheme_item() -> Dataset:
    """Who is responsible for the private codes."""
    return dataset(
        CodingSchemeDesignator=SCHEME,
        CodingSchemeName="pellucid classes and measures",
        CodingSchemeResponsibleOrganization="pellucid",
    )


def adopt(made: Dataset, common: Dataset) -> Dataset:
    """An object of highdicom with what all results have in common, in place of what highdicom wrote.

    Its creation time and its default equipment are removed, as they would differ from one moment to the next.
    """
    for keyword in ("ContributingEquipmentSequence", "SpecificCharacterSet"):
        made.pop(keyword, None)
    for tag in list(common.keys()):
        made[tag] = common.get_item(tag)
    made.file_meta, made.preamble = common.file_meta, common.preamble
    return made
