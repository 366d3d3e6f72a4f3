"""The model card: what a model knows, how well, where its limits are, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .._version import __version__
from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest
from ..bundle.run import RunRecord
from ..bundle.runtimes import REFERENCE_RUNTIME
from ..classifier import NONE_OF_THESE
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.schema import MetricsDocument
from ..explanation.catalogue import METHODS, Method
from ..images.formats import titles
from ..preprocessing import Preprocessing
from ..reporting.abroad import calibration_elsewhere, described, headline, on_other_sources
from ..reporting.decisions import flag_words, rules_words
from ..reporting.engines import proof_in_words
from ..reporting.words import cost_words
from .settings import ServerSettings

if TYPE_CHECKING:
    from .registry import Registry

NOTICE = "For research and education, not for diagnosis."


class Described(Protocol):
    """What a card is made of: a bundle under a name, with what its run tells beside it."""

    @property
    def name(self) -> str: ...
    @property
    def bundle(self) -> Bundle: ...
    @property
    def metrics(self) -> MetricsDocument | None: ...
    @property
    def record(self) -> RunRecord | None: ...
    @property
    def examples(self) -> Sequence[Path]: ...
    @property
    def checksum(self) -> str: ...
    @property
    def abroad(self) -> AbroadRecord | None: ...


def usable_methods(bundle: Bundle) -> list[Method]:
    """The methods that can explain this bundle: the usual one, then the others in the catalogue's order."""
    found = [m for m in METHODS if m.lacking(bundle.manifest) is None]
    return sorted(found, key=lambda m: m.name != bundle.usual_method)


def listed(registry: Registry) -> list[dict[str, Any]]:
    """All models in short, the default first."""
    rows = [registry.find(name) for name in registry.names]
    return [{"name": s.name, "title": s.bundle.manifest.name, "default": i == 0} for i, s in enumerate(rows)]


def card(served: Described, settings: ServerSettings) -> dict[str, Any]:
    """The card of one model, in plain JSON values."""
    manifest = served.bundle.manifest
    shape, metrics = manifest.preprocessing, served.metrics
    return {
        "name": served.name,
        "title": manifest.name,
        "task": manifest.task,
        "classes": list(manifest.classes),
        "positive": manifest.positive,
        "medical": manifest.medical,
        "input": {"width": shape.width, "height": shape.height},
        "threshold": None if manifest.task == "multiclass" else manifest.threshold,
        "operating_point": _operating_point(manifest),
        "calibration": _calibration(manifest, served.abroad),
        "outside": _outside(manifest),
        "answering": [
            {"what": what, "sentence": said} for what, said in rules_words(manifest.answering, manifest.fitted_to)
        ],
        "abroad": _abroad(served),
        "metrics": {n: m.model_dump() for n, m in metrics.metrics.items()} if metrics else {},
        "n": metrics.n if metrics else None,
        "layers": list(served.bundle.layers),
        "against": manifest.task == "multiclass",
        "map_scale": manifest.usual_scale,
        "methods": [_method(m, served.bundle.preprocessing) for m in usable_methods(served.bundle)],
        "limits": {
            "max_upload_bytes": settings.max_upload,
            "max_batch_bytes": settings.max_batch_upload,
            "max_batch_files": settings.max_batch_files,
            "max_pixels": settings.max_pixels,
            "formats": titles(settings.limits.formats),
            "allow_url": settings.allow_url,
        },
        "limitations": limitations(served),
        "examples": [
            {"id": str(i), "title": f"Example {i + 1}", "url": f"/v1/examples/{i}?model={served.name}"}
            for i in range(len(served.examples))
        ],
        "runtime": _runtime(served.bundle),
        "checksum": served.checksum,
        "version": __version__,
    }


