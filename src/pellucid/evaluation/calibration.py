"""Calibration: probabilities that mean what they say, by one or two numbers fitted to validation images.

A model's logits z become `scale * z + shift` before the sigmoid or softmax. The map rises, so that no image changes its
rank: ROC curves stay as they are, and a threshold on the calibrated probability is one on the logit. Explanations are
of the model's own logits, before calibration; in a two-class model they differ from the calibrated log-odds by the
factor `scale`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..documents import Document
from ..errors import DataError, InputError
from ..preprocessing import FloatArray
from .intervals import Indices, Resampling, Values, wilson
from .tally import CALIBRATION_BINS

Method = Literal["temperature", "platt"]
Direction = Literal["overconfident", "underconfident", "about right"]


VALIDATION, NEW_PLACE = "validation images", "labelled images of the new place"
"""What a rule is fitted to: after a training, and when a bundle is adapted."""

STEEPEST = 20
"""No model is calibrated by more: one without skill would be sent to answers of one half exactly."""


class Calibration(Document):
    """What was fitted, how, and to how many validation images (and groups, where there are any).

    `scale` is one over the temperature; `shift` is 0 but for Platt's method. `loss_before` and `loss_after` are the
    cross-entropies of these images, in nats. `fitted_on` says whether they are validation images, those of sources that
    the recipe was trained without, or those of a new place that the bundle was adapted to.
    """

    method: Method
    scale: float = Field(gt=0, allow_inf_nan=False)
    shift: float = Field(default=0.0, allow_inf_nan=False)
    images: int
    groups: int | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    fitted_on: Literal["validation", "kept-out sources", "a new place"] = "validation"

    @property
    def temperature(self) -> float:
        """What the logits are divided by: above 1 for an overconfident model."""
        return 1 / self.scale

    def logits(self, logits: FloatArray) -> FloatArray:
        """Calibrated logits (N, L) of a model's own (N, L)."""
        calibrated: FloatArray = logits * np.float32(self.scale) + np.float32(self.shift)
        return calibrated

    @property
    def helps(self) -> bool:
        """Whether the validation images' cross-entropy falls, as far as it is known."""
        if self.loss_before is None or self.loss_after is None:
            return True
        return self.loss_after < self.loss_before

    @property
    def direction(self) -> Direction:
        """Whether the uncalibrated model was over- or underconfident; neither if the temperature rounds to 1."""
        if f"{self.temperature:.2f}" == "1.00":
            return "about right"
        return "overconfident" if self.temperature > 1 else "underconfident"

    def in_words(self) -> str:
        """What the calibration does, as a sentence."""
        moved = f" and moved by {self.shift:+.2f}" if self.method == "platt" else ""
        return (
            f"Logits are divided by {self.temperature:.2f}{moved} before they become probabilities, as fitted to "
            f"{self.images:,} {self.of}: the uncalibrated model was {self.direction}."
        )

    @property
    def of(self) -> str:
        """What kind of images it was fitted to."""
        return {
            "validation": VALIDATION,
            "kept-out sources": "images of sources that were kept out",
            "a new place": NEW_PLACE,
        }[self.fitted_on]


def fit_calibration(
    method: Method, logits: npt.ArrayLike, labels: npt.ArrayLike, groups: Sequence[str] = ()
) -> Calibration:
    """Fit a temperature, or Platt's scale and shift, to the logits (N, L) of validation images with labels (N,).

    The cross-entropy is minimised against targets that are a little less than certain, (n + 1) / (n + 2) for a class of
    n images, so that classes which are told apart without error do not send the scale to infinity (Platt 1999; Guo et
    al., ICML 2017, for the temperature). Raises InputError for Platt's method with more than two classes or values that
    are not finite, DataError for images of one class only.
    """
    given, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if given.ndim != 2 or len(given) != len(truth):
        raise InputError(f"Logits must have one row for each of {len(truth)} labels, and have the shape {given.shape}.")
    if not np.isfinite(given).all():
        raise InputError("Logits must be finite numbers, and some are not: look at the predictions of the model.")
    if method == "platt" and given.shape[1] > 1:
        raise InputError("Platt's method is for two classes; take temperature for more.")
    if len(np.unique(truth)) < 2:
        raise DataError("A calibration needs validation images of at least two classes, and there is one.")
    both = np.concatenate([np.zeros_like(given), given], axis=1) if given.shape[1] == 1 else given
    targets = _targets(truth, both.shape[1])
    scale, shift = _platt(both[:, 1], targets[:, 1]) if method == "platt" else (_scale(both, targets), 0.0)
    units = Resampling.of(len(truth), groups, resamples=100, seed=0)
    hard = np.eye(both.shape[1])[truth]
    moved = scale * both + (np.array([0.0, shift]) if method == "platt" else 0.0)
    return Calibration(
        method=method,
        scale=scale,
        shift=shift,
        images=len(truth),
        groups=units.units if units.grouped else None,
        loss_before=_cross_entropy(both, hard),
        loss_after=_cross_entropy(moved, hard),
    )


