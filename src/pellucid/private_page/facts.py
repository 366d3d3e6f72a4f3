"""What the page knows: the model's card, what the scripts need of the manifest, words, the check of the browser."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from .. import serving
from ..bundle.bundle import Bundle, load
from ..bundle.goes_by import KnownConcepts
from ..bundle.manifest import MODEL, Layer, Manifest
from ..bundle.run import RunFolder, RunRecord
from ..errors import BundleError
from ..evaluation.detectors import ByClass, Energy, Neighbours, OutsideDetector
from ..evaluation.discovered_verdicts import status_of
from ..evaluation.flags import read_flag
from ..evaluation.joint import Joint
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.outside import REFERENCE, Surroundings, outside_warning
from ..evaluation.schema import METRICS_FILE, MetricsDocument
from ..explanation.catalogue import find_method
from ..images.formats import titles
from ..serving.cards import card
from ..serving.settings import MEGABYTE, ServerSettings
from . import graphics
from .packing import GRAPHICS

HERE = Path(__file__).parent
WORDS = Path(serving.__file__).parent / "static" / "i18n"
FORMATS = frozenset({"DICOM", "JPEG", "PNG", "WEBP", "GIF", "BMP"})
"""What browsers decode as Pillow does, and the films that `js/dicom.js` reads."""

LARGEST_FILE = 256 * MEGABYTE
MOST_PIXELS = 64_000_000
METHODS = {
    **dict.fromkeys(("grad-cam", "grad-cam++", "hirescam", "xgrad-cam", "layercam", "eigen-cam", "score-cam"), ""),
    "anomaly-map": "",
    "ablation-cam": "tail-1",
    **dict.fromkeys(("refine-cam", "winsor-cam"), "layered"),
    **dict.fromkeys(("integrated-gradients", "saliency", "gradient-x-input"), "gradients"),
    **dict.fromkeys(("rise", "occlusion"), ""),
}
"""The methods that the page's scripts have, each with the part that it needs besides the model."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle under a name with what its run tells beside it, as `serving.cards` describes it."""

    name: str
    bundle: Bundle
    metrics: MetricsDocument | None
    record: RunRecord | None
    examples: tuple[Path, ...] = ()
    concepts: KnownConcepts | None = None

    @property
    def checksum(self) -> str:
        """The sha256 of the graph."""
        return self.bundle.manifest.files[MODEL]

    @property
    def abroad(self) -> AbroadRecord | None:
        """What the model is worth on images from elsewhere."""
        return self.bundle.manifest.abroad or (self.record.abroad if self.record is not None else None)


def read_exported(run: Path) -> Exported:
    """A run or bundle folder to be put into a page. Raises BundleError."""
    bundle, folder = load(run, threads=1), RunFolder(run)
    record, metrics = None, None
    if folder.record.is_file():
        record = folder.read_record()
    measured = folder.evaluation / METRICS_FILE
    if measured.is_file():
        try:
            metrics = MetricsDocument.model_validate_json(measured.read_bytes())
        except ValueError as error:
            raise BundleError(f"{measured} cannot be read: {error}") from error
    return Exported(
        bundle.manifest.name, bundle, metrics, record, concepts=KnownConcepts.readable(folder.audit, bundle)
    )


def facts_document(
    exported: Exported,
    *,
    proof: dict[str, Any] | None,
    licences: dict[str, str],
    parts: Collection[str],
    check: dict[str, Any],
    bits: int,
    shared: bool,
) -> dict[str, Any]:
    """Everything that the page's scripts read, in plain JSON values.

    `parts` are the names of the parts beside it, `check` is what a browser is to find (see `checks`), `bits` are those
    of a weight, and `shared` says whether further graphs read their weights out of the main one.
    """
    bundle = exported.bundle
    return {
        "card": _card(exported, parts),
        "manifest": _manifest(bundle.manifest, parts),
        "limits": {"pixels": MOST_PIXELS},
        "pillow": int(PIL.__version__.split(".")[0]),
        "reference": _reference_shape(bundle),
        "concepts": concepts_document(exported),
        "scales": {name: kept["q95"] for name, kept in bundle.manifest.scales.items()},
        "outside": outside_warning(bundle.classes),
        "inside": "This looks like the images that the model was trained on.",
        "check": check,
        "bits": bits,
        "shared": shared,
        "processor_nodes": graphics.names() if f"{GRAPHICS}runtime" in parts else [],
        "proof": proof,
        "licences": licences,
        "words": words(),
    }


