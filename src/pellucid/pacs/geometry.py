"""The film as highdicom needs it: its geometry alone, with nothing that names a patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .content import dataset
from .findings import Findings
from .source import NEVER_ABSENT

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def bare_source(findings: Findings) -> Dataset:
    """A dataset for highdicom's `source_images`; patient and study are put in afterwards, as the film holds them."""
    source = findings.source
    made = dataset(**dict.fromkeys(NEVER_ABSENT, ""))
    made.SOPClassUID, made.SOPInstanceUID = source.sop_class, source.uid
    made.StudyInstanceUID, made.SeriesInstanceUID = source.study, source.series
    made.Rows, made.Columns = source.size
    made.Modality = str(source.header.get("Modality") or "OT")
    return made


def pixel_spacing(findings: Findings) -> list[float]:
    """Millimetres from row to row and from column to column; 1 where the film states none."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = findings.source.header.get(keyword)
        if value and len(value) == 2 and all(float(v) > 0 for v in value):
            return [float(v) for v in value]
    return [1.0, 1.0]


def common_arguments(common: Dataset) -> dict[str, object]:
    """What highdicom asks of every object, from what all results have in common."""
    return {
        "series_instance_uid": common.SeriesInstanceUID,
        "series_number": int(common.SeriesNumber),
        "sop_instance_uid": common.SOPInstanceUID,
        "instance_number": int(common.InstanceNumber),
        "manufacturer": common.Manufacturer,
        "manufacturer_model_name": common.ManufacturerModelName,
        "software_versions": common.SoftwareVersions,
        "device_serial_number": common.DeviceSerialNumber,
    }


def settle_dimensions(made: Dataset, uid: str) -> None:
    """Give the dimension organisation a UID that follows from the object, where highdicom drew one."""
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in made.get(name, ()):
            item.DimensionOrganizationUID = uid
