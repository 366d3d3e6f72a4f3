"""From the bytes of an image to what is answered: the one file that knows what a bundle can be asked."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.engine import Engine
from ..bundle.goes_by import EvidenceShare
from ..bundle.manifest import Manifest
from ..bundle.manifest_classifier import ManifestClassifier
from ..classifier import Against, Evidence, InputGradients, Prediction, Score, Target
from ..errors import InputError
from ..evaluation.outside import outside_warning
from ..explanation.attribution import Attribution
from ..explanation.catalogue import Method, find_method
from ..explanation.explain import explain_tensors
from ..images.formats import recognise
from ..images.pictures import DecodedImage, flatness, open_picture
from ..preprocessing import FloatArray
from ..reporting.decisions import decision_document, reason_words
from ..reporting.overlay import own_limit, usual_limit, verdict
from ..reporting.words import lack_words
from .cards import NOTICE, usable_methods
from .pictures import fitted, heat_pictures, jpeg, overlaid, png, shrunk
from .registry import Served
from .settings import ServerSettings
from .text_bombs import refuse_text_bombs
from .uploads import Upload
from .workers import CancelToken

PICTURES = frozenset({"overlay", "map", "seen", "preview"})
PREVIEW_SIDE = 1024
COARSE_SIDE, GRID_SIDE, FINE_GRID_SIDE = 64, 128, 256
CELLS_PER_CELL = 8
"""The longer side of the maps in replies. A CAM map is linear between the cells of its layer, so eight values per cell
describe it fully; other maps show details of the model's input."""


class Watched(ManifestClassifier):
    """A bundle, or one of its layers, that stops between passes when the work is no longer wanted."""

    def __init__(self, engine: Engine, manifest: Manifest, token: CancelToken) -> None:
        super().__init__(manifest)
        self._engine, self._token = engine, token

    def logits(self, batch: FloatArray) -> FloatArray:
        self._token.check()
        return self._engine.logits(batch)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        self._token.check()
        return self._engine.evidence(batch, target, score)

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        self._token.check()
        return self._engine.layered_evidence(batch, target, score)

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        self._token.check()
        return self._engine.input_gradients(batch, target, score)

    def tail(self, activations: FloatArray) -> FloatArray:
        self._token.check()
        return self._engine.tail(activations)


@dataclass(slots=True)
class ServedAnswer:
    """What was found of one image. `features` (C,) is what the store keeps of it; times are in seconds.

    `goes_by` are the concepts of the model's audit that the evidence for the predicted class lies in; None where the
    model has no audit that knows them.
    """

    served: Served
    prediction: Prediction
    image: DecodedImage
    features: FloatArray | None
    seconds: dict[str, float]
    attributions: tuple[Attribution, ...] = ()
    pictures: dict[str, list[bytes]] = field(default_factory=dict)
    method: Method | None = None
    goes_by: tuple[EvidenceShare, ...] | None = None

    def picture(self, kind: str, index: int = 0) -> str | None:
        """One of `pictures` in base64; None when it was not asked for."""
        return base64_of(self.pictures[kind][index]) if kind in self.pictures else None


def read(served: Served, upload: Upload, settings: ServerSettings) -> DecodedImage:
    """Decode an image no larger than the model and the reply's pictures need. Raises ImageError, Problem 422."""
    if recognise(upload.data, settings.limits.formats).name == "PNG":
        refuse_text_bombs(upload.data)
    wanted = served.bundle.preprocessing.decode_size
    picture = open_picture(upload.data, at_least=wanted, limits=settings.limits)
    added = upload.remarks(picture.format), flatness(picture.upright)
    return replace(picture, warnings=(*added[0], *picture.warnings, *added[1])) if any(added) else picture


def tensor_of(bundle: Bundle, image: DecodedImage) -> FloatArray:
    """What a model sees of a picture: (1, 3, height, width)."""
    return bundle.preprocessing.normalise(bundle.preprocessing.resize_image(image)[None])


def predict(served: Served, upload: Upload, settings: ServerSettings, token: CancelToken) -> ServedAnswer:
    """Classify one image."""
    began = time.perf_counter()
    image = read(served, upload, settings)
    decoded = time.perf_counter()
    token.check()
    bundle = served.session(token.alone)
    logits, features = _logits_and_features(bundle, tensor_of(bundle, image))
    prediction = served.bundle.prediction(logits, features=features, warnings=image.warnings)
    seconds = {"decode": decoded - began, "model": time.perf_counter() - decoded}
    return ServedAnswer(served, prediction, image, features, seconds)