def words() -> dict[str, Any]:
    """The product's dictionaries by language, with what this page says besides, and the list of languages."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(WORDS.glob("*.json"))}
    for path in sorted((HERE / "i18n").glob("*.json")):
        found[path.stem] |= json.loads(path.read_text(encoding="utf-8"))
    return found


def reference_bytes(bundle: Bundle) -> bytes | None:
    """The description of the training images as float32 values, one array behind another; None without one."""
    detector = _detector(bundle)
    arrays = [] if detector is None else _arrays(detector)
    return b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays) or None


def _arrays(detector: OutsideDetector) -> list[Any]:
    """The arrays of a detector in the order in which `outside.js` takes them."""
    if isinstance(detector, Joint):
        return [a for part in detector.parts.values() for a in _arrays(part)]
    if isinstance(detector, Neighbours):
        return [detector.mean, detector.components, detector.rows, detector.others]
    if isinstance(detector, ByClass):
        return [detector.mean, detector.deviation, detector.centres, *_plane(detector.within)]
    return _plane(detector) if isinstance(detector, Surroundings) else []


def _plane(known: Surroundings) -> list[Any]:
    return [known.mean, known.deviation, known.components, known.variances, np.array([known.rest])]


def _detector(bundle: Bundle) -> OutsideDetector | None:
    """What tells unusual images; None for a bundle that cannot."""
    reference = bundle.manifest.reference
    return None if reference is None else read_flag(bundle.folder / REFERENCE, reference).detector


def _reference_shape(bundle: Bundle) -> dict[str, Any] | None:
    detector, reference = _detector(bundle), bundle.manifest.reference
    if detector is None or reference is None:
        return None
    return _shape(detector) | {"threshold": reference.threshold}


def _shape(detector: OutsideDetector) -> dict[str, Any]:
    """The kind of a detector, with the lengths of its arrays."""
    if isinstance(detector, Joint):
        parts = [{"name": name, **_shape(part)} for name, part in detector.parts.items()]
        scales = {name: getattr(detector, name).tolist() for name in ("usual", "spread", "weights")}
        return {"method": "joint", "looks": detector.looks, "parts": parts, **scales}
    if isinstance(detector, Energy):
        return {"method": "energy", "offset": detector.offset}
    if isinstance(detector, Neighbours):
        kept = {"components": len(detector.components), "rows": len(detector.rows), "others": len(detector.others)}
        return {"method": "neighbours", "channels": len(detector.mean), **kept}
    if isinstance(detector, ByClass):
        classes, within = len(detector.centres), len(detector.within.variances)
        return {"method": "class", "channels": len(detector.mean), "classes": classes, "components": within}
    if isinstance(detector, Surroundings):
        return {"method": "mahalanobis", "channels": len(detector.mean), "components": len(detector.variances)}
    raise BundleError(f"The page has no detector of unusual images of the kind {type(detector).__name__}.")


def _card(exported: Exported, parts: Collection[str]) -> dict[str, Any]:
    found = card(exported, ServerSettings(max_upload=LARGEST_FILE, max_pixels=MOST_PIXELS, examples=False))
    here = {name for name, needed in METHODS.items() if needed in ("", *parts)}
    if exported.bundle.manifest.layer is None:
        # Only methods of many passes are left, too slow to be the first answer to every image.
        here = set()
    found["methods"] = [
        {**row, "unit": find_method(row["name"]).unit} for row in found["methods"] if row["name"] in here
    ]
    found["against"] = found["against"] and bool(found["methods"])
    if "layer-2" not in parts:
        found["layers"] = found["layers"][:1]
    found["limits"]["formats"] = titles(FORMATS)
    found["alone"] = True
    return found


def concept_bytes(exported: Exported) -> bytes | None:
    """The factors of the audit's concepts as float32 values, in the order of `concepts_document`; None without any."""
    known = exported.concepts
    if known is None:
        return None
    arrays = [a for f in known.factors.values() for a in (f.parts, f.usual)]
    return b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays)


def concepts_document(exported: Exported) -> dict[str, Any] | None:
    """What is known of the concepts that an audit found, and the lengths of their factors."""
    known, classes = exported.concepts, exported.bundle.classes
    if known is None:
        return None
    factors = [{"place": k, "parts": f.parts.shape[0], "channels": f.parts.shape[1]} for k, f in known.factors.items()]
    concepts = [
        {"concept": c.name, "label": c.label, "place": classes.index(c.label), "factor": c.factor,
         "status": status_of(c), "words": c.answer.words if c.answer else ""}
        for c in known.concepts
        if c.factor is not None and c.label in classes
    ]  # fmt: skip
    return {"factors": factors, "concepts": concepts}


def _layer(layer: Layer, number: int, parts: Collection[str]) -> dict[str, Any]:
    """A layer with the parts that its graphs are: `part` is None for the main graph."""
    part = f"layer-{number}"
    return {
        "name": layer.name, "height": layer.height, "width": layer.width, "stride": layer.stride,
        "offset": layer.offset, "part": part if part in parts else None, "tail": f"tail-{number}",
    }  # fmt: skip


def _manifest(manifest: Manifest, parts: Collection[str]) -> dict[str, Any]:
    """What the scripts need of it."""
    calibration, layer = manifest.calibration, manifest.layer
    return {
        "name": manifest.name,
        "task": manifest.task,
        "classes": list(manifest.classes),
        "logits": manifest.logits,
        "threshold": manifest.threshold,
        "preprocessing": manifest.preprocessing.model_dump(mode="json"),
        "calibration": None if calibration is None else {"scale": calibration.scale, "shift": calibration.shift},
        "answering": None if manifest.answering is None else manifest.answering.model_dump(mode="json"),
        "layer": None if layer is None else _layer(layer, 1, parts),
        "layers": [_layer(one, i, parts) for i, one in enumerate(manifest.layers, 2)],
        "layered": [] if manifest.layered is None else [_layer(one, 0, ()) for one in manifest.layered.layers],
    }
