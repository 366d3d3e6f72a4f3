"""Whether a bundle still gives, on this machine, the answers that its original model gave. No torch needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from ..bundle.graphs import depends_on_batch, graph_session
from ..bundle.io import checksum, model_session, read_manifest
from ..bundle.manifest import MODEL, Manifest
from ..bundle.onnx_classifier import OnnxClassifier
from ..bundle.run import find_bundle
from ..bundle.stored_answers import ANSWERS, IMAGES, INPUT_GRADIENT, LOGITS, MAP_OF, read_answers
from ..classifier import gives_score, probabilities_from_logits
from ..data.labelling import counted
from ..errors import PellucidError
from ..explanation.cam import grad_cam
from ..preprocessing import FloatArray

TOLERANCE = 1e-3
"""Of a probability, and of a map's or gradient's own size: that of an export."""

FURTHER_TOLERANCE = 1e-2
"""Of maps of further layers, as in an export."""

MOST_REPEATED = 32
"""Images that are answered again: each costs several passes."""

Kind = Literal["checksum", "graph", "stored answer", "repeated answer"]


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was checked: what it is, whether it holds, and in words or as a difference what was found."""

    kind: Kind
    subject: str
    holds: bool
    difference: float | None = None
    tolerance: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked of a bundle. `left_out` says what could not be, such as stored answers of an older bundle."""

    folder: Path
    findings: tuple[Checked, ...]
    left_out: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything that was checked holds."""
        return all(finding.holds for finding in self.findings)


def verify(run: str | Path, images: Sequence[Path] = (), *, threads: int | None = None) -> Verification:
    """Check a run or bundle: every file's checksum, that every graph opens, and the answers stored with it.

    With `images` each is also answered alone, all together, and by the graph as it is written, without the changes
    that ONNX Runtime makes for speed: the answers must agree. Raises BundleError for a folder that is no bundle,
    ImageError for an image that cannot be read.
    """
    folder = find_bundle(Path(run))
    manifest = read_manifest(folder)
    findings = [_checksum(folder, name, expected) for name, expected in manifest.files.items()]
    if not all(f.holds for f in findings):
        return Verification(folder, tuple(findings), ("answers: files are missing or changed",))
    if depends_on_batch(folder):
        manifest = manifest.model_copy(update={"batchable": False})
    opened = [_opens(folder, manifest, name, threads) for name in manifest.graphs]
    findings += opened
    if not all(f.holds for f in opened):
        return Verification(folder, tuple(findings), ("answers: a graph does not open",))
    sessions = cache(lambda name: graph_session(folder, manifest, name, threads))
    classifier = OnnxClassifier(manifest, model_session(folder / MODEL, threads), sessions)
    stored = read_answers(folder)
    findings += _stored(classifier, stored) if stored is not None else []
    left_out = () if stored is not None else (f"stored answers: the bundle has no {ANSWERS}, which exports write",)
    if images:
        findings += _repeated(classifier, folder, images, threads)
    return Verification(folder, tuple(findings), left_out)


def _checksum(folder: Path, name: str, expected: str) -> Checked:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        return Checked("checksum", name, False, reason="the file is missing")
    found = checksum(path)
    return Checked("checksum", name, found == expected, reason="" if found == expected else "sha256 differs")


def _opens(folder: Path, manifest: Manifest, name: str, threads: int | None) -> Checked:
    try:
        graph_session(folder, manifest, name, threads)
    except PellucidError as error:
        return Checked("graph", name, False, reason=str(error))
    return Checked("graph", name, True)


def _stored(classifier: OnnxClassifier, stored: dict[str, FloatArray]) -> list[Checked]:
    """What this machine answers for the stored images, against what the original model answered."""
    images = stored[IMAGES]
    found, expected = _answers(classifier, classifier.logits(images)), _answers(classifier, stored[LOGITS])
    findings = [
        _compared("stored answer", _kind(classifier), found, expected, TOLERANCE, of_own=_unbounded(classifier))
    ]
    for name, expected in stored.items():
        if name.startswith(MAP_OF):
            layer = name[len(MAP_OF) :]
            first = classifier.manifest.layer is not None and layer == classifier.manifest.layer.name
            found = _maps(classifier.at(layer), images)
            limit = TOLERANCE if first else FURTHER_TOLERANCE
            if _unbounded(classifier) and classifier.manifest.parity is not None:
                limit = classifier.manifest.parity.tolerance
            found = _as_exported(classifier, images, found)
            findings.append(_compared("stored answer", name, found, expected, limit))
        elif name == INPUT_GRADIENT:
            found = _as_exported(classifier, images, classifier.input_gradients(images).gradients[:, 0])
            findings.append(_compared("stored answer", name, found, expected, TOLERANCE, norm=True))
    return findings


