"""Copies of films without what identifies a person: the Basic Application Level Confidentiality Profile of DICOM.

Only elements that are listed here stay: how the picture is stored, how it is shown, how it was taken, and what part of
the body it shows, at the top and in sequences. Everything else goes, known or unknown, standard or private, so that no
list of identifying elements has to be complete. Patient, study, series and object get names that follow from a secret
key, so that what belonged together still does; without the key nobody can tell from whom it is.

What is not done: pixels are not changed, except for bits that hold no part of the picture; text in a compressed stream
(a comment of a JPEG) stays. A film that states text in its picture is refused.

Reference: DICOM PS3.15, E.1 to E.3.1 and table E.1-1; codes of CID 7050.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, InputError
from ..files import cells, write_whole
from ..images.read import read_file
from .content import code_sequence, dataset
from .encoding import to_bytes
from .objects import with_header
from .reports import dcm
from .source import NEVER_ABSENT, FilmSource, UnusableFilm, read_source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

INDEX = "films.csv"
_KEPT = """
SOPClassUID Modality Manufacturer ManufacturerModelName ImageType PresentationIntentType InstanceNumber SeriesNumber
AcquisitionNumber BodyPartExamined ViewPosition Laterality ImageLaterality PatientOrientation BurnedInAnnotation
RecognizableVisualFeatures ConversionType PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing
PixelSpacingCalibrationType PixelAspectRatio DistanceSourceToDetector DistanceSourceToPatient
EstimatedRadiographicMagnificationFactor KVP ExposureTime ExposureTimeInuS XRayTubeCurrent XRayTubeCurrentInuA
Exposure ExposureInuAs FilterType Grid FocalSpots PositionerType PositionerPrimaryAngle PositionerSecondaryAngle
DetectorType DetectorConfiguration DetectorConditionsNominalFlag DetectorElementSpacing DetectorElementPhysicalSize
DetectorActiveShape DetectorActiveDimensions FieldOfViewShape FieldOfViewDimensions FieldOfViewRotation
FieldOfViewHorizontalFlip FieldOfViewOrigin ExposureIndex TargetExposureIndex DeviationIndex RelativeXRayExposure
Sensitivity PixelIntensityRelationship PixelIntensityRelationshipSign RescaleIntercept RescaleSlope RescaleType
WindowCenter WindowWidth VOILUTFunction PresentationLUTShape LossyImageCompression LossyImageCompressionRatio
LossyImageCompressionMethod SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows
Columns BitsAllocated BitsStored HighBit PixelRepresentation SmallestImagePixelValue LargestImagePixelValue
PixelPaddingValue PixelPaddingRangeLimit RedPaletteColorLookupTableDescriptor
GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData
GreenPaletteColorLookupTableData BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData BreastImplantPresent
PartialView OrganExposed CollimatorShape CollimatorLeftVerticalEdge CollimatorRightVerticalEdge
CollimatorUpperHorizontalEdge CollimatorLowerHorizontalEdge ShutterShape ShutterLeftVerticalEdge
ShutterRightVerticalEdge ShutterUpperHorizontalEdge ShutterLowerHorizontalEdge ShutterPresentationValue
CodeValue CodingSchemeDesignator CodingSchemeVersion CodeMeaning LUTDescriptor LUTData ModalityLUTType
PixelData
"""
KEPT = frozenset(_KEPT.split())
"""What stays as it is: values of the picture, of its display, its technique and its anatomy."""
_SEQUENCES = """
AnatomicRegionSequence AnatomicRegionModifierSequence PrimaryAnatomicStructureSequence ViewCodeSequence
ViewModifierCodeSequence PatientOrientationCodeSequence PatientOrientationModifierCodeSequence
PatientGantryRelationshipCodeSequence ModalityLUTSequence VOILUTSequence
"""
SEQUENCES = frozenset(_SEQUENCES.split())
"""Sequences that stay, with what of their items is listed."""
# Elements that their modules demand, though they may be empty (type 2).
_EMPTY = ("AcquisitionContextSequence",)
_UNCOMPRESSED = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"))


@dataclass(frozen=True, slots=True)
class DeidentifiedFilm:
    """A copy: its bytes, the names of patient and study in it, its own UID, and whether text in the picture is told."""

    data: bytes
    patient: str
    study: str
    uid: str
    burned_in: str


@dataclass(frozen=True, slots=True)
class DeidentifiedFolder:
    """Copies by path, and each file that was not copied, with the reason."""

    files: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


class Deidentifier:
    """Copies films under names that follow from `key`; without one, from a key that nobody keeps."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._key, f"{kind}|{value}".encode("utf-8", "surrogateescape"), hashlib.sha256).digest()

    def uid(self, original: str) -> str:
        """The new UID of a study, series or object."""
        return f"2.25.{int.from_bytes(self._digest('uid', original)[:16], 'big')}"

    def patient(self, source: FilmSource) -> str:
        """The new Patient ID: the same for the same ID and issuer; that of the study for a film without an ID."""
        header = source.header
        told = str(header.get("PatientID") or "").strip()
        who = f"{told}|{header.get('IssuerOfPatientID') or ''}" if told else f"|study|{source.study}"
        return f"P{self._digest('patient', who).hex()[:12].upper()}"

    def film(self, data: bytes, *, burned_in: bool = False) -> DeidentifiedFilm:
        """A copy of one film. Raises UnusableFilm for what is no picture, and for text in it unless `burned_in`."""
        import pydicom

        from ..images.containers import quiet

        source = read_source(data)
        stated = str(source.header.get("BurnedInAnnotation") or "").strip().upper()
        if stated == "YES" and not burned_in:
            reason = "The film states that its picture holds text (BurnedInAnnotation), which may be a name."
            raise UnusableFilm("burned-in", f"{reason} Look at it, then allow it by `burned_in=True`.")
        with quiet("pydicom"):
            try:
                whole = pydicom.dcmread(io.BytesIO(data), force=True)
                made = self._copied(whole, source) if "PixelData" in whole else None
                copy = b"" if made is None else to_bytes(made)
            except Exception:  # pydicom raises errors of many kinds on damaged files, with their text
                raise UnusableFilm("not-dicom", "The DICOM object is damaged.") from None
        if made is None:
            raise UnusableFilm("not-an-image", "The DICOM object holds no picture.")
        return DeidentifiedFilm(copy, str(made.PatientID), str(made.StudyInstanceUID), str(made.SOPInstanceUID), stated)

    def _copied(self, whole: Dataset, source: FilmSource) -> Dataset:
        made = _listed(whole)
        if source.character_set:
            made.SpecificCharacterSet = list(source.character_set)
        for keyword in NEVER_ABSENT:
            setattr(made, keyword, "")
        for keyword in _EMPTY:
            if keyword in whole:
                setattr(made, keyword, [])
        made.PatientID = made.PatientName = self.patient(source)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(made, keyword, self.uid(str(whole.get(keyword))))
        _say_so(made)
        syntax = str(whole.file_meta.get("TransferSyntaxUID") or "") or _syntax_of(whole)
        with_header(made, syntax)
        implicit, little = whole.original_encoding
        made.set_original_encoding(implicit, little, whole._character_set)
        if syntax in _UNCOMPRESSED:
            _clean_unused_bits(made, little=bool(little))
        return made


