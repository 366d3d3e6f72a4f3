"""From tensors and a classifier to attributions on the pixels of the original images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..classifier import Classifier, Score, Target
from ..preprocessing import FloatArray
from .attribution import Attribution
from .catalogue import find_method, settings_of
from .maps import Maps


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer and its explanations for one image: probabilities (K,), logits (L,) if known, one map per target."""

    probabilities: FloatArray
    logits: FloatArray | None
    attributions: tuple[Attribution, ...]


def explain_tensors(
    classifier: Classifier,
    batch: FloatArray,
    sizes: Sequence[tuple[int, int]],
    *,
    method: str = "grad-cam",
    target: Target = None,
    score: Score | None = None,
    settings: Any = None,
) -> list[Explained]:
    """Explain a batch (N, 3, h, w) whose original images have `sizes` (height, width); maps lie on the originals.

    `target` is a class, several, or None for the class predicted; `settings` is of the method's own type (see
    `pellucid methods`). Raises UnknownNameError for an unknown method or class, InputError for settings or a score
    that do not fit.
    """
    row = find_method(method)
    chosen = settings_of(row, settings)
    began = time.perf_counter()
    maps = row.run(classifier, batch, target, score, chosen)
    seconds = (time.perf_counter() - began) / max(len(batch), 1)
    named = score or ("output" if classifier.task == "regression" else "log-odds")
    explained: list[Explained] = []
    for i, size in enumerate(sizes):
        values = classifier.preprocessing.to_original(maps.values[i], maps.geometry, size)
        attributions = tuple(
            Attribution(
                values=values[t],
                method=row.name,
                target=_predicted(classifier, maps, i) if target is None else name,
                score=named,
                unit=row.unit.format(score=named),
                signed=row.signed,
                layer=maps.layer,
                grid=maps.values[i, t],
                settings={**asdict(chosen), **(maps.settings[i] if maps.settings else {})},
                seconds=seconds,
            )
            for t, name in enumerate(maps.targets)
        )
        explained.append(
            Explained(maps.probabilities[i], None if maps.logits is None else maps.logits[i], attributions)
        )
    return explained


def _predicted(classifier: Classifier, maps: Maps, i: int) -> str:
    if classifier.task == "regression":
        return classifier.classes[1]
    if maps.logits is not None and maps.logits.shape[1] == 1:
        # As the evidence graph decides: a single logit of 0 speaks for the second class.
        return classifier.classes[int(maps.logits[i, 0] >= 0)]
    return classifier.classes[int(np.argmax(maps.probabilities[i] if maps.logits is None else maps.logits[i]))]
