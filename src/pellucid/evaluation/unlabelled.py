"""What a model is worth on new images without labels.

The usual estimates (confidence, class mix) suppose that images of each class look as they did at home. Whether they do
is tested: a simple classifier tries to tell the new images from those at home by the model's own features, with the mix
evened out. Where it succeeds, only what was measured on sources that were kept out of a training is believed: how much
accuracy was lost there for each part of agreement that was lost with a second head. Where that is too uncertain, or the
new images are farther away than any of those sources, no figure is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..data.areas import Area
from ..errors import DataError
from .intervals import LEVEL, Indices, Resampling, Values
from .second_head import (
    PRIOR_DEVIATION,
    PRIOR_SLOPE,
    AnsweredSide,
    KeptOut,
    LossLine,
    agreement_at_home,
    agreement_elsewhere,
    loss_line,
    told_apart,
)

Verdict = Literal["use", "new threshold", "do not use"]
RESAMPLES = 500
Z = 1.96
MOVED = 0.6
"""AUC above which new images count as told apart from those at home, when its interval lies above 0.5 as well."""
FARTHER = 0.05
"""By this much new images may be told more easily than the farthest source that was kept out."""
WIDEST = 0.1
"""An estimate whose interval reaches farther than this to either side is not given."""
TOLERATED = 0.05
"""A model is used where it is not estimated to lose more accuracy than this."""
MIX_MOVED = 0.05
"""A class mix whose interval lies farther than this from that at home asks for a new threshold."""
FEWEST = 30


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """One estimate of a share (0..1), with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SecondAgreement:
    """The share of images (0..1) on which the model and a second head agree, at home and on the new ones."""

    home: float
    new: float
    low: float
    high: float

    @property
    def lost(self) -> float:
        """How much of it is lost; `low` and `high` are the 95 % interval of this."""
        return self.home - self.new


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """What can be said of N new images without labels.

    `estimate` is that of the accuracy, None where it cannot be estimated. `accuracy` has the usual estimates, `mix` the
    share of each class (K,) by expectation maximisation and `mix_by_answers` by black-box shift estimation, with
    `home_mix` (K,). `apart` is how well the new images are told from those at home by their features, `agreement` that
    with a second head; both None without features. `line` is what sources that were kept out have lost, None without
    any. `outside` is the share of unusual images.
    """

    images: int
    home_accuracy: float
    estimate: ShareEstimate | None
    accuracy: tuple[ShareEstimate, ...]
    mix: tuple[ShareEstimate, ...]
    mix_by_answers: tuple[ShareEstimate, ...]
    home_mix: tuple[float, ...]
    apart: Area | None
    agreement: SecondAgreement | None
    line: LossLine | None
    outside: float | None

    @property
    def moved(self) -> bool:
        """Whether the images themselves differ, and not only their mix."""
        return self.apart is not None and self.apart.value > MOVED and self.apart.low > 0.5

    @property
    def mix_moved(self) -> bool:
        """Whether the classes come in another mix than at home."""
        pairs = zip(self.mix, self.home_mix, strict=True)
        return any(not e.low - MIX_MOVED <= h <= e.high + MIX_MOVED for e, h in pairs)

    @property
    def verdict(self) -> Verdict:
        """What to do."""
        if self.estimate is None or self.estimate.value < self.home_accuracy - TOLERATED:
            return "do not use"
        return "new threshold" if self.mix_moved else "use"


@dataclass(frozen=True, slots=True)
class AnsweredImages:
    """Images of one side: probabilities (N, K), and features (N, D) where there are any.

    `given` (N,) are the answers at the operating point, where these are not the most likely classes.
    """

    probabilities: Values
    features: Values | None = None
    given: Indices | None = None

    @property
    def answers(self) -> Indices:
        """The answered class (N,)."""
        most: Indices = self.probabilities.argmax(axis=1) if self.given is None else self.given
        return most

    def of(self, rows: Indices) -> AnsweredImages:
        """Some of the images."""
        given = None if self.given is None else self.given[rows]
        return AnsweredImages(self.probabilities[rows], None if self.features is None else self.features[rows], given)