def _listed(found: Dataset) -> Dataset:
    """The elements that stay, and of sequences what stays in their items."""
    made = dataset()
    for element in found:
        if element.keyword in KEPT and element.VR != "SQ":
            made[element.tag] = element
        elif element.keyword in SEQUENCES and element.VR == "SQ":
            setattr(made, element.keyword, [_listed(item) for item in element.value])
    return made


def _say_so(made: Dataset) -> None:
    """State what was done, and that times are gone. Reference: PS3.3, C.7.1.1 and C.12.1.1.9."""
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "pellucid: only listed elements kept"
    made.DeidentificationMethodCodeSequence = code_sequence(dcm("113100", "Basic Application Confidentiality Profile"))
    made.LongitudinalTemporalInformationModified = "REMOVED"


def _syntax_of(whole: Dataset) -> str:
    implicit, little = whole.original_encoding
    return f"1.2.840.10008.1.2{'' if implicit else '.1' if little else '.2'}"


def _clean_unused_bits(made: Dataset, *, little: bool) -> None:
    """Let no bit outlive that is no part of a pixel: older equipment stores overlays with a name in them there."""
    import numpy as np

    from ..images.dicom_values import stored_values

    allocated, stored = int(made.BitsAllocated), int(made.BitsStored)
    if allocated not in (8, 16) or stored == allocated:
        return
    words = np.frombuffer(made.PixelData, f"{'<' if little else '>'}u{allocated // 8}")
    signed = bool(made.get("PixelRepresentation") or 0)
    values = stored_values(words, stored, int(made.HighBit), signed)
    kind = f"{'<' if little else '>'}{'i' if signed else 'u'}{allocated // 8}"
    made.PixelData = values.astype(kind).tobytes()
    made.HighBit = stored - 1


def deidentify_files(
    files: Sequence[Path], out: Path, *, key: bytes | None = None, burned_in: bool = False
) -> DeidentifiedFolder:
    """Copy films into `out/PATIENT/STUDY/FILM.dcm`, and list them in `out/films.csv` with patient and study.

    A file that cannot be copied is skipped. Raises InputError where `out` holds anything.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder: choose another `out=`.")
    maker = Deidentifier(key)
    made: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    rows: list[tuple[Any, ...]] = []
    for path in files:
        try:
            film = maker.film(read_file(path), burned_in=burned_in)
        except (ImageError, UnusableFilm) as error:
            skipped.append((path, str(error)))
            continue
        copy = out / film.patient / film.study / f"{film.uid}.dcm"
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(copy, film.data)
        made.append(copy)
        rows.append((copy.relative_to(out).as_posix(), film.patient, film.study, film.burned_in or "not stated"))
    if rows:
        write_whole(out / INDEX, _table(rows))
    return DeidentifiedFolder(tuple(made), tuple(skipped))


def _table(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "PatientID", "StudyInstanceUID", "burned_in"))
    writer.writerows(cells([str(value) for value in row]) for row in rows)
    return text.getvalue()
