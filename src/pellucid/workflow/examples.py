"""Which test images a run shows: the most confident right and wrong answers of each class, explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..data.dataset import Dataset
from ..evaluation.result import EvaluationResult
from ..explanation.record import ExplanationManifest
from ..progress import Progress
from .explanation import ToExplain, explain_files

RIGHT, WRONG = 3, 4


def explain_examples(
    bundle: Bundle,
    dataset: Dataset,
    result: EvaluationResult,
    out: Path,
    progress: Progress,
    *,
    method: str | None = None,
) -> ExplanationManifest:
    """Explain a selection of the images that `result` is about, into `out`; those answered wrongly come first."""
    labels = dict(zip(result.paths, result.labels, strict=True))
    items = [ToExplain(dataset.root / path, path, result.classes[labels[path]]) for path in choose_examples(result)]
    return explain_files(bundle, items, out, method=method, progress=progress)


def choose_examples(result: EvaluationResult) -> list[str]:
    """Paths: of each class the answers most sure and wrong, and of those right one at each level of sureness.

    The right answers run from the most to the least confident, so that not only easy images are shown.
    """
    predicted = result.predicted
    if result.outputs is not None:
        sureness = np.abs(result.outputs - (result.threshold or 0.0))
    else:
        sureness = result.probabilities[np.arange(len(predicted)), predicted]
    chosen: list[str] = []
    for c in range(len(result.classes)):
        mine = result.labels == c
        order = np.argsort(-sureness, kind="stable")
        wrong = [i for i in order if mine[i] and predicted[i] != c]
        right = [i for i in order if mine[i] and predicted[i] == c]
        spread = np.unique(np.linspace(0, len(right) - 1, min(RIGHT, len(right))).round().astype(int))
        chosen += [result.paths[i] for i in (*wrong[:WRONG], *(right[j] for j in spread))]
    return chosen
