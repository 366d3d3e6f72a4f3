"""The map's own values, signed, one for each pixel of the film.

The standard demands a frame of reference and planes in it, and a projection image has neither. So the map gets a frame
of reference of its own, shared with nothing, in which it lies in a plane at the origin: how it lies on the film is said
by its derivation and by having the film's rows and columns.

Reference: DICOM PS3.3, A.75 (parametric map).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._optional import require
from .codes import printable
from .findings import Findings
from .geometry import bare_source, common_arguments, pixel_spacing, settle_dimensions
from .objects import adopt, begin
from .origin import ResultOrigin
from .reports import quantity

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


def parametric_map(findings: Findings, origin: ResultOrigin) -> Dataset:
    """The values as floats of 32 bits, with their unit and a window that puts zero in the middle."""
    attribution = findings.attribution
    if attribution is None:
        raise ValueError("a parametric map holds a map")
    highdicom = require("highdicom", "pacs")
    from pydicom.sr.codedict import codes

    common = begin(findings, origin, "map", sop_class=PARAMETRIC_MAP, modality="OT")
    values = np.ascontiguousarray(attribution.values, np.float32)
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high)) or 1.0
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label=printable(attribution.method, 16),
        lut_explanation=printable(f"{attribution.unit}; positive speaks for {attribution.target}"),
        unit=codes.UCUM.NoUnits,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=highdicom.sr.CodedConcept(*quantity(attribution)),
    )
    made = highdicom.pm.ParametricMap(
        source_images=[_in_a_plane(findings, origin)],
        pixel_array=values,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation(0.0, 2 * size, voi_lut_function="LINEAR_EXACT")],
        content_label="HEATMAP",
        content_description=printable(f"{attribution.method} for {attribution.target}, {attribution.unit}"),
        content_qualification="RESEARCH",
        image_flavor="STATIC",
        derivation=codes.DCM.ImageProcessing,
        **common_arguments(common),
    )
    settle_dimensions(made, origin.uid("dimensions", str(common.SOPInstanceUID)))
    made.PatientOrientation = findings.source.header.get("PatientOrientation") or ""
    return adopt(made, common)


def _in_a_plane(findings: Findings, origin: ResultOrigin) -> Dataset:
    bare = bare_source(findings)
    bare.Rows, bare.Columns = findings.picture.shape[:2]
    bare.FrameOfReferenceUID, bare.PositionReferenceIndicator = origin.uid("frame", findings.source.uid), ""
    bare.ImagePositionPatient, bare.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    bare.PixelSpacing, bare.SliceThickness = pixel_spacing(findings), 1
    return bare