def _method(row: Method, preprocessing: Preprocessing) -> dict[str, Any]:
    cost = row.cost(size=(preprocessing.height, preprocessing.width))
    return {
        "name": row.name,
        "family": row.family,
        "summary": f"{cost_words(cost)}. Avoid it when {row.avoid_when}.",
        "signed": row.signed,
        "looks_at_layer": row.looks_at_layer,
        "cost": {**asdict(cost), "slow": cost.slow},
        "seconds_hint": None,
    }


def _runtime(bundle: Bundle) -> dict[str, Any]:
    """What answers come from; below float32 also that the figures of the card are of another runtime, and how near."""
    runtime, proof = bundle.runtime, bundle.proof
    sentence = f"Runs on {runtime.title}."
    if proof is not None and proof.quality is not None:
        if not runtime.exact:
            sentence = f"{sentence} The figures of this card are of {REFERENCE_RUNTIME.title}; compared with that:"
        sentence = f"{sentence} {proof_in_words(proof, bundle.task)}"
    return {"engine": runtime.engine, "precision": runtime.precision, "sentence": sentence}


def _operating_point(manifest: Manifest) -> dict[str, Any] | None:
    point = manifest.operating_point
    if point is None:
        return None
    return {"rule": point.asked, "threshold": point.threshold, "sentence": point.statement}


def _calibration(manifest: Manifest, abroad: AbroadRecord | None) -> dict[str, Any] | None:
    fitted = manifest.calibration
    if fitted is None:
        return None
    sentence = f"Probabilities were calibrated on {fitted.images:,} {fitted.of} ({fitted.method})."
    return {"method": fitted.method, "sentence": f"{sentence} {calibration_elsewhere(abroad)}".strip()}


def _abroad(served: Described) -> dict[str, Any] | None:
    """What the model is worth on images from elsewhere; None for a model of an older build, or an imported one."""
    record = served.abroad
    if record is None:
        return None
    metric = served.metrics.metrics.get("roc_auc") if served.metrics else None
    level, advice = on_other_sources(record)
    best = record.best
    document = best.model_dump(mode="json")
    return {
        "sentence": headline(record, metric.metric() if metric is not None else None),
        "level": level,
        "advice": advice,
        "known": record.known,
        "sure": record.sure,
        **{name: document[name] for name in ("unknown", "images", "auc", "accuracy")},
        "sources": [
            {**s, "sentence": described(of)} for s, of in zip(document["sources"], record.sources, strict=True)
        ],
    }


def _outside(manifest: Manifest) -> dict[str, Any]:
    reference = manifest.reference
    if reference is None:
        return {
            "available": False,
            "sentence": "This model cannot recognise unusual images.",
        }
    return {"available": True, "sentence": flag_words(reference)}


def limitations(served: Described) -> list[str]:
    """What a reader must know before relying on an answer, in sentences."""
    manifest, metrics, found = served.bundle.manifest, served.metrics, []
    if manifest.medical:
        found.append(NOTICE)
    rejects = manifest.answering is not None and manifest.answering.reject == "unlike"
    rest = f"unusual images get “{NONE_OF_THESE}”" if rejects else "every image is assigned to one of these classes"
    found.append(f"It knows only {', '.join(manifest.classes)}; {rest}.")
    if metrics is None:
        found.append("It comes without an evaluation: how often it is right is not known here.")
    elif metrics.n < 200:
        found.append(f"It was tested on {metrics.n} images only; the intervals say how little that fixes.")
    if metrics is not None and metrics.leaks:
        found.append("Its evaluation includes images that it was trained on: the figures are too good.")
    if served.record is not None and served.record.data.synthetic:
        found.append("It was trained on synthetic images and says nothing about real ones.")
    if served.abroad is not None and served.abroad.best.sure:
        found.append("It loses on images from other sources: test it on labelled images of yours.")
    if manifest.reference is None:
        found.append("It gives no warning for images that do not resemble its training images.")
    if served.bundle.runtime != REFERENCE_RUNTIME:
        found.append(_runtime(served.bundle)["sentence"])
    return found
