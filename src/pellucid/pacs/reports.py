"""Structured reports: the answer about the whole film, and the region of its strongest evidence.

They are two documents, because the validator that IHE uses takes every measurement group beside one of TID 1410 for
another such group.

Reference: DICOM PS3.16, TID 1500 (measurement report), 1501 (image-level group), 1410 (region), 4019 (algorithm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..classifier import Prediction, gives_score
from ..explanation.attribution import Attribution
from .codes import RESEARCH, ClassCodes, Code, class_code, own
from .content import (
    ACQUISITION,
    CONTEXT,
    MODIFIED,
    SELECTED,
    code_item,
    container,
    image_item,
    number_item,
    polyline_item,
    set_root,
    text_item,
    uid_item,
)
from .encoding import fill
from .findings import Findings, outline
from .objects import InstanceReference, begin, evidence, reference_to, scheme_item
from .origin import SR_CLASSES, ResultOrigin

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_CLASSES = 10
"""How many classes of a bundle with many get a group of their own: the most probable ones."""


def dcm(value: str, meaning: str) -> Code:
    """A code of the standard itself."""
    return Code(value, "DCM", meaning)


def sct(value: str, meaning: str) -> Code:
    """A code of SNOMED CT."""
    return Code(value, "SCT", meaning)


REPORT, LIBRARY = dcm("126000", "Imaging Measurement Report"), dcm("111028", "Image Library")
LIBRARY_GROUP, MEASUREMENTS = dcm("126200", "Image Library Group"), dcm("126010", "Imaging Measurements")
GROUP, FINDING = dcm("125007", "Measurement Group"), dcm("121071", "Finding")
TRACKING, TRACKING_UID = dcm("112039", "Tracking Identifier"), dcm("112040", "Tracking Unique Identifier")
SITE, SOURCE = sct("363698007", "Finding Site"), sct("260753009", "Source")
SOURCE_OF_MEASUREMENT = dcm("121112", "Source of Measurement")
ALGORITHM, VERSION = dcm("111001", "Algorithm Name"), dcm("111003", "Algorithm Version")
PARAMETERS, FAMILY = dcm("111002", "Algorithm Parameters"), dcm("111000", "Algorithm Family")
ARTIFICIAL_INTELLIGENCE = dcm("123110", "Artificial Intelligence")
PROBABILITY, THRESHOLD = dcm("122157", "Probability"), dcm("122411", "Threshold Value")
CALIBRATION = dcm("122422", "Calibration Method")
CLASS_ACTIVATION = dcm("130403", "Gradient-weighted class activation")
REGION = dcm("111030", "Image Region")
PRESENT, ABSENT = sct("52101004", "Present"), sct("272519000", "Absent")
INDETERMINATE = sct("82334004", "Indeterminate")
"""What is said of every finding where the model withholds its answer."""
YES, NO = sct("373066001", "Yes"), sct("373067005", "No")
MODALITIES = {"DX": "Digital Radiography", "CR": "Computed Radiography", "MG": "Mammography", "OT": "Other"}
PIXELS, MILLIMETRE = Code("{pixels}", "UCUM", "Pixels"), Code("mm", "UCUM", "millimeter")

ANSWER = own("class", "Class at the operating point")
OUTPUT = own("output", "Output of the regression model")
OUTCOME, CANDIDATE = own("outcome", "Whether an answer is given"), own("candidate", "Class of the prediction set")
OUTCOMES = {
    "answer": own("answer", "An answer is given"),
    "none": own("none-of-these", "Withheld: none of the classes"),
    "refer": own("refer", "Withheld: to be referred to a reader"),
}
COVERAGE = own("coverage", "Coverage promised for the prediction set")
USE, RESEARCH_USE = own("intended-use", "Intended use"), own("research", RESEARCH)
UNUSUAL = own("unusual", "Unusual: does not resemble the training images")
DISTANCE = own("outside-score", "Distance from the training images, limit 1")

Before = Mapping[str, Sequence[InstanceReference]]


def report(findings: Findings, origin: ResultOrigin, before: Before) -> Dataset:
    """The answer: a measurement report (TID 1500) with a group (TID 1501) for each class that is told.

    A two-class model has one group, about its positive class. `before` are reports of earlier bundles, by kind.
    """
    told = _told(findings, origin)
    groups = [_group(findings, origin, name, first=name == told[0]) for name in told]
    return _document(findings, origin, "sr", groups, before)


def _told(findings: Findings, origin: ResultOrigin) -> list[str]:
    """The classes with a group of their own, the one that was answered first."""
    manifest, found = origin.bundle.manifest, findings.prediction
    if manifest.positive is not None:
        return [manifest.positive]
    others = sorted((c for c in found.probabilities if c != found.predicted), key=lambda c: -found.probabilities[c])
    return [found.predicted, *others][:MOST_CLASSES]


def _group(findings: Findings, origin: ResultOrigin, name: str, *, first: bool) -> bytes:
    """The group of one class; the first holds what is true of the film as a whole."""
    manifest, found = origin.bundle.manifest, findings.prediction
    codes = origin.codes.finding(name)
    numbers = _numbers(findings, origin, name)
    withheld = found.decision is not None and found.decision.outcome != "answer"
    said = PRESENT if found.label == name else ABSENT
    answers = [code_item(codes, INDETERMINATE if withheld else said)]
    if first:
        answers += [code_item(ANSWER, class_code(found.label)), *_decision(found), code_item(USE, RESEARCH_USE)]
        if manifest.calibration is not None:
            method = manifest.calibration.method
            answers.append(code_item(CALIBRATION, own("cal-" + method[:12], f"{method} scaling")))
        if findings.unusual is not None:
            answers.append(code_item(UNUSUAL, YES if findings.unusual else NO))
            numbers.append(number_item(DISTANCE, round(float(found.outside_score or 0), 4)))
    site = origin.region(str(findings.source.header.get("BodyPartExamined") or ""))
    children = [
        text_item(TRACKING, f"{name} whole image", CONTEXT),
        uid_item(TRACKING_UID, origin.uid("track", name, findings.source.uid)),
        code_item(FINDING, codes),
        *([code_item(SITE, site, MODIFIED)] if site else []),
        *_algorithm(origin, ()),
        *numbers,
        *answers,
        image_item(SOURCE_OF_MEASUREMENT, findings.source.sop_class, findings.source.uid),
    ]
    return container(GROUP, children, template="1501")


def _decision(found: Prediction) -> list[bytes]:
    """Whether the answer is given, and the prediction set where the bundle has one."""
    if found.decision is None:
        return []
    made = [code_item(OUTCOME, OUTCOMES[found.decision.outcome])]
    if found.decision.candidates is not None:
        made += [code_item(CANDIDATE, class_code(name)) for name in found.decision.candidates]
        if found.decision.coverage is not None:
            made.append(number_item(COVERAGE, float(found.decision.coverage)))
    return made


def _numbers(findings: Findings, origin: ResultOrigin, name: str) -> list[bytes]:
    manifest, found = origin.bundle.manifest, findings.prediction
    if gives_score(manifest.task):
        return [number_item(OUTPUT, float(found.output or 0)), number_item(THRESHOLD, float(manifest.threshold))]
    numbers = [number_item(PROBABILITY, float(found.probabilities[name]))]
    return numbers if manifest.task == "multiclass" else [*numbers, number_item(THRESHOLD, float(manifest.threshold))]


def quantity(attribution: Attribution) -> Code:
    """What the values of a map are: the standard has a code for Grad-CAM alone."""
    return CLASS_ACTIVATION if attribution.method == "grad-cam" else own("map-value", f"Value of {attribution.method}")


def region_report(findings: Findings, origin: ResultOrigin, before: Before) -> Dataset | None:
    """Where the strongest evidence lies (TID 1410); None where nothing speaks for the class explained."""
    attribution, mask = findings.attribution, findings.region
    if attribution is None or mask is None:
        return None
    explained = (
        f"explanation: {attribution.method} for {attribution.target}",
        f"layer {attribution.layer}",
        f"score {attribution.score}",
        attribution.unit,
    )
    source = findings.source
    points = on_film(outline(mask), findings)
    image = image_item(SOURCE, source.sop_class, source.uid, SELECTED)
    children = [
        text_item(TRACKING, f"strongest evidence for {attribution.target}", CONTEXT),
        uid_item(TRACKING_UID, origin.uid("track-region", source.uid)),
        code_item(FINDING, ClassCodes(class_code(attribution.target))),
        *_algorithm(origin, explained),
        number_item(quantity(attribution), float(attribution.values.max())),
        polyline_item(REGION, points, image),
    ]
    return _document(findings, origin, "region", [container(GROUP, children, template="1410")], before)


def on_film(points: Sequence[float], findings: Findings) -> list[float]:
    """Points on the map as points on the film, should it have been shown smaller."""
    rows, columns = findings.source.size
    height, width = findings.picture.shape[:2]
    factors = (columns / width, rows / height)
    return [value * factors[i % 2] for i, value in enumerate(points)]


def _algorithm(origin: ResultOrigin, more: Sequence[str]) -> list[bytes]:
    """Algorithm identification (TID 4019)."""
    texts = (*origin.algorithm[:-1], *more, origin.algorithm[-1])
    return [
        text_item(ALGORITHM, f"pellucid {origin.name}", MODIFIED),
        text_item(VERSION, _version(), MODIFIED),
        *(text_item(PARAMETERS, text, MODIFIED) for text in texts),
        code_item(FAMILY, ARTIFICIAL_INTELLIGENCE, MODIFIED),
    ]


def _version() -> str:
    from .._version import __version__

    return __version__


def _document(findings: Findings, origin: ResultOrigin, kind: str, groups: Sequence[bytes], before: Before) -> Dataset:
    made = begin(findings, origin, kind, sop_class=SR_CLASSES[origin.sr], modality="SR")
    fill(made, CompletionFlag="COMPLETE", VerificationFlag="UNVERIFIED", PreliminaryFlag="PRELIMINARY")
    made.ReferencedPerformedProcedureStepSequence = []
    made.PerformedProcedureCodeSequence = []
    made.CurrentRequestedProcedureEvidenceSequence = evidence([reference_to(findings.source)])
    if earlier := list(before.get(kind, ())):
        made.PredecessorDocumentsSequence = evidence(earlier)
    made.CodingSchemeIdentificationSequence = [scheme_item()]
    children = [*_context(origin), _library(findings), container(MEASUREMENTS, groups)]
    set_root(made, REPORT, children, "1500")
    return made


def _context(origin: ResultOrigin) -> list[bytes]:
    """Language, observer (a device) and procedure."""
    observer = (("121013", "Name", f"pellucid {origin.name}"), ("121014", "Manufacturer", "pellucid"))
    more = (("121015", "Model Name", origin.name), ("121016", "Serial Number", origin.checksum[:16]))
    english = Code("en-US", "RFC5646", "English (United States)")
    return [
        code_item(dcm("121049", "Language of Content Item and Descendants"), english, MODIFIED),
        code_item(dcm("121005", "Observer Type"), dcm("121007", "Device"), CONTEXT),
        uid_item(dcm("121012", "Device Observer UID"), origin.uid("device")),
        *(text_item(dcm(value, f"Device Observer {what}"), text, CONTEXT) for value, what, text in (*observer, *more)),
        code_item(dcm("121058", "Procedure reported"), origin.codes.procedure, MODIFIED),
    ]


def _library(findings: Findings) -> bytes:
    """The film, with what a reader needs to place it (TID 1600)."""
    source = findings.source
    facts: list[bytes] = []
    modality = str(source.header.get("Modality") or "")
    if modality in MODALITIES:
        facts.append(code_item(dcm("121139", "Modality"), dcm(modality, MODALITIES[modality]), ACQUISITION))
    rows, columns = source.size
    facts.append(number_item(dcm("110910", "Pixel Data Rows"), rows, PIXELS, ACQUISITION))
    facts.append(number_item(dcm("110911", "Pixel Data Columns"), columns, PIXELS, ACQUISITION))
    facts += _orientation(source.header)
    film = image_item(SOURCE, source.sop_class, source.uid, children=facts)
    return container(LIBRARY, [container(LIBRARY_GROUP, [film])])


def _orientation(header: Any) -> list[bytes]:
    stated = [str(v).strip() for v in header.get("PatientOrientation") or ()]
    if len(stated) != 2 or not all(stated):
        return []
    row, column = dcm("111044", "Patient Orientation Row"), dcm("111043", "Patient Orientation Column")
    return [text_item(row, stated[0], ACQUISITION), text_item(column, stated[1], ACQUISITION)]