def for_elsewhere(home: Calibration, kept: Calibration) -> Calibration:
    """The temperature fitted to sources that were kept out, where it makes the model less confident than that of home.

    It never makes it more confident: what a kept-out source happens to be easy for says nothing of the next one.
    """
    return kept.model_copy(update={"fitted_on": "kept-out sources"}) if kept.scale < home.scale else home


def _targets(truth: Indices, classes: int) -> Values:
    """Targets (N, K): for the true class (n + 1) / (n + 2), the rest shared by the others."""
    counts = np.bincount(truth, minlength=classes)
    own = ((counts + 1) / (counts + 2))[truth]
    targets = np.repeat(((1 - own) / (classes - 1))[:, None], classes, axis=1)
    targets[np.arange(len(truth)), truth] = own
    return targets


def _cross_entropy(logits: Values, targets: Values) -> float:
    from scipy.special import logsumexp

    return float((logsumexp(logits, axis=1) - (targets * logits).sum(axis=1)).mean())


def _scale(logits: Values, targets: Values) -> float:
    """The best scale, between a twentieth and twenty; the loss is convex in it."""
    from scipy.optimize import minimize_scalar

    edge = math.log(STEEPEST)
    found = minimize_scalar(
        lambda log: _cross_entropy(math.exp(log) * logits, targets), bounds=(-edge, edge), method="bounded",
        options={"xatol": 1e-6},
    )  # fmt: skip
    return math.exp(float(found.x))


def _platt(logits: Values, targets: Values) -> tuple[float, float]:
    """The best scale above 0 and shift of two-class logits (N,), by Newton-like steps."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(parameters: Values) -> tuple[float, Values]:
        scale = math.exp(parameters[0])
        z = scale * logits + parameters[1]
        error = expit(z) - targets
        value = float((np.logaddexp(0, z) - targets * z).mean())
        return value, np.array([float((error * logits).mean()) * scale, float(error.mean())])

    edge = math.log(STEEPEST)
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-edge, edge), (-50, 50)])
    return math.exp(float(found.x[0])), float(found.x[1])


@dataclass(frozen=True, slots=True)
class Reliability:
    """What became of predictions by how sure they were, one entry per bin that holds images, rising.

    `confidence` is the mean predicted probability, `outcome` the share that came true with its interval, from `low` to
    `high`, and `count` how many images there are.
    """

    confidence: Values
    outcome: Values
    low: Values
    high: Values
    count: Indices


def reliability(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = CALIBRATION_BINS) -> Reliability:
    """The data of a reliability diagram, in bins of equal width as the expected calibration error has them.

    `probabilities` (N, K): for two classes it is about the positive one's, for more about the most likely class's.
    Intervals are Wilson's, for images that are independent.
    """
    truth, shares = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    if shares.ndim != 2 or len(shares) != len(truth):
        raise InputError(f"There are {len(truth)} labels and probabilities of shape {shares.shape}: one row each.")
    if shares.shape[1] == 2:
        confidence, outcome = shares[:, 1], truth == 1
    else:
        confidence, outcome = shares.max(axis=1), shares.argmax(axis=1) == truth
    place = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    held = np.flatnonzero(count)
    right = np.bincount(place, outcome, minlength=bins)[held]
    mean = np.bincount(place, confidence, minlength=bins)[held] / count[held]
    bounds = np.array([wilson(float(r), int(n)) for r, n in zip(right, count[held], strict=True)]).reshape(-1, 2)
    return Reliability(mean, right / count[held], bounds[:, 0], bounds[:, 1], count[held])
