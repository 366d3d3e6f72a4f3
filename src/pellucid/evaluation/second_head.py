"""A second head on a model's features, whose agreement with the model falls where the model is wrong more often.

The head is fitted to images that the model was not trained on. Where both agree less than at home, one or the other is
wrong more often; how much the model loses for each part of agreement lost is measured on sources that were kept out.

Reference: Baek et al., "Agreement-on-the-line: predicting the performance of neural networks under distribution shift",
NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..classifier import probabilities_from_logits
from ..data.areas import Area, clustered_area
from ..documents import Document
from .calibration import fit_calibration
from .heads import answers_of_head, folds_of
from .intervals import Indices, Values
from .tally import CALIBRATION_BINS

FEWEST = 30
MOST_TOLD = 400
"""Images of each side among which home and elsewhere are told apart: more cost time and do not change the figure."""


@dataclass(frozen=True, slots=True, eq=False)
class AnsweredSide:
    """N images that a model was not trained on: `logits` (N, K), `features` (N, C), `labels` and `units` (N,).

    `given` (N,) are the model's answers where these are not the most likely classes.
    """

    logits: Values
    features: Values
    labels: Indices
    units: Indices
    given: Indices | None = None

    @property
    def answers(self) -> Indices:
        """The answered class (N,)."""
        most: Indices = self.logits.argmax(axis=1) if self.given is None else self.given
        return most


class KeptOut(Document):
    """A model on a source that was kept out, against home.

    `loss` is the accuracy lost and `disagreement` the agreement with the second head that is lost (0..1 each), `apart`
    the AUC of telling the source from home by features, `error` the calibration error (ECE) at home and on the source
    with the temperature of home. `temperature` is the best one at home, and on the source.
    """

    loss: float
    disagreement: float
    apart: float
    error: tuple[float, float]
    temperature: tuple[float, float]
    images: int


def measure_kept_out(home: AnsweredSide, away: AnsweredSide, seed: int = 0) -> KeptOut | None:
    """Hold a source against home; None with fewer than 30 images on a side, or one class at home."""
    if min(len(home.labels), len(away.labels)) < FEWEST or len(np.unique(home.labels)) < 2:
        return None
    scale = fit_calibration("temperature", home.logits, home.labels).scale
    abroad = (
        scale if len(np.unique(away.labels)) < 2 else fit_calibration("temperature", away.logits, away.labels).scale
    )
    rates = [float((side.answers == side.labels).mean()) for side in (home, away)]
    agreement = agreement_at_home(home, seed), agreement_elsewhere(home, away.features, away.answers)
    told = told_apart(home.features, home.answers, away.features, away.answers, seed)
    return KeptOut(
        loss=rates[0] - rates[1],
        disagreement=float(agreement[0].mean() - agreement[1].mean()),
        apart=0.5 if told is None else told.value,
        error=(_error(home, scale), _error(away, scale)),
        temperature=(1 / scale, 1 / abroad),
        images=len(away.labels),
    )


def agreement_at_home(home: AnsweredSide, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Whether model and second head agree (N,), the head fitted to the folds that an image's unit is not in."""
    fold = folds_of(home.labels, home.units, seed)
    agreed = np.zeros(len(home.labels), bool)
    for number in np.unique(fold):
        own = fold == number
        second = answers_of_head(home.features, home.labels, ~own, own).argmax(axis=1)
        agreed[own] = second == home.answers[own]
    return agreed


def agreement_elsewhere(home: AnsweredSide, features: Values, answers: Indices) -> npt.NDArray[np.bool_]:
    """Whether model (`answers`) and second head agree on other images with `features` (M, C): (M,)."""
    both = np.concatenate([home.features, features])
    labels = np.concatenate([home.labels, np.zeros(len(features), np.int64)])
    known = np.arange(len(both)) < len(home.labels)
    agreed: npt.NDArray[np.bool_] = answers_of_head(both, labels, known, ~known).argmax(axis=1) == answers
    return agreed


def told_apart(home: Values, at_home: Indices, new: Values, answers: Indices, seed: int = 0) -> Area | None:
    """How well features tell new images from those at home of the same answered classes: an AUC with its interval.

    Images are drawn so that both sides have the same mix of answers, and another mix alone is not told. None for fewer
    than 30 that can be drawn.
    """
    rng = np.random.default_rng(seed)
    one, two = _drawn_alike(at_home, answers, rng)
    if len(one) < FEWEST:
        return None
    features, side = np.concatenate([home[one], new[two]]), np.repeat([0, 1], [len(one), len(two)])
    fold = rng.permutation(np.arange(len(side)) % 5)
    scores = np.zeros(len(side))
    for number in range(5):
        given = answers_of_head(features, side, fold != number, fold == number)
        scores[fold == number] = given[:, 1] - given[:, 0]
    return clustered_area(scores[:, None], side, np.arange(len(side)))


def _drawn_alike(one: Indices, two: Indices, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Rows of both sides with the same number of each answer, at most 400 of each side."""
    chosen: tuple[list[Indices], list[Indices]] = [], []
    both = np.intersect1d(one, two)
    counts = {k: min(int((one == k).sum()), int((two == k).sum())) for k in both}
    share = min(1.0, MOST_TOLD / max(sum(counts.values()), 1))
    for label, count in counts.items():
        for rows, given in zip(chosen, (one, two), strict=True):
            rows.append(rng.permutation(np.flatnonzero(given == label))[: max(1, round(share * count))])
    if not chosen[0]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(chosen[0]), np.concatenate(chosen[1])


def _error(side: AnsweredSide, scale: float) -> float:
    """The expected calibration error in 15 bins, as the metric `ece` has it."""
    shares = probabilities_from_logits((scale * side.logits).astype(np.float32)).astype(np.float64)
    if shares.shape[1] == 2:
        confidence, outcome = shares[:, 1], side.labels == 1
    else:
        confidence, outcome = shares.max(axis=1), side.answers == side.labels
    bins = np.clip((confidence * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, confidence - outcome, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


@dataclass(frozen=True, slots=True)
class LossLine:
    """Accuracy lost for each part of agreement lost: the slope, and the deviation of sources from the line.

    `farthest` is the AUC of the source that was told from home most easily; `sources` their number.
    """

    slope: float
    deviation: float
    farthest: float
    sources: int


PRIOR_SLOPE, PRIOR_WEIGHT, PRIOR_DEVIATION, PRIOR_SOURCES = 1.0, 0.005, 0.05, 2


def loss_line(kept: Sequence[KeptOut]) -> LossLine | None:
    """The line through 0 of `loss` over `disagreement`, drawn towards slope 1; None without a source."""
    if not kept:
        return None
    x, y = np.array([k.disagreement for k in kept]), np.array([k.loss for k in kept])
    slope = float((x @ y + PRIOR_WEIGHT * PRIOR_SLOPE) / (x @ x + PRIOR_WEIGHT))
    squares = float(((y - slope * x) ** 2).sum()) + PRIOR_SOURCES * PRIOR_DEVIATION**2
    return LossLine(slope, float(np.sqrt(squares / (len(kept) + PRIOR_SOURCES))), max(k.apart for k in kept), len(kept))
