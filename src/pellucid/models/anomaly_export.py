"""A fitted anomaly detector to a bundle, with the proof that its graph says what the arrays say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import save

from ..anomaly.detector import Detector
from ..bundle.io import model_session, read_bundle, write_bundle
from ..bundle.manifest import MODEL, WEIGHTS, Manifest, Parity
from ..bundle.onnx_classifier import OnnxClassifier
from ..bundle.stored_answers import ANSWERS, LOGITS, MAP_OF, exactly_stored, pack_answers
from ..errors import ParityError
from ..preprocessing import FloatArray
from .anomaly_graph import anomaly_model
from .export import TOLERANCE
from .patch_features import FeatureGraph

MAP_TOLERANCE = 5e-3
"""Of a map's largest value. Its parts cancel in part, so that float32 keeps fewer digits of it than of a score."""

AT_A_TIME = 4
"""Images compared at a time: more would take more memory than the fit."""


def export_detector(
    graph: FeatureGraph, detector: Detector, manifest: Manifest, folder: Path, *, images: FloatArray
) -> Manifest:
    """Write a detector as a bundle into the new folder `folder`; returns the finished manifest.

    `images` (N, 3, H, W) are real preprocessed images on which the graph and the arrays are compared. Raises
    ParityError when a score differs by more than 1e-3 of the largest or a map by 5e-3 of its largest value, InputError
    for a memory that fits no graph.
    """
    model = anomaly_model(graph, detector)
    with write_bundle(folder, manifest) as draft:
        (draft.folder / MODEL).write_bytes(model.SerializeToString())
        (draft.folder / WEIGHTS).write_bytes(save({k: np.ascontiguousarray(v) for k, v in detector.arrays().items()}))
        exported = OnnxClassifier(manifest, model_session(draft.folder / MODEL))
        parity = _parity(graph, detector, exported, images)
        (draft.folder / ANSWERS).write_bytes(_stored_answers(graph, detector, manifest, images))
        draft.manifest = manifest.model_copy(update={"parity": parity})
    return read_bundle(folder)


def _stored_answers(graph: FeatureGraph, detector: Detector, manifest: Manifest, images: FloatArray) -> bytes:
    """What the arrays answer for a few of the images, as the bundle keeps it for `pellucid verify`."""
    asked = exactly_stored(images)
    features = graph.session()(asked)
    scores, maps = detector.scores(features), detector.maps(features)
    answers = {LOGITS: scores[:, None].astype(np.float32), MAP_OF + manifest.explained_layer.name: maps}
    return pack_answers(asked, {name: values.astype(np.float32) for name, values in answers.items()})


def _parity(graph: FeatureGraph, detector: Detector, exported: OnnxClassifier, images: FloatArray) -> Parity:
    """The largest difference of scores and of maps, as shares of the largest score and of each map's largest value.

    What is usual is added to the latter: the map had it before it was subtracted, and lost its last digits then.
    """
    session, tiny = graph.session(), np.finfo(np.float32).tiny
    sizes, scores_apart, maps_apart = [], [], []
    for start in range(0, len(images), AT_A_TIME):
        some = images[start : start + AT_A_TIME]
        features, evidence = session(some), exported.evidence(some)
        maps, scores = detector.maps(features), detector.scores(features)
        sizes.append(np.abs(scores))
        scores_apart.append(np.abs(evidence.logits[:, 0] - scores))
        tops = np.abs(maps).max(axis=(1, 2)) + max(abs(detector.usual), tiny)
        maps_apart.append(np.abs(evidence.activations[:, 0] - maps).max(axis=(1, 2)) / tops)
    # NumPy's maximum keeps a value that is no number; Python's max may drop it.
    largest, off, heat_map = (float(np.concatenate(found).max()) for found in (sizes, scores_apart, maps_apart))
    score = off / max(largest, float(tiny))
    if not (score <= TOLERANCE and heat_map <= MAP_TOLERANCE):
        raise ParityError(
            f"The exported graph differs from the detector by {score:.2g} of the largest score and {heat_map:.2g} of a "
            f"map's largest value ({len(images)} images); up to {TOLERANCE:g} and {MAP_TOLERANCE:g} is accepted. No "
            "bundle was written; "
            "please report this with the recipe."
        )
    return Parity(
        images=len(images),
        source="the validation set",
        probability=score,
        heat_map=heat_map,
        tolerance=MAP_TOLERANCE,
        runtime="numpy",
        versions={"numpy": np.__version__, "onnxruntime": onnxruntime.__version__},
    )
