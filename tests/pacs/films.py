"""Phantom films as the DX and CR objects that modalities send: awkward, valid, and all different.

Both photometric interpretations, 8 to 14 bits, several transfer syntaxes, and names in five character sets.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid

from pellucid.data.phantom_anatomy import draw_patient
from pellucid.data.phantom_film import draw_film, draw_opacities, expose

DX, CR = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1"
JAPANESE = ["", "ISO 2022 IR 87"]


class Look(NamedTuple):
    """How a film is stored, and of whom it is."""

    modality: str
    photometric: str
    bits: int
    view: str
    syntax: str
    character_set: Any
    name: str


LOOKS = (
    Look("DX", "MONOCHROME2", 12, "PA", ExplicitVRLittleEndian, "ISO_IR 100", "Phantom^Käte"),
    Look("DX", "MONOCHROME1", 12, "PA", ExplicitVRLittleEndian, "ISO_IR 192", "Phantom^Ödön"),
    Look("DX", "MONOCHROME2", 8, "AP", ImplicitVRLittleEndian, None, "Phantom^Three"),
    Look("DX", "MONOCHROME1", 14, "PA", ExplicitVRLittleEndian, "ISO_IR 144", "Фантом^Анна"),
    Look("DX", "MONOCHROME2", 12, "PA", RLELossless, "ISO_IR 100", "Phantom^Fünf"),
    Look("CR", "MONOCHROME1", 10, "PA", JPEGLSLossless, "ISO_IR 100", "Phantom^Seven"),
    Look("CR", "MONOCHROME2", 12, "AP", ImplicitVRLittleEndian, JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    Look("CR", "MONOCHROME2", 12, "AP", ExplicitVRLittleEndian, "ISO_IR 192", "ファントム^花子"),
    Look("DX", "MONOCHROME2", 12, "LL", ExplicitVRLittleEndian, "ISO_IR 100", "Phantom^Lateral"),
)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


VIEWS = {
    "PA": _code("399348003", "SCT", "postero-anterior"),
    "AP": _code("399273000", "SCT", "antero-posterior"),
    "LL": _code("399173006", "SCT", "left lateral"),
}


@cache
def grey(seed: int, size: int) -> np.ndarray:
    """A phantom film (size, size) uint8; odd seeds have opacities."""
    rng = np.random.default_rng(seed)
    film = draw_film(rng, draw_patient(rng), size)
    if seed % 2:
        from dataclasses import replace

        film = replace(film, opacities=draw_opacities(rng, film))
    return expose(film).pixels


def film(number: int, size: int = 256, look: Look | None = None, **changes: Any) -> FileDataset:
    """Film `number`: its study, series and instance are its own. `changes` are elements; None removes one."""
    look = look or LOOKS[number % len(LOOKS)]
    top = (1 << look.bits) - 1
    values = np.rint(grey(number % 6, size).astype(np.float64) / 255 * top).astype(np.uint16)
    if look.photometric == "MONOCHROME1":
        values = (top - values).astype(np.uint16)
    made = _begun(number, size, look)
    _pixels(made, values, look, top)
    for keyword, value in changes.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2")
    if look.syntax in (RLELossless, JPEGLSLossless):
        made.compress(look.syntax, generate_instance_uid=False)
    return made


def _begun(number: int, size: int, look: Look) -> FileDataset:
    seed = f"film {number} {size} {look}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DX if look.modality == "DX" else CR
    meta.TransferSyntaxUID = look.syntax if look.syntax == ImplicitVRLittleEndian else ExplicitVRLittleEndian
    d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    if look.character_set:
        d.SpecificCharacterSet = look.character_set
    d.SOPClassUID, d.SOPInstanceUID = meta.MediaStorageSOPClassUID, generate_uid(entropy_srcs=[seed, "instance"])
    d.PatientName, d.PatientID = look.name, f"PH{number:04}"
    d.PatientBirthDate, d.PatientSex = "19600101", "O"
    d.StudyInstanceUID, d.SeriesInstanceUID = (generate_uid(entropy_srcs=[seed, x]) for x in ("study", "series"))
    d.StudyDate = d.SeriesDate = d.ContentDate = d.AcquisitionDate = "20261120"
    d.StudyTime = d.SeriesTime = d.ContentTime = d.AcquisitionTime = f"10{number % 60:02}00"
    d.AccessionNumber, d.StudyID, d.ReferringPhysicianName = f"ACC{number:05}", str(number + 1), ""
    d.StudyDescription, d.SeriesDescription = "Chest X-ray (phantom)", f"Chest {look.view}"
    d.Modality, d.SeriesNumber, d.InstanceNumber = look.modality, 1, 1
    d.Manufacturer, d.ManufacturerModelName = "pellucid phantom", "phantom"
    d.StationName, d.DeviceSerialNumber, d.SoftwareVersions = "XRAY1", "0", "0"
    d.BodyPartExamined, d.ViewPosition = "CHEST", look.view
    d.PatientOrientation = ["A" if look.view == "LL" else "L", "F"]
    d.ImagerPixelSpacing = [round(350 / size, 4)] * 2
    d.LossyImageCompression, d.BurnedInAnnotation = "00", "NO"
    d.ImageType = ["ORIGINAL", "PRIMARY", ""] if look.modality == "DX" else ["ORIGINAL", "PRIMARY"]
    if look.modality == "DX":
        _digital(d, look)
    return d


def _digital(d: FileDataset, look: Look) -> None:
    """What DX demands beside CR."""
    d.PresentationIntentType, d.ImageLaterality = "FOR PRESENTATION", "U"
    d.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    view = _code(*(VIEWS[look.view].get(k) for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")))
    view.ViewModifierCodeSequence = []
    d.ViewCodeSequence = [view]
    d.PatientOrientationCodeSequence = [_code("10904000", "SCT", "erect")]
    d.PositionerType, d.PixelIntensityRelationship = "NONE", "LOG"
    d.PixelIntensityRelationshipSign = -1 if look.photometric == "MONOCHROME2" else 1
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = 0, 1, "US"
    d.DetectorType, d.DetectorConditionsNominalFlag, d.AcquisitionContextSequence = "DIRECT", "YES", []


def _pixels(d: FileDataset, values: np.ndarray, look: Look, top: int) -> None:
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, look.photometric
    d.Rows, d.Columns = values.shape
    d.BitsAllocated, d.BitsStored = (8 if look.bits == 8 else 16), look.bits
    d.HighBit, d.PixelRepresentation = look.bits - 1, 0
    d.WindowCenter, d.WindowWidth = (top + 1) / 2, top + 1
    d.PresentationLUTShape = "INVERSE" if look.photometric == "MONOCHROME1" else "IDENTITY"
    d.PixelData = (values.astype(np.uint8) if look.bits == 8 else values).tobytes()
    d["PixelData"].VR = "OB" if look.bits == 8 and look.syntax != ImplicitVRLittleEndian else "OW"


def save(made: FileDataset, path: Path) -> Path:
    """Write a film as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def read(path: Path) -> FileDataset:
    """Read an object back with its file header."""
    return dcmread(path)
