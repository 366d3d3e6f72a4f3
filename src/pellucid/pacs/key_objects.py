"""Key objects: the films of a study whose answer is the positive class.

Reference: DICOM PS3.16, TID 2010 (key object selection); PS3.3, A.35.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..classifier import Prediction
from .codes import RESEARCH
from .content import CONTEXT, code_item, image_item, set_root, text_item, uid_item
from .findings import Findings
from .objects import begin, evidence, reference_to, scheme_item
from .origin import ResultOrigin
from .reports import dcm

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..bundle.manifest import Manifest

KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"


def flagged(prediction: Prediction, manifest: Manifest) -> bool:
    """Whether a film is listed: unless its answer is the first class. A film whose answer is withheld is listed."""
    return prediction.label != manifest.classes[0]


def key_objects(films: Sequence[Findings], origin: ResultOrigin) -> Dataset:
    """One document on flagged films of a study (at least one). A longer list is another document with another UID."""
    listed = sorted(films, key=lambda f: f.source.uid)
    latest = max(listed, key=lambda f: (f.when, f.source.uid))
    uid = "|".join(f.source.uid for f in listed)
    made = begin(latest, origin, "ko", sop_class=KEY_OBJECTS, modality="KO", uid=uid)
    made.SeriesInstanceUID = origin.uid("ko", "series", latest.source.study)
    made.InstanceNumber = len(listed)
    made.ReferencedPerformedProcedureStepSequence = []
    made.CurrentRequestedProcedureEvidenceSequence = evidence([reference_to(f.source) for f in listed])
    made.CodingSchemeIdentificationSequence = [scheme_item()]
    children = [
        code_item(dcm("121005", "Observer Type"), dcm("121007", "Device"), CONTEXT),
        uid_item(dcm("121012", "Device Observer UID"), origin.uid("device")),
        text_item(dcm("121013", "Device Observer Name"), f"pellucid {origin.name}", CONTEXT),
        text_item(dcm("113012", "Key Object Description"), f"Flagged by AI. {RESEARCH}."),
        *(image_item(None, f.source.sop_class, f.source.uid) for f in listed),
    ]
    set_root(made, dcm("113000", "Of Interest"), children, "2010")
    return made
