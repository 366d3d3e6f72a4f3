"""What a model is worth on new images without labels: the usual estimates, and whether they may be believed.

Every estimate here supposes that images of each class look as they did at home, and that at most their mix has changed.
Whether they do is tested: a simple classifier tries to tell the new images from those at home by the model's own
features, with the mix evened out. Where it succeeds, no figure is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..data.areas import Area, clustered_area
from ..errors import DataError
from .abroad import answers_of_head
from .intervals import LEVEL, Indices, Values

Verdict = Literal["use", "new threshold", "cannot be estimated"]
RESAMPLES = 500
FOLDS = 5
MOVED = 0.6
"""AUC above which new images count as told apart from those at home, when its interval lies above 0.5 as well."""
MIX_MOVED = 0.05
"""A class mix whose interval lies farther than this from that at home asks for a new threshold."""
FEWEST = 30


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """One estimate of a share (0..1), with the 95 % interval of a bootstrap over the images of both sides."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """What can be said of N new images without labels.

    `accuracy` has the usual estimates of the accuracy, `mix` the share of each class (K,) by expectation maximisation,
    with `home_mix` (K,). `apart` is how well the new images are told from those at home by their features, None without
    features. `outside` is the share of unusual images.
    """

    images: int
    home_accuracy: float
    accuracy: tuple[ShareEstimate, ...]
    mix: tuple[ShareEstimate, ...]
    home_mix: tuple[float, ...]
    apart: Area | None
    outside: float | None

    @property
    def moved(self) -> bool:
        """Whether the images themselves differ, and not only their mix."""
        return self.apart is not None and self.apart.value > MOVED and self.apart.low > 0.5

    @property
    def verdict(self) -> Verdict:
        """What to do."""
        if self.apart is None or self.moved:
            return "cannot be estimated"
        pairs = list(zip(self.mix, self.home_mix, strict=True))
        changed = any(not e.low - MIX_MOVED <= h <= e.high + MIX_MOVED for e, h in pairs)
        return "new threshold" if changed else "use"


@dataclass(frozen=True, slots=True)
class AnsweredImages:
    """Images of one side: probabilities (N, K), and features (N, D) where there are any."""

    probabilities: Values
    features: Values | None = None


def judge_unlabelled(
    home: AnsweredImages, labels: npt.ArrayLike, new: AnsweredImages, outside: float | None = None, seed: int = 0
) -> Unlabelled:
    """Judge new images by validation images with labels (N,), from home. DataError for fewer than 30 on a side."""
    truth = np.asarray(labels, np.int64)
    for side, where in ((home, "validation"), (new, "new")):
        if len(side.probabilities) < FEWEST:
            raise DataError(f"An estimate needs at least {FEWEST} {where} images, not {len(side.probabilities)}.")
    classes = home.probabilities.shape[1]
    names = ("thresholded confidence", "difference of confidences", "mean confidence")
    values = _estimates(home.probabilities, truth, new.probabilities)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        own = rng.integers(0, len(truth), len(truth))
        others = rng.integers(0, len(new.probabilities), len(new.probabilities))
        if len(np.unique(truth[own])) == classes:
            drawn.append(_estimates(home.probabilities[own], truth[own], new.probabilities[others]))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(np.array(drawn), [tail, 100 - tail], axis=0)
    titles = [*names, *(f"class {c}" for c in range(classes))]
    rows = [
        ShareEstimate(t, *map(float, row)) for t, row in zip(titles, np.stack([values, low, high], axis=1), strict=True)
    ]
    return Unlabelled(
        images=len(new.probabilities),
        home_accuracy=float((home.probabilities.argmax(axis=1) == truth).mean()),
        accuracy=tuple(rows[:3]),
        mix=tuple(rows[3:]),
        home_mix=tuple(np.bincount(truth, minlength=classes) / len(truth)),
        apart=told_apart(home, truth, new, seed),
        outside=outside,
    )


def _estimates(home: Values, truth: Indices, new: Values) -> Values:
    """The three estimates of the accuracy, and the mix (K,) by expectation maximisation."""
    right = home.argmax(axis=1) == truth
    return np.array([
        thresholded_confidence(home.max(axis=1), right, new.max(axis=1)),
        right.mean() - (home.max(axis=1).mean() - new.max(axis=1).mean()),
        new.max(axis=1).mean(),
        *class_mix(new, np.bincount(truth, minlength=home.shape[1]) / len(truth)),
    ])  # fmt: skip


def thresholded_confidence(home: Values, right: npt.NDArray[np.bool_], new: Values) -> float:
    """The share of new images above the confidence that, at home, as large a share exceeds as is right there.

    Reference: Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022.
    """
    threshold = np.quantile(home, 1 - right.mean())
    return float((new > threshold).mean() + 0.5 * (new == threshold).mean())


def class_mix(probabilities: Values, home: Values, rounds: int = 1000, tolerance: float = 1e-9) -> Values:
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


def shifted_mix(home: Values, truth: Indices, new: Values) -> Values:
    """The shares (K,) by black-box shift estimation: the confusion matrix of home is solved for the answers seen.

    Reference: Lipton, Wang and Smola, "Detecting and correcting for label shift with black box predictors", ICML 2018.
    """
    classes = home.shape[1]
    joint = np.zeros((classes, classes))
    np.add.at(joint, (home.argmax(axis=1), truth), 1 / len(truth))
    seen = np.bincount(new.argmax(axis=1), minlength=classes) / len(new)
    weights, *_ = np.linalg.lstsq(joint, seen, rcond=None)
    mix = np.clip(weights, 0, None) * np.bincount(truth, minlength=classes) / len(truth)
    shares: Values = mix / mix.sum() if mix.sum() > 0 else np.full(classes, 1 / classes)
    return shares


def told_apart(home: AnsweredImages, truth: Indices, new: AnsweredImages, seed: int = 0) -> Area | None:
    """How well features tell new images from those at home of the same answered classes: an AUC with its interval.

    Home images are drawn in the mix of the new images' answers, so that another mix alone is not told. None without
    features.
    """
    if home.features is None or new.features is None:
        return None
    rng = np.random.default_rng(seed)
    answered, others = home.probabilities.argmax(axis=1), new.probabilities.argmax(axis=1)
    chosen_home, chosen_new = [], []
    for label in np.unique(np.concatenate([answered, others])):
        one, two = np.flatnonzero(answered == label), np.flatnonzero(others == label)
        count = min(len(one), len(two))
        chosen_home.append(rng.permutation(one)[:count])
        chosen_new.append(rng.permutation(two)[:count])
    one, two = np.concatenate(chosen_home), np.concatenate(chosen_new)
    if len(one) < FEWEST:
        return None
    features = np.concatenate([home.features[one], new.features[two]])
    side = np.repeat([0, 1], [len(one), len(two)])
    fold = rng.permutation(np.arange(len(side)) % FOLDS)
    scores = np.zeros(len(side))
    for number in range(FOLDS):
        given = answers_of_head(features, side, fold != number, fold == number)
        scores[fold == number] = given[:, 1] - given[:, 0]
    return clustered_area(scores[:, None], side, np.arange(len(side)))
