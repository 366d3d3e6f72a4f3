"""Two models on the same images: is one better, or are there too few images to tell?

Both answered every image, so what counts are the images on which they differ. Accuracy is compared by McNemar's exact
test (Psychometrika 12 (1947) 153), every other figure by a bootstrap in which both models are scored on each resample;
where images belong to groups, whole groups are resampled, and McNemar's test becomes its extension to groups: the sign
of each group's difference is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..documents import Document
from ..errors import DataError, InputError
from .intervals import LEVEL, Resampling, Values, percentiles
from .metrics import METRICS
from .result import EvaluationResult
from .tally import Answers

MARGIN = 0.02
"""Two models whose difference surely lies within this count as alike."""
FLIPS = 9999

Judgement = Literal["better", "worse", "alike", "too few images to tell", "not defined"]


class MetricDifference(Document):
    """One metric of both models, and the first minus the second with its 95 % interval; null where not defined.

    `judgement` is of the first model: better or worse when the interval leaves out 0, alike when it lies within 0.02 of
    it, not defined where these images give one of the models no value, and otherwise too few images to tell.
    """

    ours: float | None
    theirs: float | None
    difference: float | None
    low: float | None
    high: float | None
    judgement: Judgement


class PairedComparison(Document):
    """Two models on the `images` that both answered (`left_out` others were trained on by the other one).

    `only_ours` and `only_theirs` count images that just one of the models answered rightly; `p_value` is that of the
    exact test on them. `verdict` says it in words.
    """

    ours: str
    theirs: str
    images: int
    groups: int | None
    left_out: int = 0
    only_ours: int
    only_theirs: int
    p_value: float
    metrics: dict[str, MetricDifference]
    verdict: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """A result and what to call its model."""

    name: str
    result: EvaluationResult


def compare_models(
    ours: Named, theirs: Named, *, left_out: int = 0, resamples: int = 2000, seed: int = 0
) -> PairedComparison:
    """Compare two results on the images that are in both, told by path, with the same label.

    Every metric that both have is compared, each model at its own threshold. Raises InputError when the classes differ,
    DataError when no image is in both or a label differs.
    """
    if ours.result.classes != theirs.result.classes or ours.result.task != theirs.result.task:
        raise InputError(
            f"{ours.name} answers {', '.join(ours.result.classes)} and {theirs.name} {', '.join(theirs.result.classes)}"
            f" ({ours.result.task} and {theirs.result.task}): only models of one question can be compared."
        )
    rows = _common_rows(ours, theirs)
    own, other = (_answers(n.result, r) for n, r in zip((ours, theirs), rows, strict=True))
    groups = [ours.result.groups[i] for i in rows[0]] if ours.result.groups else []
    resampling = Resampling.of(len(rows[0]), groups, resamples, seed)
    names = [name for name in METRICS if name in ours.result.metrics and name in theirs.result.metrics]
    point, drawn = _differences(own, other, names, resampling)
    low, high = percentiles(drawn) if drawn.size else (np.full(len(names), np.nan),) * 2
    metrics = {
        name: _difference(name, point[:, k], float(low[k]), float(high[k])) for k, name in enumerate(names)
    }  # fmt: skip
    right = own.predicted == own.labels, other.predicted == other.labels
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p = paired_p_value(right[0].astype(np.int64) - right[1], resampling, seed)
    return PairedComparison(
        ours=ours.name,
        theirs=theirs.name,
        images=len(rows[0]),
        groups=resampling.units if resampling.grouped else None,
        left_out=left_out,
        only_ours=only[0],
        only_theirs=only[1],
        p_value=p,
        metrics=metrics,
        verdict=_verdict(ours.name, theirs.name, metrics["accuracy"], p, only, resampling),
    )


def metric_difference(
    name: str, own: Answers, other: Answers, groups: Sequence[str] = (), *, resamples: int = 2000, seed: int = 0
) -> MetricDifference:
    """One metric of two models' answers for the same images, and the first minus the second with its 95 % interval."""
    resampling = Resampling.of(len(own.labels), list(groups) if any(groups) else [], resamples, seed)
    point, drawn = _differences(own, other, [name], resampling)
    low, high = percentiles(drawn) if drawn.size else (np.full(1, np.nan),) * 2
    return _difference(name, point[:, 0], float(low[0]), float(high[0]))