def _as_exported(classifier: OnnxClassifier, images: FloatArray, found: FloatArray) -> FloatArray:
    """Maps or gradients (N, ...), each for the class that its image had at the export: of two, by the logit's sign.

    The operating point, which `evaluate` and `adapt` move, came after it.
    """
    if classifier.task != "binary":
        return found
    logits = classifier.logits(images)
    turned = classifier.manifest.predicted(logits) != (logits[:, 0] >= 0)
    return np.where(turned.reshape(-1, *[1] * (found.ndim - 1)), -found, found)


def _repeated(classifier: OnnxClassifier, folder: Path, images: Sequence[Path], threads: int | None) -> list[Checked]:
    """One image alone, several together, and the graph without the runtime's optimisations: the same answers."""
    from ..images import read_image

    if len(images) > MOST_REPEATED:
        images = images[:MOST_REPEATED]
    preprocessing = classifier.preprocessing
    batch = preprocessing.tensors([read_image(path, at_least=preprocessing.decode_size) for path in images])
    plain = OnnxClassifier(classifier.manifest, model_session(folder / MODEL, threads, optimised=False))
    together = classifier.logits(batch)
    alone = np.concatenate([classifier.logits(image[None]) for image in batch])
    what = counted(len(batch), "image")
    pairs = [
        (f"{what}, alone and together", _answers(classifier, alone)),
        (f"{what}, graph as written", _answers(classifier, plain.logits(batch))),
    ]
    reference, own = _answers(classifier, together), _unbounded(classifier)
    findings = [_compared("repeated answer", name, found, reference, TOLERANCE, of_own=own) for name, found in pairs]
    if classifier.manifest.layer is not None:
        maps = _maps(classifier, batch)
        findings.append(
            _compared("repeated answer", f"{what}, maps of the graph as written", _maps(plain, batch), maps, TOLERANCE)
        )
    return findings


def _unbounded(classifier: OnnxClassifier) -> bool:
    """Whether the answer is a distance, whose size depends on the images, and is compared as a share of itself."""
    return classifier.task == "anomaly"


def _kind(classifier: OnnxClassifier) -> str:
    return "score" if gives_score(classifier.task) else "probabilities"


def _answers(classifier: OnnxClassifier, logits: FloatArray) -> FloatArray:
    return logits if gives_score(classifier.task) else probabilities_from_logits(logits)


def _maps(classifier: OnnxClassifier, images: FloatArray) -> FloatArray:
    evidence = classifier.evidence(images)
    return grad_cam(evidence.activations, evidence.gradients)[:, 0]


def _compared(
    kind: Kind,
    subject: str,
    found: FloatArray,
    expected: FloatArray,
    tolerance: float,
    *,
    of_own: bool = True,
    norm: bool = False,
) -> Checked:
    """The largest difference: absolute, as a share of each image's largest value (`of_own`), or of norms (`norm`)."""
    if found.shape != expected.shape:
        return Checked(kind, subject, False, reason=f"shape {found.shape} instead of {expected.shape}")
    axes = tuple(range(1, found.ndim))
    off = found.astype(np.float64) - expected
    tiny = float(np.finfo(np.float32).tiny)
    if norm:
        shares = np.sqrt((off**2).sum(axes)) / np.maximum(np.sqrt((expected.astype(np.float64) ** 2).sum(axes)), tiny)
    else:
        shares = np.abs(off).max(axes) / (np.maximum(np.abs(expected).max(axes), tiny) if of_own else 1.0)
    difference = float(shares.max()) if len(shares) else 0.0
    # A comparison with what is no number is false, and so does not hold.
    return Checked(kind, subject, bool(difference <= tolerance), difference, tolerance)