def judge_unlabelled(
    home: AnsweredImages,
    labels: npt.ArrayLike,
    new: AnsweredImages,
    outside: float | None = None,
    seed: int = 0,
    *,
    groups: Sequence[str] = (),
    kept: Sequence[KeptOut] = (),
    resamples: int = RESAMPLES,
) -> Unlabelled:
    """Judge new images by validation images with labels (N,), from home. DataError for fewer than 30 on a side.

    `groups` of the validation images stay whole; `kept` is what sources lost that were kept out of a training.
    """
    truth = np.asarray(labels, np.int64)
    for side, where in ((home, "validation"), (new, "new")):
        if len(side.probabilities) < FEWEST:
            raise DataError(f"An estimate needs at least {FEWEST} {where} images, not {len(side.probabilities)}.")
    classes, rows = home.probabilities.shape[1], _with_intervals(home, truth, new, seed, resamples)
    found = Unlabelled(
        images=len(new.probabilities),
        home_accuracy=float((home.answers == truth).mean()),
        estimate=None,
        accuracy=tuple(rows[:3]),
        mix=tuple(rows[3 : 3 + classes]),
        mix_by_answers=tuple(rows[3 + classes :]),
        home_mix=tuple(np.bincount(truth, minlength=classes) / len(truth)),
        apart=None,
        agreement=None,
        line=loss_line(kept),
        outside=outside,
    )
    if home.features is None or new.features is None:
        return found
    units = Resampling.of(len(truth), groups, resamples=100, seed=seed).unit_of
    known = AnsweredSide(home.probabilities, home.features, truth, np.asarray(units), home.given)
    answers = new.answers
    apart = told_apart(known.features, known.answers, new.features, answers, seed)
    found = replace(found, apart=apart, agreement=_agreement(known, new.features, answers, seed))
    return replace(found, estimate=_estimate(found, len(truth)))


def _agreement(home: AnsweredSide, features: Values, answers: Indices, seed: int) -> SecondAgreement:
    at_home = float(agreement_at_home(home, seed).mean())
    elsewhere = float(agreement_elsewhere(home, features, answers).mean())
    half = Z * np.hypot(_error(at_home, len(home.labels)), _error(elsewhere, len(features)))
    lost = at_home - elsewhere
    return SecondAgreement(at_home, elsewhere, lost - float(half), lost + float(half))


def _error(share: float, images: int) -> float:
    """The standard error of a share, after Agresti and Coull."""
    shrunk = (share * images + 2) / (images + 4)
    return float(np.sqrt(shrunk * (1 - shrunk) / (images + 4)))


def _estimate(found: Unlabelled, validated: int) -> ShareEstimate | None:
    """The accuracy on new images, from the accuracy at home and what is lost with the agreement."""
    if found.apart is None or found.agreement is None:
        return None
    line = found.line or LossLine(PRIOR_SLOPE, PRIOR_DEVIATION, MOVED, 0)
    if found.moved and (found.line is None or found.apart.value > max(line.farthest, MOVED) + FARTHER):
        return None
    by_confidence = found.home_accuracy - found.accuracy[1].value
    lost = line.slope * found.agreement.lost
    value = found.home_accuracy - (lost if found.moved else (lost + by_confidence) / 2)
    sampling = np.hypot(_error(found.home_accuracy, validated), _error(found.agreement.new, found.images))
    half = Z * float(np.hypot(sampling, line.deviation if found.moved else 0.0))
    if half > WIDEST:
        return None
    value = min(max(value, 0.0), 1.0)
    return ShareEstimate("estimate", value, max(0.0, value - half), min(1.0, value + half))


def _with_intervals(
    home: AnsweredImages, truth: Indices, new: AnsweredImages, seed: int, resamples: int
) -> list[ShareEstimate]:
    """The usual estimates and both class mixes, with the 95 % interval of a bootstrap over the images of both sides."""
    classes = home.probabilities.shape[1]
    values = _estimates(home, truth, new)
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(resamples):
        own = rng.integers(0, len(truth), len(truth))
        others = rng.integers(0, len(new.probabilities), len(new.probabilities))
        if len(np.unique(truth[own])) == classes:
            drawn.append(_estimates(home.of(own), truth[own], new.of(others)))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(np.array(drawn or [values]), [tail, 100 - tail], axis=0)
    names = ["thresholded confidence", "difference of confidences", "mean confidence"]
    names += 2 * [f"class {c}" for c in range(classes)]
    # A difference of confidences is added to an accuracy, and may leave the range of one.
    stacked = np.clip(np.stack([values, low, high], axis=1), 0, 1)
    return [ShareEstimate(t, *map(float, row)) for t, row in zip(names, stacked, strict=True)]