def _logits_and_features(bundle: Bundle, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    logits, features = bundle.logits_and_features(batch)
    return logits[0], None if features is None else features[0]


def explain(
    served: Served,
    upload: Upload,
    settings: ServerSettings,
    token: CancelToken,
    *,
    method: str,
    target: Target = None,
    layer: str | None = None,
    pictures: frozenset[str] = frozenset(),
) -> ServedAnswer:
    """Classify one image and explain it for a class, several, or the one predicted.

    Raises ImageError, and UnknownNameError or InputError for a method, class or layer that will not do.
    """
    row, bundle = find_method(method), served.session(token.alone)
    began = time.perf_counter()
    image = read(served, upload, settings)
    decoded = time.perf_counter()
    token.check()
    batch = tensor_of(bundle, image)
    size = fitted(image.size, _map_side(bundle.manifest, row, layer))
    explained = explain_tensors(_watched(bundle, layer, token), batch, [size], method=method, target=target)[0]
    logits, features = explained.logits, explained.features
    if logits is None or features is None or layer is not None:
        # A method without evidence of the bundle's own layer: one pass more tells whether the image lies outside.
        logits, features = _logits_and_features(bundle, batch)
    else:
        features = bundle.with_looks(features[None], batch)[0]
    prediction = bundle.prediction(logits, features=features, warnings=image.warnings)
    known = served.concepts
    watched = _watched(bundle, None, token)
    goes_by = None if known is None else known.shares(watched, batch, prediction.predicted)
    modelled = time.perf_counter()
    drawn = _drawn(served, image, explained.attributions, pictures, settings)
    seconds = {"decode": decoded - began, "model": modelled - decoded, "pictures": time.perf_counter() - modelled}
    return ServedAnswer(served, prediction, image, features, seconds, explained.attributions, drawn, row, goes_by)


def _map_side(manifest: Manifest, row: Method, layer: str | None) -> int:
    """The longer side of a method's map in a reply."""
    if not row.looks_at_layer:
        return FINE_GRID_SIDE
    explained = manifest.explained_layer if layer is None else manifest.find_layer(layer)
    return min(GRID_SIDE, max(COARSE_SIDE, CELLS_PER_CELL * max(explained.height, explained.width)))


def _watched(bundle: Bundle, layer: str | None, token: CancelToken) -> Watched:
    if layer is None:
        return Watched(bundle, bundle.manifest, token)
    manifest = bundle.manifest.model_copy(update={"layer": bundle.manifest.find_layer(layer)})
    return Watched(bundle.at(layer), manifest, token)


def _drawn(
    served: Served,
    image: DecodedImage,
    attributions: tuple[Attribution, ...],
    wanted: frozenset[str],
    settings: ServerSettings,
) -> dict[str, list[bytes]]:
    """The pictures asked for, as files: one `seen`, one `preview`, an `overlay` and a `map` for each attribution."""
    drawn: dict[str, list[bytes]] = {}
    drawing = wanted & {"overlay", "map"}
    maps = [(a.values, usual_limit(served.bundle.manifest, a)) for a in attributions] if drawing else []
    if "seen" in wanted:
        drawn["seen"] = [png(served.bundle.preprocessing.resize_image(image))]
    if "preview" in wanted:
        drawn["preview"] = [jpeg(shrunk(image, PREVIEW_SIDE))]
    if "overlay" in wanted:
        base = shrunk(image, settings.picture_side)
        drawn["overlay"] = [png(overlaid(base, values, limit)) for values, limit in maps]
    if "map" in wanted:
        size = fitted(image.size, settings.picture_side)
        drawn["map"] = [
            png(heat_pictures(a.values, usual_limit(served.bundle.manifest, a), size)[0]) for a in attributions
        ]
    return drawn


def base64_of(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")


def verdict_of(answer: ServedAnswer) -> str:
    """One line on where the evidence of an answer's first map lies."""
    return verdict(answer.attributions[0], answer.prediction)


def reference_distances(served: Served) -> Sequence[float] | None:
    """The validation images' outside scores at equally spaced quantiles; None where the bundle does not know them."""
    reference = served.bundle.manifest.reference
    return reference.quantiles or None if reference is not None else None


def is_slow(method: str) -> bool:
    """Whether a method takes hundreds of passes and runs in the slow pool. Raises UnknownNameError."""
    return find_method(method).cost().slow


def check_usable(bundle: Bundle, method: str, layer: str | None = None) -> None:
    """Raise UnknownNameError for an unknown method or layer, InputError for what this bundle cannot give."""
    row = find_method(method)
    if lack := row.lacking(bundle.manifest):
        usable = ", ".join(m.name for m in usable_methods(bundle))
        raise InputError(f"This model cannot be explained by {method}. {lack_words(lack)} Choose one of: {usable}.")
    row.check_layer(layer)
    if layer is not None:
        bundle.manifest.find_layer(layer[:200])


def decision(served: Served, prediction: Prediction) -> str:
    """The answer as one sentence, with how sure and against which threshold; or why none is given."""
    manifest, decided = served.bundle.manifest, prediction.decision
    if decided is not None and decided.outcome != "answer":
        said = decided.label[:1].upper() + decided.label[1:]
        return " ".join([f"{said}.", *(reason_words(r) for r in decided.reasons)])
    if prediction.output is not None:
        side = "at least" if prediction.label == manifest.classes[1] else "below"
        return f"The score is {prediction.output:.3g}, {side} {manifest.threshold:.3g}: {prediction.label}."
    sure = f"{prediction.label}, with a probability of {100 * (prediction.confidence or 0):.1f} %"
    if manifest.task == "multiclass":
        return f"{sure}."
    positive = manifest.classes[1]
    return f"{sure}; {positive} is answered from {100 * manifest.threshold:.3g} % on."


def outside_of(answer: ServedAnswer) -> dict[str, Any] | None:
    """Whether the image is unusual; None where the bundle has no description of its training images."""
    score = answer.prediction.outside_score
    if score is None:
        return None
    flagged = score > 1
    known = "This looks like the images that the model was trained on."
    sentence = outside_warning(answer.served.bundle.classes) if flagged else known
    return {"score": score if math.isfinite(score) else None, "flagged": flagged, "sentence": sentence}


def prediction_document(answer: ServedAnswer, identity: str, stored: bool) -> dict[str, Any]:
    """The reply of `/v1/predict`; `stored` says whether feedback on it is possible."""
    p, image = answer.prediction, answer.image
    return {
        "id": identity,
        "stored": stored,
        "model": answer.served.name,
        "label": p.label,
        "confidence": p.confidence,
        "probabilities": p.probabilities,
        "output": p.output,
        "decision": decision(answer.served, p),
        "answer": decision_document(p.decision),
        "outside": outside_of(answer),
        "warnings": list(p.warnings),
        "image": {"width": image.size[1], "height": image.size[0], "format": image.format},
        "seconds": round(sum(answer.seconds.values()), 4),
    }


def explanation_document(answer: ServedAnswer, identity: str, stored: bool) -> dict[str, Any]:
    """The reply of `/v1/explain`."""
    listed = []
    for i, a in enumerate(answer.attributions):
        height, width = a.values.shape
        values = np.ascontiguousarray(a.values, "<f4").tobytes()
        listed.append(
            {
                "method": a.method,
                "target": a.target.target if isinstance(a.target, Against) else a.target,
                "against": a.target.against if isinstance(a.target, Against) else None,
                "layer": a.layer,
                "score": a.score,
                "unit": a.unit,
                "signed": a.signed,
                "verdict": verdict(a, answer.prediction),
                "grid": {"width": width, "height": height, "values": base64_of(values)},
                "quantiles": {"model": _own_scale(answer.served.bundle, a)},
                "settings": _plain(a.settings),
                "png": answer.picture("overlay", i),
                "png_map": answer.picture("map", i),
            }
        )
    return {
        **prediction_document(answer, identity, stored),
        "explanations": listed,
        "goes_by": None if answer.goes_by is None else [asdict(share) for share in answer.goes_by],
        **{kind: answer.picture(kind) for kind in ("seen", "preview")},
    }


def _own_scale(bundle: Bundle, attribution: Attribution) -> list[float] | None:
    """The ends of the model's own colour scale for a method, as `explain --scale model` takes it; None without one."""
    top = own_limit(bundle.manifest, attribution)
    return None if top is None else [0.0, top]


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if isinstance(v, str | int | float | bool | None)}


def classic_document(answer: ServedAnswer, identity: str, stored: bool) -> dict[str, Any]:
    """The reply of the older `/predict`."""
    p = answer.prediction
    overlay = answer.picture("overlay")
    shown = answer.served.bundle.manifest.positive or p.predicted
    raw = p.probabilities[shown] if p.output is None else p.output
    return {
        "diagnosis": p.label,
        "confidence": None if p.confidence is None else round(100 * p.confidence, 2),
        "raw_score": round(raw, 4),
        "status": "success",
        "gradcam_available": overlay is not None,
        "gradcam": overlay,
        **{k: v for k, v in prediction_document(answer, identity, stored).items() if k not in ("confidence", "label")},
        "medical_notice": NOTICE if answer.served.bundle.manifest.medical else None,
    }
