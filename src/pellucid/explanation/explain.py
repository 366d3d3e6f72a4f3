"""From tensors and a classifier to attributions on the pixels of the original images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..classifier import EvidenceClassifier, Score, Target
from ..preprocessing import FloatArray
from .attribution import Attribution
from .catalogue import find_method


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer (logits (L,)) and its explanations for one image, from one pass; one attribution per target."""

    logits: FloatArray
    attributions: tuple[Attribution, ...]


def explain_tensors(
    classifier: EvidenceClassifier,
    batch: FloatArray,
    sizes: Sequence[tuple[int, int]],
    *,
    method: str = "grad-cam",
    target: Target = None,
    score: Score | None = None,
) -> list[Explained]:
    """Explain a batch (N, 3, h, w) whose original images have `sizes` (height, width); maps lie on the originals.

    `target` is a class, several, or None for the class predicted. One pass of the classifier, whatever the number of
    targets. Raises UnknownNameError for an unknown method or class.
    """
    row = find_method(method)
    began = time.perf_counter()
    evidence = classifier.evidence(batch, target, score)
    grids = row.map_of(evidence.activations, evidence.gradients)
    seconds = (time.perf_counter() - began) / max(len(batch), 1)
    named = score or ("output" if classifier.task == "regression" else "log-odds")
    explained: list[Explained] = []
    for logits, grid, size in zip(evidence.logits, grids, sizes, strict=True):
        values = classifier.preprocessing.to_original(grid, evidence.geometry, size)
        attributions = tuple(
            Attribution(
                values=values[t],
                method=row.name,
                target=_predicted(classifier, logits) if target is None else name,
                score=named,
                unit=row.unit.format(score=named),
                signed=row.signed,
                layer=evidence.layer,
                grid=grid[t],
                seconds=seconds,
            )
            for t, name in enumerate(evidence.targets)
        )
        explained.append(Explained(logits, attributions))
    return explained


def _predicted(classifier: EvidenceClassifier, logits: FloatArray) -> str:
    # As the evidence graph decides: a single logit of 0 speaks for the second class.
    if classifier.task == "regression":
        return classifier.classes[1]
    return classifier.classes[int(logits[0] >= 0) if len(logits) == 1 else int(logits.argmax())]