def _estimates(home: AnsweredImages, truth: Indices, new: AnsweredImages) -> Values:
    """The three estimates of the accuracy, and the mix (K,) by expectation maximisation and from the answers alone."""
    home_mix = np.bincount(truth, minlength=home.probabilities.shape[1]) / len(truth)
    right, sure, new_sure = home.answers == truth, _confidence(home), _confidence(new)
    return np.array([
        thresholded_confidence(sure, right, new_sure),
        right.mean() - (sure.mean() - new_sure.mean()),
        new_sure.mean(),
        *class_mix(without_bias(new.probabilities, home.probabilities, truth), home_mix),
        *shifted_mix(home, truth, new),
    ])  # fmt: skip


def _confidence(side: AnsweredImages) -> Values:
    """The probability (N,) of what was answered."""
    return side.probabilities[np.arange(len(side.probabilities)), side.answers]


def thresholded_confidence(home: Values, right: npt.NDArray[np.bool_], new: Values) -> float:
    """The share of new images above the confidence that, at home, as large a share exceeds as is right there.

    Reference: Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022.
    """
    threshold = np.quantile(home, 1 - right.mean())
    return float((new > threshold).mean() + 0.5 * (new == threshold).mean())


def class_mix(probabilities: Values, home: Values, rounds: int = 1000, tolerance: float = 1e-6) -> Values:
    """The shares (K,) of the classes among images, by expectation maximisation from probabilities (N, K) at mix `home`.

    Reference: Saerens, Latinne and Decaestecker, Neural Computation 14 (2002) 21.
    """
    mix = np.asarray(home, np.float64)
    for _ in range(rounds):
        posterior = probabilities * (mix / home)
        posterior /= posterior.sum(axis=1, keepdims=True)
        before, mix = mix, posterior.mean(axis=0)
        if np.abs(mix - before).max() < tolerance:
            break
    return mix


def without_bias(new: Values, home: Values, truth: Indices, rounds: int = 50, tolerance: float = 1e-4) -> Values:
    """Probabilities (M, K) of new images, moved so that those at home (N, K) have the mean of the labels (N,) there.

    A temperature leaves a model that favours one class as it is, and expectation maximisation would take that for a mix
    of classes. One constant for each logit, that of the highest likelihood at home, removes it. Reference: Alexandari,
    Kundaje and Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label shift
    adaptation", ICML 2020.
    """
    shares = np.bincount(truth, minlength=home.shape[1]) / len(truth)
    factor = np.ones(home.shape[1])
    for _ in range(rounds):
        moved = home * factor
        mean = (moved / moved.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(mean - shares).max() < tolerance:
            break
        factor = factor * shares / np.maximum(mean, 1e-12)
        factor /= factor.max()
    odds = new * factor
    corrected: Values = odds / odds.sum(axis=1, keepdims=True)
    return corrected


def shifted_mix(home: AnsweredImages, truth: Indices, new: AnsweredImages) -> Values:
    """The shares (K,) by black-box shift estimation: the confusion matrix of home is solved for the answers seen.

    Reference: Lipton, Wang and Smola, "Detecting and correcting for label shift with black box predictors", ICML 2018.
    """
    classes = home.probabilities.shape[1]
    joint = np.zeros((classes, classes))
    np.add.at(joint, (home.answers, truth), 1 / len(truth))
    seen = np.bincount(new.answers, minlength=classes) / len(new.answers)
    weights, *_ = np.linalg.lstsq(joint, seen, rcond=None)
    mix = np.clip(weights, 0, None) * np.bincount(truth, minlength=classes) / len(truth)
    shares: Values = mix / mix.sum() if mix.sum() > 0 else np.full(classes, 1 / classes)
    return shares