def paired_p_value(differences: Values, resampling: Resampling, seed: int = 0) -> float:
    """The probability of so large a sum of differences (N,) of 1, 0 and -1 when either sign is as likely.

    Exact for images (McNemar's test); for groups, whose differences are summed first, from 9,999 draws of signs.
    """
    from scipy.stats import binomtest

    if not resampling.grouped:
        ups, downs = int((differences > 0).sum()), int((differences < 0).sum())
        return float(binomtest(ups, ups + downs).pvalue) if ups + downs else 1.0
    sums = np.bincount(resampling.unit_of, differences, minlength=resampling.units)
    sums = sums[sums != 0]
    signs = np.random.default_rng(seed).integers(0, 2, (FLIPS, len(sums))) * 2 - 1
    extreme = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9
    return float((1 + extreme.sum()) / (1 + FLIPS))


def _common_rows(ours: Named, theirs: Named) -> tuple[list[int], list[int]]:
    place = {path: i for i, path in enumerate(theirs.result.paths)}
    pairs = [(i, place[path]) for i, path in enumerate(ours.result.paths) if path in place]
    if not pairs:
        raise DataError(f"{ours.name} and {theirs.name} have no image in common: evaluate both on the same images.")
    mine, other = [i for i, _ in pairs], [j for _, j in pairs]
    unlike = np.flatnonzero(ours.result.labels[mine] != theirs.result.labels[other])
    if len(unlike):
        raise DataError(
            f"{len(unlike)} images have another label for {theirs.name} than for {ours.name}, the first"
            f" {ours.result.paths[mine[unlike[0]]]}: evaluate both on the same data."
        )
    return mine, other


def _answers(result: EvaluationResult, rows: list[int]) -> Answers:
    scores = result.probabilities if result.outputs is None else result.outputs[:, None]
    return Answers(result.task, len(result.classes), result.labels[rows], result.predicted[rows], scores[rows])


def _differences(own: Answers, other: Answers, names: list[str], resampling: Resampling) -> tuple[Values, Values]:
    """The figures of both (2, M), and the first minus the second in every resample (M, B)."""

    def figures(answers: Answers, weights: Values) -> Values:
        tally = answers.tally(weights)
        return np.stack([METRICS[name].compute(tally) for name in names])

    whole = np.ones((len(own.labels), 1))
    point = np.stack([figures(answers, whole)[:, 0] for answers in (own, other)])
    if resampling.units < 2:
        return point, np.zeros((len(names), 0))
    drawn = [figures(own, weights) - figures(other, weights) for weights in resampling.weights()]
    return point, np.concatenate(drawn, axis=1)


def _difference(name: str, point: Values, low: float, high: float) -> MetricDifference:
    better = METRICS[name].higher_is_better
    judgement: Judgement = "too few images to tell"
    if low >= -MARGIN and high <= MARGIN:
        judgement = "alike"
    if low > 0 or high < 0:
        judgement = "better" if (low > 0) == better else "worse"
    if not np.isfinite(point).all():
        judgement = "not defined"
    values = [float(point[0]), float(point[1]), float(point[0] - point[1]), low, high]
    ours, theirs, difference, lower, upper = (v if math.isfinite(v) else None for v in values)
    return MetricDifference(ours=ours, theirs=theirs, difference=difference, low=lower, high=upper, judgement=judgement)


def _verdict(
    ours: str, theirs: str, accuracy: MetricDifference, p: float, only: tuple[int, int], resampling: Resampling
) -> str:
    """Which model is right more often, as a sentence or two."""
    n = len(resampling.unit_of)
    seen = f"{accuracy.ours:.3f} against {accuracy.theirs:.3f} on the same {n:,} images"
    apart = f"{only[0]} only by {ours}, {only[1]} only by {theirs}, p = {p:.2g}"
    if accuracy.low is None or accuracy.high is None:
        return f"Too few images to tell: accuracy is {seen} ({apart})."
    if p <= 1 - LEVEL and accuracy.judgement in ("better", "worse"):
        first, second = (ours, theirs) if accuracy.judgement == "better" else (theirs, ours)
        return f"{first} is right more often than {second}: accuracy {seen} ({apart})."
    if accuracy.judgement == "alike":
        return f"{ours} and {theirs} are right about equally often, within {MARGIN:g}: accuracy {seen} ({apart})."
    # A difference of the margin is seen four times in five when it is 2.8 standard errors large.
    error = (accuracy.high - accuracy.low) / 2 / 1.96
    needed = n * (2.8 * error / MARGIN) ** 2
    about = float(f"{needed:.2g}")
    return (
        f"Too few images to tell: accuracy {seen} ({apart}). To see a difference of {MARGIN:g} it would take about"
        f" {about:,.0f} such images."
    )
