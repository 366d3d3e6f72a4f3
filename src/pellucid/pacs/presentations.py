"""The outline of the strongest evidence as a presentation state, which viewers lay over the film itself.

A presentation state says everything about how the film is shown, so it repeats the film's own rescaling and window. Its
shape counts instead of the film's photometric interpretation: a MONOCHROME1 film needs INVERSE, or it is a negative.

Reference: DICOM PS3.3, A.33.1 (grayscale softcopy presentation state), C.11.4 to C.11.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..images.dicom_values import is_inverted
from .codes import RESEARCH, printable
from .content import dataset
from .findings import Findings, outline
from .objects import begin, instance
from .origin import ResultOrigin
from .reports import on_film

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
LAYER = "EVIDENCE"
RESCALING = ("RescaleIntercept", "RescaleSlope")


def presentation_state(findings: Findings, origin: ResultOrigin) -> Dataset | None:
    """An outline with a label; None where nothing speaks for the class explained."""
    attribution, mask, source = findings.attribution, findings.region, findings.source
    if attribution is None or mask is None:
        return None
    made = begin(findings, origin, "gsps", sop_class=PRESENTATION_STATE, modality="PR")
    made.PresentationCreationDate, made.PresentationCreationTime = made.ContentDate, made.ContentTime
    del made.ContentDate, made.ContentTime
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = LAYER, RESEARCH, ""
    film = instance(source.sop_class, source.uid)
    made.ReferencedSeriesSequence = [dataset(SeriesInstanceUID=source.series, ReferencedImageSequence=[film])]
    made.GraphicLayerSequence = [
        dataset(GraphicLayer=LAYER, GraphicLayerOrder=1, GraphicLayerDescription="pellucid evidence")
    ]
    points = on_film(outline(mask), findings)
    label = printable(f"AI evidence for {attribution.target}", 400)
    made.GraphicAnnotationSequence = [_annotation(film, points, f"{label} - research, not for diagnosis")]
    rows, columns = source.size
    made.DisplayedAreaSelectionSequence = [
        dataset(
            DisplayedAreaTopLeftHandCorner=[1, 1],
            DisplayedAreaBottomRightHandCorner=[columns, rows],
            PresentationSizeMode="SCALE TO FIT",
            PresentationPixelAspectRatio=_aspect(source.header),
        )
    ]
    _copy_display(made, source.header)
    return made


def _annotation(film: Dataset, points: list[float], label: str) -> Dataset:
    line = dataset(
        GraphicAnnotationUnits="PIXEL",
        GraphicDimensions=2,
        NumberOfGraphicPoints=len(points) // 2,
        GraphicData=points,
        GraphicType="POLYLINE",
        GraphicFilled="N",
    )
    text = dataset(
        AnchorPointAnnotationUnits="PIXEL",
        UnformattedTextValue=label,
        AnchorPoint=points[:2],
        AnchorPointVisibility="Y",
    )
    return dataset(
        ReferencedImageSequence=[film], GraphicLayer=LAYER, TextObjectSequence=[text], GraphicObjectSequence=[line]
    )


def _aspect(header: Any) -> list[int]:
    """Height to width of a pixel as two whole numbers."""
    stated = header.get("PixelAspectRatio")
    if stated and len(stated) == 2:
        return [int(n) for n in stated]
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if spacing and len(spacing) == 2 and float(spacing[0]) != float(spacing[1]):
        return [round(float(spacing[0]) * 10_000), round(float(spacing[1]) * 10_000)]
    return [1, 1]


def _copy_display(made: Dataset, header: Any) -> None:
    """The film's modality transformation, its first window or table, and its polarity."""
    if header.get("ModalityLUTSequence"):
        made.ModalityLUTSequence = header.ModalityLUTSequence
    elif all(header.get(keyword) is not None for keyword in RESCALING):
        for keyword in RESCALING:
            setattr(made, keyword, header.get(keyword))
        made.RescaleType = str(header.get("RescaleType") or "US")
    if header.get("VOILUTSequence"):
        made.SoftcopyVOILUTSequence = [dataset(VOILUTSequence=[header.VOILUTSequence[0]])]
    elif header.get("WindowCenter") not in (None, "") and header.get("WindowWidth") not in (None, ""):
        window = dataset(WindowCenter=_first(header.WindowCenter), WindowWidth=_first(header.WindowWidth))
        if header.get("VOILUTFunction"):
            window.VOILUTFunction = str(header.VOILUTFunction)
        made.SoftcopyVOILUTSequence = [window]
    made.PresentationLUTShape = "INVERSE" if is_inverted(header) else "IDENTITY"


def _first(value: Any) -> Any:
    return value[0] if not isinstance(value, str) and hasattr(value, "__len__") and len(value) else value
