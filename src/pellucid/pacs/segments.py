"""The region of the strongest evidence as a segmentation.

Reference: DICOM PS3.3, A.51 (segmentation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._optional import require
from .._version import __version__
from .codes import RESEARCH, printable
from .findings import Findings
from .geometry import bare_source, common_arguments, settle_dimensions
from .objects import adopt, begin
from .origin import ResultOrigin
from .reports import quantity

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def segmentation(findings: Findings, origin: ResultOrigin) -> Dataset | None:
    """The region as one binary segment of the film's size; None where nothing speaks for the class explained."""
    attribution, mask = findings.attribution, findings.region
    if attribution is None or mask is None:
        return None
    highdicom = require("highdicom", "pacs")
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    common = begin(findings, origin, "seg", sop_class=SEGMENTATION, modality="SEG")
    label = printable(f"evidence for {attribution.target}")
    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=CodedConcept("309825002", "SCT", "Spatial and Relational Concept"),
        segmented_property_type=CodedConcept(*quantity(attribution)),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=printable(f"pellucid {origin.name}"), family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        tracking_uid=origin.uid("track-region", findings.source.uid),
        tracking_id=label,
    )
    made = highdicom.seg.Segmentation(
        source_images=[_sized(findings)],
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[description],
        content_label="EVIDENCE",
        content_description=RESEARCH,
        **common_arguments(common),
    )
    # Pixel measures are not valid without a slice thickness, which a film does not have.
    made.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence", None)
    settle_dimensions(made, origin.uid("dimensions", str(common.SOPInstanceUID)))
    made.PatientOrientation = findings.source.header.get("PatientOrientation") or ""
    return adopt(made, common)


def _sized(findings: Findings) -> Dataset:
    bare = bare_source(findings)
    bare.Rows, bare.Columns = findings.picture.shape[:2]
    return bare
