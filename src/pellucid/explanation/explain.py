"""From tensors and a classifier to attributions on the pixels of the original images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..classifier import PREDICTED, Classifier, Score, Target, gives_score
from ..preprocessing import FloatArray
from .attribution import Attribution
from .catalogue import find_method, settings_of
from .maps import Maps, predicted_classes


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer and its explanations for one image: probabilities (K,), logits (L,) if known, one map per target.

    `features` (C,) are the means over space of the explained layer's activations, where the method had them.
    """

    probabilities: FloatArray
    logits: FloatArray | None
    attributions: tuple[Attribution, ...]
    features: FloatArray | None = None


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
    named = score or ("output" if gives_score(classifier.task) else "log-odds")
    explained: list[Explained] = []
    for i, size in enumerate(sizes):
        values = classifier.preprocessing.to_original(maps.values[i], maps.geometry, size)
        own = _predicted(classifier, maps, i)
        names = [own if name == PREDICTED else name for name in maps.targets]
        attributions = tuple(
            Attribution(
                values=values[t],
                method=row.name,
                target=name,
                score=named,
                unit=row.unit.format(score=named),
                signed=row.signed,
                layer=maps.layer,
                grid=maps.values[i, t],
                settings=_settings(asdict(chosen), maps.settings[i] if maps.settings else {}, name),
                seconds=seconds,
            )
            for t, name in enumerate(names)
        )
        explained.append(
            Explained(
                probabilities=maps.probabilities[i],
                logits=None if maps.logits is None else maps.logits[i],
                attributions=attributions,
                features=None if maps.features is None else maps.features[i],
            )
        )
    return explained


def _settings(chosen: dict[str, Any], remark: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What was chosen and what is to be said of one target's map; of `targets`, only its own."""
    found = {**chosen, **remark}
    if "targets" in remark:
        found["targets"] = {target: remark["targets"][target]}
    return found


def _predicted(classifier: Classifier, maps: Maps, i: int) -> str:
    if gives_score(classifier.task):
        return classifier.classes[1]
    if maps.logits is None:
        return classifier.classes[int(np.argmax(maps.probabilities[i]))]
    return classifier.classes[int(predicted_classes(classifier, maps.logits[i : i + 1])[0])]
